//! Failures in adversarial training: steps whose values are not finite are skipped, then learning rates are halved, and
//! only then training stops.

use serde::{Deserialize, Serialize};
use std::fmt;

/// So many steps in a row fail until learning rates are lowered.
const PATIENCE: u32 = 3;
/// So often they are lowered before training stops.
const LOWERED: u32 = 4;

/// A run's record of failed steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Steps skipped in a row.
    skipped: u32,
    /// How often the learning rates were halved.
    lowered: u32,
}

/// Something that a run's log should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A loss or gradient was not finite: no weight has changed.
    Skipped,
    /// Several steps in a row were skipped: learning rates are halved.
    Lowered,
    /// The discriminator tells all pictures apart: its learning is paused.
    DiscriminatorPaused,
    /// The discriminator's learning goes on after a pause.
    DiscriminatorResumed,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Event::Skipped => {
                "a loss or gradient is not finite: step skipped, no weight has changed"
            }
            Event::Lowered => "still not finite: step skipped, learning rates halved from here on",
            Event::DiscriminatorPaused => {
                "the discriminator tells all pictures apart: its learning is paused"
            }
            Event::DiscriminatorResumed => "the discriminator is unsure again: it learns on",
        })
    }
}

impl Health {
    /// The factor of all learning rates.
    pub fn rate(&self) -> f64 {
        0.5f64.powi(self.lowered as i32)
    }

    /// Records a step that went well.
    pub(crate) fn recovered(&mut self) {
        self.skipped = 0;
    }

    /// Records a step that failed, and returns what is to be done about it; none when training has to stop.
    pub(crate) fn failed(&mut self) -> Option<Event> {
        self.skipped += 1;
        if self.skipped < PATIENCE {
            return Some(Event::Skipped);
        }
        self.skipped = 0;
        self.lowered += 1;
        (self.lowered <= LOWERED).then_some(Event::Lowered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_skipped_then_answered_then_final() {
        let mut health = Health::default();
        for round in 0..LOWERED {
            assert_eq!(health.rate(), 0.5f64.powi(round as i32));
            assert_eq!(health.failed(), Some(Event::Skipped));
            assert_eq!(health.failed(), Some(Event::Skipped));
            assert_eq!(health.failed(), Some(Event::Lowered));
        }
        assert_eq!(
            [health.failed(), health.failed()],
            [Some(Event::Skipped); 2]
        );
        assert_eq!(health.failed(), None);
    }

    #[test]
    fn a_good_step_starts_the_count_anew() {
        let mut health = Health::default();
        for _ in 0..10 {
            assert_eq!(health.failed(), Some(Event::Skipped));
            assert_eq!(health.failed(), Some(Event::Skipped));
            health.recovered();
        }
        assert_eq!(health.rate(), 1.0);
    }
}
