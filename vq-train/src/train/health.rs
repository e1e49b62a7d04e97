//! What adversarial training does when something goes wrong, instead of going on or giving up.

use serde::{Deserialize, Serialize};
use std::fmt;

/// So many steps in a row may fail before learning rates are lowered.
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
    /// That has happened several times in a row: learning rates are halved.
    Lowered,
    /// The discriminator has won and sits out.
    DiscriminatorRests,
    /// It learns again.
    DiscriminatorLearns,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Event::Skipped => {
                "a loss or gradient is not finite: step skipped, no weight has changed"
            }
            Event::Lowered => "still not finite: step skipped, learning rates halved from here on",
            Event::DiscriminatorRests => "the discriminator tells all pictures apart: it sits out",
            Event::DiscriminatorLearns => "the discriminator is unsure again: it learns on",
        })
    }
}

impl Health {
    /// What learning rates are multiplied by.
    pub fn rate(&self) -> f64 {
        0.5f64.powi(self.lowered as i32)
    }

    /// After a step that went well.
    pub(super) fn recovered(&mut self) {
        self.skipped = 0;
    }

    /// After a step that failed: what is to be done; nothing helps any more if there is none.
    pub(super) fn failed(&mut self) -> Option<Event> {
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
