//! Reconstructions and figures of a model in training.

use super::report::{Validation, ValidationSamples, stage_uses};
use super::trainer::Trainer;
use crate::data::{to_batch, to_pictures};
use crate::metrics::{mean_squared_error, psnr};
use crate::nn::{flat, flat_mut};
use crate::picture::Picture;
use crate::quantizer::{histogram, perplexity, usage};
use rayon::prelude::*;

/// Reconstructions that are kept of a validation.
const KEPT: usize = 8;
/// Pictures that are reconstructed at a time.
const BATCH: usize = 16;

impl Trainer {
    /// Reconstructions of pictures of the training size, and their codes, stage by stage, in the order of
    /// [`VqVae::square_order`](crate::model::VqVae::square_order).
    pub fn reconstruct(&self, pictures: &[Picture]) -> (Vec<Picture>, Vec<u16>) {
        let mut z = self
            .model
            .encode(self.deployed(), to_batch(pictures).view());
        let mut codes = Vec::new();
        if self.placed {
            let (quantizer, order) = (self.model.quantizer(), self.order_of(&z));
            let vectors = order.gathered(flat(&z).to_vec());
            let out = quantizer.forward(self.deployed(), &vectors, None);
            flat_mut(&mut z).copy_from_slice(&order.scattered(&out.values));
            codes = out.codes;
        }
        let decoded = self.model.decode(self.deployed(), z.view());
        (to_pictures(&decoded), codes)
    }

    /// Figures over a whole set of pictures of the training size.
    /// Means over no pictures are NaN, which JSON has as null.
    pub fn validate(&self, pictures: &[Picture]) -> (Validation, ValidationSamples) {
        let stages = self.model.quantizer::<f32>().stages();
        let mut counts = vec![0; stages.iter().map(|stage| stage.codes).sum()];
        let mut reconstructions = Vec::new();
        let (mut psnrs, mut squares, mut lpips) = (0.0, 0.0, 0.0);
        for some in pictures.chunks(BATCH) {
            let (decoded, codes) = self.reconstruct(some);
            let found = histogram(&codes, &stages);
            counts.iter_mut().zip(found).for_each(|(n, m)| *n += m);
            for (a, b) in some.iter().zip(&decoded) {
                psnrs += psnr(a, b);
                squares += mean_squared_error(a, b) / 128.0f64.powi(2);
            }
            lpips += self.lpips_of(some, &decoded);
            let wanted = KEPT.saturating_sub(reconstructions.len());
            reconstructions.extend(decoded.into_iter().take(wanted));
        }
        let n = pictures.len() as f64;
        let figures = Validation {
            step: self.step,
            images: pictures.len(),
            psnr: psnrs / n,
            nmse: squares / n / self.scale,
            perplexity: perplexity(&counts),
            usage: usage(&counts),
            lpips: self.lpips.as_ref().map(|_| lpips / n),
            stages: stage_uses(&counts, &stages),
        };
        let samples = ValidationSamples {
            reconstructions,
            counts,
        };
        (figures, samples)
    }

    /// The sum of the pictures' LPIPS, where a loss uses it.
    fn lpips_of(&self, pictures: &[Picture], decoded: &[Picture]) -> f64 {
        let Some(lpips) = &self.lpips else {
            return 0.0;
        };
        let pairs = pictures.par_iter().zip(decoded);
        let each = pairs.map(|(a, b)| lpips.distance(a, b).unwrap_or(f64::NAN));
        each.collect::<Vec<f64>>().iter().sum()
    }
}
