//! When the discriminator's learning is paused: while it tells pictures and reconstructions apart so well that its loss
//! gives the generator no useful gradient.

use serde::{Deserialize, Serialize};

/// The share of the past in the average of the discriminator's loss.
const MEMORY: f64 = 0.98;

/// A paused discriminator learns on when its loss is so many times that at which it was paused.
const RESUMED: f64 = 2.0;

/// The average that the pause depends on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Pause {
    /// The discriminator's average loss, as a share of what guessing costs.
    average: f64,
    /// Whether learning is paused.
    pub(super) paused: bool,
}

impl Default for Pause {
    fn default() -> Self {
        Pause {
            average: 1.0,
            paused: false,
        }
    }
}

impl Pause {
    /// The state after a step with this loss, where guessing costs `guessing`. Learning is paused below the share `bound`
    /// of that.
    pub(super) fn after(self, loss: f64, guessing: f64, bound: f64) -> Pause {
        let average = MEMORY * self.average + (1.0 - MEMORY) * loss / guessing;
        let bound = bound * if self.paused { RESUMED } else { 1.0 };
        Pause {
            average,
            paused: average < bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_at_twice_the_loss_at_which_it_began() {
        let steps = |mut pause: Pause, loss: f64| {
            let before = pause.paused;
            let mut averages = Vec::new();
            while pause.paused == before {
                pause = pause.after(loss, 2.0, 0.2);
                averages.push(pause.average);
            }
            (pause, averages)
        };
        let (paused, averages) = steps(Pause::default(), 0.0);
        assert!(paused.paused && averages[averages.len() - 2] >= 0.2 && paused.average < 0.2);
        let (resumed, averages) = steps(paused, 2.0);
        assert!(!resumed.paused && averages[averages.len() - 2] < 0.4 && resumed.average >= 0.4);
        assert!(
            !Pause::default().after(0.0, 1.0, 0.0).paused,
            "a bound of 0 never pauses"
        );
    }
}
