//! The total loss: all losses of a reconstruction, weighted and summed as a configuration says.

use super::adversarial::{Discriminate, GeneratorLosses};
use super::interface::{AdversarialTerm, Loss, LossAndGradient, Losses};
use super::lpips::Lpips;
use super::ms_ssim;
use super::pixel::PixelLoss;
use crate::config::{ConfigError, LossConfig, field_error};
use crate::nn::{Tape, add};
use ndarray::{Array4, ArrayView4, Zip, s};
use rand::{Rng, RngExt};
use rayon::prelude::*;
use serde::Serialize;

/// Checks that pictures of this width and height have room for the losses.
///
/// # Errors
/// The weight of the first loss that needs larger pictures.
pub fn check(config: &LossConfig, size: [usize; 2]) -> Result<(), ConfigError> {
    for (field, weight, side) in [
        ("loss.lpips", config.lpips, Lpips::<f32>::MIN_SIDE),
        ("loss.ms_ssim", config.ms_ssim, ms_ssim::MIN_SIDE),
    ] {
        if weight > 0.0 && size.iter().any(|&s| s < side) {
            let reason = format!("needs pictures of at least {side}x{side}, see data.size");
            return Err(field_error(field, reason));
        }
    }
    Ok(())
}

/// Values of the losses besides the pixel loss; those that are not asked for are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct LossTerms {
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

/// The total loss of one step.
pub struct TotalLoss<'t> {
    /// The losses' weights.
    pub config: &'t LossConfig,
    /// The pixel loss.
    pub pixel: PixelLoss,
    /// The network of LPIPS, where `config.lpips` asks for it.
    pub lpips: Option<&'t Lpips>,
    /// The part of the pictures that LPIPS is taken of.
    pub window: Window,
    /// Working memory of LPIPS and MS-SSIM, one for each chunk.
    pub tapes: &'t mut Vec<Tape<f32>>,
    /// The discriminator, in adversarial training.
    pub adversarial: Option<AdversarialPart<'t>>,
    /// The values of the losses of the last batch.
    pub terms: LossTerms,
}

/// The discriminator of a step, and the weight of its loss.
pub struct AdversarialPart<'t> {
    /// The discriminator.
    pub discriminator: &'t mut dyn Discriminate,
    /// Whether its losses are part of the total; the discriminator passes the batch in any case.
    pub active: bool,
    /// The weight of the adversarial loss.
    pub weight: f64,
    /// Whether the weight adapts to the gradients.
    pub adaptive: bool,
}

/// LPIPS is taken of pictures without their first 0 to 3 rows and columns, drawn anew for each step. AlexNet's first
/// convolution has a stride of four: with a fixed window it would not see artefacts of that period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Rows left out above.
    pub top: usize,
    /// Columns left out on the left.
    pub left: usize,
}

impl Window {
    /// Draws a window of pictures of this width and height.
    pub fn draw([width, height]: [usize; 2], draws: &mut impl Rng) -> Window {
        let [top, left] = [height, width].map(|side| {
            let spare = side.saturating_sub(Lpips::<f32>::MIN_SIDE);
            draws.random_range(0..=spare.min(3))
        });
        Window { top, left }
    }
}

impl Loss<f32> for TotalLoss<'_> {
    fn adapts_weight(&self) -> bool {
        let part = self.adversarial.as_ref();
        part.is_some_and(|part| part.active && part.adaptive)
    }

    fn losses(&mut self, x: &[ArrayView4<'_, f32>], y: Vec<Array4<f32>>) -> Losses<f32> {
        self.tapes.resize_with(x.len(), Tape::recording);
        let part = self.adversarial.as_mut();
        let generator = part.and_then(|part| part.discriminator.pass(x, &y, part.active));
        let perceptual: Vec<_> = [self.lpips_of(x, &y), self.ms_ssim_of(x, &y)]
            .into_iter()
            .flatten()
            .collect();
        let mut losses = self.pixel_of(x, y);
        for term in perceptual {
            losses.fixed.loss += term.loss;
            add(&mut losses.fixed.gradient, &term.gradient, 1.0);
            let used = self.tapes.iter_mut().zip(term.gradient);
            used.for_each(|(tape, map)| tape.recycle(map));
        }
        if let Some(generator) = generator {
            self.add_generator(&mut losses, generator);
        }
        losses
    }

    fn recycle(&mut self, gradient: Vec<Array4<f32>>) {
        if let Some(part) = &mut self.adversarial {
            part.discriminator.recycle(gradient);
        }
    }
}

