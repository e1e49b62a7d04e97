//! All losses of a reconstruction, as a configuration mixes them.

use crate::config::LossConfig;
use crate::gan::{Adversary, Verdict};
use crate::loss::{Lpips, ms_ssim};
use crate::model::{Grades, Objective, Pixels, Second};
use crate::nn::Tape;
use ndarray::{Array4, ArrayView4, Zip};
use rayon::prelude::*;
use serde::Serialize;

/// What losses came to besides pixel by pixel; those that are not asked for are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Parts {
    /// Mean LPIPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lpips: Option<f64>,
    /// Mean MS-SSIM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms_ssim: Option<f64>,
    /// The generator's adversarial loss, unweighted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub g_loss: Option<f64>,
    /// Feature matching, weighted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<f64>,
}

/// Grades a step's reconstructions.
pub(super) struct Grader<'t> {
    pub(super) config: &'t LossConfig,
    pub(super) pixels: Pixels,
    /// Asked for by `config.lpips`.
    pub(super) lpips: Option<&'t Lpips>,
    /// One for each chunk.
    pub(super) tapes: &'t mut Vec<Tape<f32>>,
    pub(super) opponent: Option<Opponent<'t>>,
    /// What came of it.
    pub(super) parts: Parts,
}

/// The discriminator of a step.
pub(super) struct Opponent<'t> {
    pub(super) adversary: &'t mut Adversary,
    /// Whether the generator listens.
    pub(super) listens: bool,
    /// What its loss counts.
    pub(super) weight: f64,
    pub(super) adaptive: bool,
}

impl Objective<f32> for Grader<'_> {
    fn balances(&self) -> bool {
        self.opponent
            .as_ref()
            .is_some_and(|o| o.listens && o.adaptive)
    }

    fn grade(&mut self, x: &[ArrayView4<'_, f32>], y: Vec<Array4<f32>>) -> Grades<f32> {
        self.tapes.resize_with(x.len(), Tape::recording);
        let verdict = self
            .opponent
            .as_mut()
            .and_then(|o| o.adversary.look(x, &y, o.listens));
        let mut others = Vec::new();
        if let Some(lpips) = self.lpips {
            let (mean, maps) = self.perceived(x, &y, self.config.lpips, |x, y, tape| {
                lpips.gradient(x, y, tape)
            });
            self.parts.lpips = Some(mean);
            others.push((self.config.lpips * mean, maps));
        }
        if self.config.ms_ssim > 0.0 {
            let (mean, maps) = self.perceived(x, &y, self.config.ms_ssim, ms_ssim::gradient);
            self.parts.ms_ssim = Some(1.0 - mean);
            others.push((self.config.ms_ssim * mean, maps));
        }
        let second = verdict.map(
            |Verdict {
                 adversarial,
                 features,
             }| {
                self.parts.g_loss = Some(adversarial.loss);
                self.parts.features = features.as_ref().map(|told| told.loss);
                others.extend(features.map(|told| (told.loss, told.maps)));
                let opponent = self.opponent.as_ref().expect("somebody has told");
                Second {
                    loss: adversarial.loss,
                    maps: adversarial.maps,
                    weight: opponent.weight,
                }
            },
        );
        let mut grades = self.pixels.grade(x, y);
        let share = self.config.pixels;
        if share != 1.0 {
            grades.sums.loss *= share;
            grades.maps.iter_mut().for_each(|map| *map *= share as f32);
        }
        for (loss, maps) in others {
            grades.sums.loss += loss;
            let pairs = grades.maps.iter_mut().zip(&maps);
            pairs.for_each(|(map, other)| *map += other);
            let used = self.tapes.iter_mut().zip(maps);
            used.for_each(|(tape, map)| tape.recycle(map));
        }
        Grades { second, ..grades }
    }
}

impl Grader<'_> {
    /// The mean over the batch of a distance that is given as sums over chunks, and its gradient by y times
    /// `weight`.
    fn perceived(
        &mut self,
        x: &[ArrayView4<'_, f32>],
        y: &[Array4<f32>],
        weight: f64,
        distance: impl Fn(
            ArrayView4<'_, f32>,
            ArrayView4<'_, f32>,
            &mut Tape<f32>,
        ) -> (f64, Array4<f32>)
        + Sync,
    ) -> (f64, Vec<Array4<f32>>) {
        let n: usize = x.iter().map(|x| x.dim().0).sum();
        let share = (weight / n as f64) as f32;
        let chunks = x.par_iter().zip(y).zip(&mut self.tapes[..]).with_max_len(1);
        let parts = chunks.map(|((x, y), tape)| {
            let (sum, mut map) = distance(x.view(), y.view(), tape);
            Zip::from(&mut map).for_each(|v| *v *= share);
            (sum, map)
        });
        let (sums, maps): (Vec<f64>, Vec<_>) = parts.unzip();
        (sums.iter().sum::<f64>() / n as f64, maps)
    }
}
