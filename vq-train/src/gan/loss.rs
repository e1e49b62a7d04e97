//! Losses of discriminator and generator on maps of logits, with their gradients.

use crate::config::AdversarialLoss;

impl AdversarialLoss {
    /// The discriminator's loss of a real logit; one of a reconstruction costs as much with its sign changed.
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

    /// What a discriminator loses that cannot tell anything: logits of 0.
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

/// Moving averages of the discriminator's mean logits, by which LeCAM (Tseng et al. 2021) draws them together:
/// E relu(D(x) - fake)^2 + E relu(real - D(x'))^2.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Averages {
    /// Of real pictures.
    pub real: f64,
    /// Of reconstructions.
    pub fake: f64,
}

impl Averages {
    /// The regulariser's term of a real logit, and its derivative.
    pub fn of_real(&self, logit: f64) -> (f64, f64) {
        let over = (logit - self.fake).max(0.0);
        (over * over, 2.0 * over)
    }

    /// Its term of a reconstruction's logit, and its derivative.
    pub fn of_fake(&self, logit: f64) -> (f64, f64) {
        let under = (self.real - logit).max(0.0);
        (under * under, -2.0 * under)
    }

    /// The next averages.
    pub fn moved(self, decay: f64, real: f64, fake: f64) -> Averages {
        let mix = |old: f64, new: f64| decay * old + (1.0 - decay) * new;
        Averages {
            real: mix(self.real, real),
            fake: mix(self.fake, fake),
        }
    }
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
        let averages = Averages {
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
    fn lecam_holds_back_what_runs_ahead_of_the_other_sides_average() {
        let averages = Averages {
            real: 1.0,
            fake: -1.0,
        };
        assert_eq!(averages.of_real(2.0), (9.0, 6.0));
        assert_eq!(averages.of_real(-2.0), (0.0, 0.0));
        assert_eq!(averages.of_fake(-2.0), (9.0, -6.0));
        let moved = averages.moved(0.75, 2.0, -3.0);
        assert_eq!((moved.real, moved.fake), (1.25, -1.5));
    }
}
