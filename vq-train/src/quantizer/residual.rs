//! Residual quantisation (Zeghidour et al. 2021): each stage quantises what the stages before have left.
//!
//! A code word is the sum of one entry of each stage, coarse first. What a stage leaves is a constant to
//! the next ones: the decoder's gradient passes the sum as a whole, and each stage adds its own terms.
//!
//! With stage dropout the decoder gets the sum of the first few stages only, a number drawn for each
//! batch, so that it learns to make a picture of any prefix. All stages choose and learn all the same.

use super::codebook::mean_square;
use super::quantize::{Moved, Part, Quantize, QuantizeAny, Quantized, Stage, Table};
use super::rotation::rotate_back;
use crate::nn::Scalar;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Stages, each a codebook or groups of them.
#[derive(Debug, Clone)]
pub struct Residual<Q> {
    /// Coarse to fine.
    pub stages: Vec<Q>,
    /// Whether the decoder trains on fewer stages, too.
    pub dropout: bool,
    /// The rotation trick on the sum of all stages, in vectors of so many channels.
    pub rotation: Option<usize>,
}

impl<T: Scalar, Q: QuantizeAny + Send + Sync> Quantize<T> for Residual<Q> {
    fn stages(&self) -> Vec<Stage> {
        let stages = self.stages.iter();
        stages.flat_map(|s| s.of::<T>().stages()).collect()
    }

    fn forward(&self, p: &[T], z: &[T], mut draws: Option<&mut ChaCha8Rng>) -> Quantized<T> {
        let all = self.stages.len();
        let used = match &mut draws {
            Some(draws) if self.dropout => draws.random_range(1..=all),
            _ => all,
        };
        let mut values = vec![T::zero(); z.len()];
        let mut rest = z.to_vec();
        let mut parts: Vec<Part<T>> = Vec::with_capacity(all);
        for (i, stage) in self.stages.iter().enumerate() {
            let out = stage.of().forward(p, &rest, draws.as_deref_mut());
            if i < used {
                add(&mut values, &out.values);
            }
            let next = difference(&rest, &out.values);
            let input = std::mem::replace(&mut rest, next);
            parts.push(Part { input, out });
        }
        Quantized {
            codes: parts
                .iter()
                .flat_map(|part| &part.out.codes)
                .copied()
                .collect(),
            loss: parts.iter().map(|part| part.out.loss).sum(),
            commitment: mean_square(z, &values),
            values,
            soft: Vec::new(),
            parts,
        }
    }

    fn through(&self, _p: &[T], z: &[T], out: &Quantized<T>, dz: &mut [T], _grads: &mut [T]) {
        if let Some(width) = self.rotation {
            rotate_back(z, &out.values, width, dz);
        }
    }

    fn terms(&self, p: &[T], _z: &[T], out: &Quantized<T>, dz: &mut [T], grads: &mut [T]) {
        for (stage, part) in self.stages.iter().zip(&out.parts) {
            stage.of().terms(p, &part.input, &part.out, dz, grads);
        }
    }

    fn wanted(&self) -> usize {
        let stages = self.stages.iter();
        stages.map(|s| s.of::<T>().wanted()).max().unwrap_or(0)
    }

    /// Each stage among what the stages before, already placed, leave.
    fn place(&self, p: &mut [T], z: &[T], draws: &mut ChaCha8Rng) {
        let mut rest = z.to_vec();
        for stage in &self.stages {
            stage.of().place(p, &rest, draws);
            rest = difference(&rest, &stage.of().forward(p, &rest, None).values);
        }
    }

    fn update(&self, p: &mut [T], _z: &[T], out: &Quantized<T>, draws: &mut ChaCha8Rng) -> Moved {
        let stages = self.stages.iter().zip(&out.parts);
        let moved = stages.map(|(s, part)| s.of().update(p, &part.input, &part.out, draws));
        moved.fold(Moved::default(), Moved::and)
    }

    fn tables(&self, p: &[T]) -> Vec<Table> {
        let stages = self.stages.iter();
        stages.flat_map(|stage| stage.of().tables(p)).collect()
    }
}

fn add<T: Scalar>(sum: &mut [T], values: &[T]) {
    sum.iter_mut().zip(values).for_each(|(s, &v)| *s += v);
}

fn difference<T: Scalar>(a: &[T], b: &[T]) -> Vec<T> {
    a.iter().zip(b).map(|(&a, &b)| a - b).collect()
}
