//! The `[train]` of a configuration: how long training takes, and what is kept of it.

use super::error::{ConfigError, require};
use serde::{Deserialize, Serialize};

/// How long, and what happens on the way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps; `--steps` overrides it.
    pub steps: u64,
    /// Pictures a step.
    pub batch: usize,
    /// Steps between validations.
    #[serde(default = "default_validate")]
    pub validate_every: u64,
    /// Steps between checkpoints.
    #[serde(default = "default_checkpoint")]
    pub checkpoint_every: u64,
}

impl TrainConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let batch = (1..=65536).contains(&self.batch);
        require(batch, "train.batch", "must be 1 to 65536")?;
        for (field, steps) in [
            ("train.steps", self.steps),
            ("train.validate_every", self.validate_every),
            ("train.checkpoint_every", self.checkpoint_every),
        ] {
            require(steps > 0, field, "must be at least 1")?;
        }
        Ok(())
    }
}

fn default_validate() -> u64 {
    1000
}
fn default_checkpoint() -> u64 {
    500
}
