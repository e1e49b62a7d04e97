//! Adversarial losses of discriminator and generator on maps of logits, and feature matching, with their gradients.

use super::interface::LossAndGradient;
use crate::config::AdversarialLoss;
use crate::nn::{Scalar, flat, flat_mut};
use ndarray::{Array4, ArrayView4};

/// The generator's losses of a batch.
#[derive(Debug)]
pub struct GeneratorLosses {
    /// The adversarial loss, unweighted.
    pub adversarial: LossAndGradient<f32>,
    /// Feature matching, weighted, where it is asked for.
    pub features: Option<LossAndGradient<f32>>,
}

/// A discriminator, as far as the generator's losses depend on it.
pub trait Discriminate {
    /// Passes pictures `x` and their reconstructions `y`, chunks `[n, h, w, c]` of one batch, through the discriminator.
    /// The generator's losses are computed only where `generator` is true.
    fn pass(
        &mut self,
        x: &[ArrayView4<'_, f32>],
        y: &[Array4<f32>],
        generator: bool,
    ) -> Option<GeneratorLosses>;

    /// Takes back the arrays of a gradient, for use in the next step.
    fn recycle(&mut self, gradient: Vec<Array4<f32>>);
}

impl AdversarialLoss {
    /// The discriminator's loss of a real logit, and its derivative. A reconstruction's logit costs as much with
    /// its sign changed.
    fn of_real(self, logit: f64) -> (f64, f64) {
        match self {
            AdversarialLoss::Hinge => hinge(-logit),
            AdversarialLoss::Vanilla | AdversarialLoss::NonSaturating => softplus(-logit),
        }
    }

    /// Half the discriminator's loss of a real logit, and its derivative.
    pub fn real(self, logit: f64) -> (f64, f64) {
        let (loss, slope) = self.of_real(logit);
        (0.5 * loss, -0.5 * slope)
    }

    /// Half the discriminator's loss of a reconstruction's logit, and its derivative.
    pub fn fake(self, logit: f64) -> (f64, f64) {
        let (loss, slope) = self.of_real(-logit);
        (0.5 * loss, 0.5 * slope)
    }

    /// The generator's loss of a reconstruction's logit, and its derivative.
    pub fn generator(self, logit: f64) -> (f64, f64) {
        match self {
            AdversarialLoss::Hinge | AdversarialLoss::Vanilla => (-logit, -1.0),
            AdversarialLoss::NonSaturating => {
                let (loss, slope) = softplus(-logit);
                (loss, -slope)
            }
        }
    }

    /// The loss of a discriminator that guesses: that of logits of 0.
    pub fn of_guessing(self) -> f64 {
        self.of_real(0.0).0
    }
}

/// relu(1 + x).
fn hinge(x: f64) -> (f64, f64) {
    if x > -1.0 { (1.0 + x, 1.0) } else { (0.0, 0.0) }
}

/// ln(1 + e^x).
fn softplus(x: f64) -> (f64, f64) {
    let slope = 1.0 / (1.0 + (-x).exp());
    (x.max(0.0) + (-x.abs()).exp().ln_1p(), slope)
}

/// Moving averages of the discriminator's mean logits, and the regulariser that draws logits towards the other side's
/// average, LeCAM (Tseng et al. 2021): E relu(D(x) - fake)^2 + E relu(real - D(y))^2.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LogitAverages {
    /// Mean logit of real pictures.
    pub real: f64,
    /// Mean logit of reconstructions.
    pub fake: f64,
}

impl LogitAverages {
    /// The regulariser's term of a real logit, and its derivative.
    pub fn of_real(&self, logit: f64) -> (f64, f64) {
        let over = (logit - self.fake).max(0.0);
        (over * over, 2.0 * over)
    }

    /// The regulariser's term of a reconstruction's logit, and its derivative.
    pub fn of_fake(&self, logit: f64) -> (f64, f64) {
        let under = (self.real - logit).max(0.0);
        (under * under, -2.0 * under)
    }

    /// The averages after a batch with these mean logits.
    pub fn moved(self, decay: f64, batch: LogitAverages) -> LogitAverages {
        let mix = |old: f64, new: f64| decay * old + (1.0 - decay) * new;
        LogitAverages {
            real: mix(self.real, batch.real),
            fake: mix(self.fake, batch.fake),
        }
    }
}