impl TotalLoss<'_> {
    /// The weighted pixel loss; it takes the place of y.
    fn pixel_of(&mut self, x: &[ArrayView4<'_, f32>], y: Vec<Array4<f32>>) -> Losses<f32> {
        let mut losses = self.pixel.losses(x, y);
        let weight = self.config.pixels;
        if weight != 1.0 {
            losses.fixed.loss *= weight;
            let maps = losses.fixed.gradient.iter_mut();
            maps.for_each(|map| *map *= weight as f32);
        }
        losses
    }

    /// Weighted LPIPS, where it is asked for.
    fn lpips_of(
        &mut self,
        x: &[ArrayView4<'_, f32>],
        y: &[Array4<f32>],
    ) -> Option<LossAndGradient<f32>> {
        let (lpips, weight) = (self.lpips?, self.config.lpips);
        let Window { top, left } = self.window;
        let window = s![.., top.., left.., ..];
        let (mean, gradient) = self.mean_of(x, y, weight, |x, y, tape| {
            let (sum, of_window) = lpips.gradient(x.slice(window), y.slice(window), tape);
            let mut map = tape.zeros(y.dim());
            map.slice_mut(window).assign(&of_window);
            tape.recycle(of_window);
            (sum, map)
        });
        self.terms.lpips = Some(mean);
        let loss = weight * mean;
        Some(LossAndGradient { loss, gradient })
    }

    /// Weighted 1 - MS-SSIM, where it is asked for.
    fn ms_ssim_of(
        &mut self,
        x: &[ArrayView4<'_, f32>],
        y: &[Array4<f32>],
    ) -> Option<LossAndGradient<f32>> {
        let weight = self.config.ms_ssim;
        if weight == 0.0 {
            return None;
        }
        let (mean, gradient) = self.mean_of(x, y, weight, ms_ssim::gradient);
        self.terms.ms_ssim = Some(1.0 - mean);
        let loss = weight * mean;
        Some(LossAndGradient { loss, gradient })
    }

    /// Adds the losses that come from the discriminator.
    fn add_generator(&mut self, losses: &mut Losses<f32>, generator: GeneratorLosses) {
        let Some(part) = &mut self.adversarial else {
            return;
        };
        self.terms.g_loss = Some(generator.adversarial.loss);
        losses.adversarial = Some(AdversarialTerm {
            value: generator.adversarial,
            weight: part.weight,
        });
        if let Some(features) = generator.features {
            self.terms.features = Some(features.loss);
            losses.fixed.loss += features.loss;
            add(&mut losses.fixed.gradient, &features.gradient, 1.0);
            part.discriminator.recycle(features.gradient);
        }
    }

    /// The mean over the batch of a distance that is given as sums over chunks, and `weight` times its gradient by y.
    fn mean_of(
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
    use crate::config::PixelLossKind;
    use crate::nn::normal;
    use crate::random::{Purpose, generator};

    #[test]
    fn lpips_of_a_window_has_no_gradient_outside_of_it() {
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
        let mut total = TotalLoss {
            config: &config,
            pixel: PixelLoss {
                kind: PixelLossKind::Mse,
                scale: 1.0,
            },
            lpips: Some(&lpips),
            window: Window { top: 3, left: 1 },
            tapes: &mut Vec::new(),
            adversarial: None,
            terms: LossTerms::default(),
        };
        let losses = total.losses(&[x.view()], vec![y.clone()]);
        let window = s![.., 3.., 1.., ..];
        let (sum, seen) = lpips.gradient(x.slice(window), y.slice(window), &mut Tape::recording());
        assert_eq!(losses.fixed.loss, 0.5 * sum / 2.0);
        let map = &losses.fixed.gradient[0];
        assert_eq!(map.slice(window), seen * 0.25);
        assert!(map.iter().any(|&v| v != 0.0));
        assert!(map.slice(s![.., ..3, .., ..]).iter().all(|&v| v == 0.0));
        assert!(map.slice(s![.., .., ..1, ..]).iter().all(|&v| v == 0.0));
    }

    #[test]
    fn windows_are_all_drawn_and_never_too_small() {
        let drawn = |size: [usize; 2]| {
            let windows = (0..400).map(|step| {
                let window = Window::draw(size, &mut generator(1, Purpose::Window, step));
                [window.top, window.left]
            });
            windows.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(drawn([64, 64]).len(), 16);
        // No columns are left out of a picture that is just wide enough, no rows of one that is just high enough.
        assert_eq!(drawn([31, 64]), (0..4).map(|top| [top, 0]).collect());
        assert_eq!(drawn([64, 32]), (0..8).map(|i| [i / 4, i % 4]).collect());
    }

    #[test]
    fn pictures_without_room_for_a_loss_are_named() {
        let config = LossConfig {
            lpips: 1.0,
            ms_ssim: 1.0,
            ..LossConfig::default()
        };
        let error = |size| check(&config, size).map_err(|e| e.to_string());
        assert!(error([31, 40]).is_ok());
        let found = error([40, 30]).unwrap_err();
        assert!(
            found.contains("loss.lpips") && found.contains("31x31"),
            "{found}"
        );
        let config = LossConfig {
            lpips: 0.0,
            ..config
        };
        let found = check(&config, [10, 40]).unwrap_err().to_string();
        assert!(
            found.contains("loss.ms_ssim") && found.contains("11x11"),
            "{found}"
        );
    }
}
