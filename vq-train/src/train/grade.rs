//! All losses of a reconstruction, as a configuration mixes them.

use crate::config::LossConfig;
use crate::gan::{Adversary, Verdict};
use crate::loss::{Lpips, ms_ssim};
use crate::model::{Grades, Objective, Pixels, Second};
use crate::nn::{Tape, add};
use ndarray::{Array4, ArrayView4, Zip, s};
use rand::{Rng, RngExt};
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
    /// The first row and column that LPIPS sees in this step, see [`corner`].
    pub(super) corner: [usize; 2],
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

/// Where LPIPS looks in a step: at pictures without their first 0 to 3 rows and columns. AlexNet's first
/// convolution goes in steps of four: in one place for good, it would not see a grid of that period.
pub(super) fn corner(size: [usize; 2], draws: &mut impl Rng) -> [usize; 2] {
    let [width, height] = size;
    [height, width].map(|side| {
        let spare = side.saturating_sub(Lpips::<f32>::MIN_SIDE);
        draws.random_range(0..=spare.min(3))
    })
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
            let [top, left] = self.corner;
            let window = s![.., top.., left.., ..];
            let (mean, maps) = self.perceived(x, &y, self.config.lpips, |x, y, tape| {
                let (sum, seen) = lpips.gradient(x.slice(window), y.slice(window), tape);
                let mut map = tape.zeros(y.dim());
                map.slice_mut(window).assign(&seen);
                tape.recycle(seen);
                (sum, map)
            });
            self.parts.lpips = Some(mean);
            others.push((self.config.lpips * mean, maps));
        }
        if self.config.ms_ssim > 0.0 {
            let (mean, maps) = self.perceived(x, &y, self.config.ms_ssim, ms_ssim::gradient);
            self.parts.ms_ssim = Some(1.0 - mean);
            others.push((self.config.ms_ssim * mean, maps));
        }
        let mut grades = self.pixels.grade(x, y);
        let share = self.config.pixels;
        if share != 1.0 {
            grades.sums.loss *= share;
            grades.maps.iter_mut().for_each(|map| *map *= share as f32);
        }
        for (loss, maps) in others {
            grades.sums.loss += loss;
            add(&mut grades.maps, &maps, 1.0);
            let used = self.tapes.iter_mut().zip(maps);
            used.for_each(|(tape, map)| tape.recycle(map));
        }
        if let (Some(verdict), Some(opponent)) = (verdict, &mut self.opponent) {
            let Verdict {
                adversarial,
                features,
            } = verdict;
            self.parts.g_loss = Some(adversarial.loss);
            grades.second = Some(Second {
                loss: adversarial.loss,
                maps: adversarial.maps,
                weight: opponent.weight,
            });
            if let Some(told) = features {
                self.parts.features = Some(told.loss);
                grades.sums.loss += told.loss;
                add(&mut grades.maps, &told.maps, 1.0);
                opponent.adversary.take_back(told.maps);
            }
        }
        grades
    }

    fn take_back(&mut self, maps: Vec<Array4<f32>>) {
        if let Some(opponent) = &mut self.opponent {
            opponent.adversary.take_back(maps);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LossKind;
    use crate::data::{Purpose, generator};
    use crate::nn::normal;

    #[test]
    fn lpips_sees_a_window_and_leaves_the_rest_alone() {
        let lpips = Lpips::small();
        let mut draws = generator(1, Purpose::Window, 0);
        let mut pictures =
            || Array4::from_shape_simple_fn((2, 36, 34, 3), || normal(&mut draws) as f32);
        let (x, y) = (pictures(), pictures());
        let config = LossConfig {
            pixels: 0.0,
            lpips: 0.5,
            ..LossConfig::default()
        };
        let mut grader = Grader {
            config: &config,
            pixels: Pixels {
                kind: LossKind::Mse,
                scale: 1.0,
            },
            lpips: Some(&lpips),
            corner: [3, 1],
            tapes: &mut Vec::new(),
            opponent: None,
            parts: Parts::default(),
        };
        let grades = grader.grade(&[x.view()], vec![y.clone()]);
        let window = s![.., 3.., 1.., ..];
        let (sum, seen) = lpips.gradient(x.slice(window), y.slice(window), &mut Tape::recording());
        assert_eq!(grades.sums.loss, 0.5 * sum / 2.0);
        let map = &grades.maps[0];
        assert_eq!(map.slice(window), seen * 0.25);
        assert!(map.iter().any(|&v| v != 0.0));
        assert!(map.slice(s![.., ..3, .., ..]).iter().all(|&v| v == 0.0));
        assert!(map.slice(s![.., .., ..1, ..]).iter().all(|&v| v == 0.0));
    }

    #[test]
    fn windows_are_all_drawn_and_never_too_small() {
        let drawn = |size: [usize; 2]| {
            let corners =
                (0..400).map(|step| corner(size, &mut generator(1, Purpose::Window, step)));
            corners.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(drawn([64, 64]).len(), 16);
        // Columns are spared in a picture that is narrow, rows in one that is low.
        assert_eq!(drawn([31, 64]), (0..4).map(|top| [top, 0]).collect());
        assert_eq!(drawn([64, 32]), (0..8).map(|i| [i / 4, i % 4]).collect());
    }
}