/// The mean of a curve over all logits.
pub(crate) fn mean<T: Scalar>(logits: &[Array4<T>], curve: impl Fn(f64) -> f64) -> f64 {
    let values = logits.iter().flatten();
    values.map(|logit| curve(logit.wide())).sum::<f64>() / count(logits)
}

/// In the place of logits, the gradient of the mean of a curve with this slope.
pub(crate) fn gradient_of_mean<T: Scalar>(
    mut logits: Vec<Array4<T>>,
    slope: impl Fn(f64) -> f64,
) -> Vec<Array4<T>> {
    let n = count(&logits);
    let values = logits.iter_mut().flatten();
    values.for_each(|logit| *logit = T::of(slope(logit.wide()) / n));
    logits
}

/// Feature matching: `weight` times the sum over layers of the mean absolute distance of features, and its gradient by
/// those of the reconstructions, in their place. Both come layer by layer, each chunk by chunk.
pub(crate) fn feature_matching<T: Scalar>(
    real: &[Vec<Array4<T>>],
    mut fake: Vec<Vec<Array4<T>>>,
    weight: f64,
) -> (f64, Vec<Vec<Array4<T>>>) {
    let mut total = 0.0;
    for (real, fake) in real.iter().zip(&mut fake) {
        let n = count(real);
        let slope = T::of(weight / n);
        for (real, fake) in real.iter().zip(fake) {
            let mut sum = 0.0;
            for (f, &r) in flat_mut(fake).iter_mut().zip(flat(real)) {
                let e = *f - r;
                sum += e.abs().wide();
                *f = if e == T::zero() {
                    e
                } else {
                    e.signum() * slope
                };
            }
            total += weight * sum / n;
        }
    }
    (total, fake)
}

fn count<T>(maps: &[Array4<T>]) -> f64 {
    maps.iter().map(|map| map.len()).sum::<usize>() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [AdversarialLoss; 3] = [
        AdversarialLoss::Hinge,
        AdversarialLoss::Vanilla,
        AdversarialLoss::NonSaturating,
    ];

    fn assert_slope(name: &str, curve: impl Fn(f64) -> (f64, f64)) {
        // Not at the hinge's corners.
        for x in [-30.0, -2.5, -0.75, 0.0, 0.3, 1.5, 30.0] {
            let numeric = (curve(x + 1e-6).0 - curve(x - 1e-6).0) / 2e-6;
            let (value, slope) = curve(x);
            assert!(value.is_finite());
            assert!(
                (numeric - slope).abs() < 1e-6,
                "{name} at {x}: {slope}, {numeric}"
            );
        }
    }

    #[test]
    fn slopes_are_those_of_the_losses() {
        for kind in KINDS {
            assert_slope("real", |x| kind.real(x));
            assert_slope("fake", |x| kind.fake(x));
            assert_slope("generator", |x| kind.generator(x));
        }
        let averages = LogitAverages {
            real: 0.5,
            fake: -0.25,
        };
        assert_slope("lecam, real", |x| averages.of_real(x));
        assert_slope("lecam, fake", |x| averages.of_fake(x));
    }

    #[test]
    fn values_are_those_of_the_definitions() {
        let hinge = AdversarialLoss::Hinge;
        assert_eq!(hinge.real(0.25).0, 0.375);
        assert_eq!(hinge.real(1.5).0, 0.0);
        assert_eq!(hinge.fake(0.25).0, 0.625);
        assert_eq!(hinge.generator(0.25).0, -0.25);
        let ln2 = std::f64::consts::LN_2;
        let soft = AdversarialLoss::NonSaturating;
        assert!((soft.real(0.0).0 - 0.5 * ln2).abs() < 1e-15);
        assert!((soft.generator(0.0).0 - ln2).abs() < 1e-15);
        assert_eq!(AdversarialLoss::Vanilla.generator(2.0).0, -2.0);
        assert_eq!((hinge.of_guessing(), soft.of_guessing()), (1.0, ln2));
    }

    #[test]
    fn lecam_penalises_logits_beyond_the_other_sides_average() {
        let averages = LogitAverages {
            real: 1.0,
            fake: -1.0,
        };
        assert_eq!(averages.of_real(2.0), (9.0, 6.0));
        assert_eq!(averages.of_real(-2.0), (0.0, 0.0));
        assert_eq!(averages.of_fake(-2.0), (9.0, -6.0));
        let batch = LogitAverages {
            real: 2.0,
            fake: -3.0,
        };
        let moved = averages.moved(0.75, batch);
        assert_eq!((moved.real, moved.fake), (1.25, -1.5));
    }
}
