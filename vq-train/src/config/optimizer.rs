//! The `[optimizer]` of a configuration.

use super::error::{ConfigError, field_error};
use serde::{Deserialize, Serialize};

/// Adam or AdamW with warm-up and a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Learning rate after warm-up.
    pub lr: f64,
    /// Learning rate at the end of the schedule, as a share of `lr`.
    pub final_lr: f64,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// How the learning rate falls after warm-up.
    pub schedule: Schedule,
    /// Sudden drops of `schedule = "step"`.
    pub drops: u32,
    /// Adam's decay rates.
    pub betas: [f64; 2],
    /// AdamW's decoupled weight decay; 0 is Adam.
    pub weight_decay: f64,
    /// Gradients longer than this are scaled down to it; 0 never clips.
    pub clip: f64,
    /// The share of the past in a moving average of the parameters, such as 0.999, that validation and
    /// export use; 0 uses the last parameters themselves.
    pub ema: f64,
}

/// How the learning rate goes from `lr` to `final_lr` of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine.
    #[default]
    Cosine,
    /// A straight line.
    Linear,
    /// By equal factors, at `drops` steps that part the training in equal parts.
    Step,
    /// Not at all: `final_lr` is not used.
    Constant,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        OptimizerConfig {
            lr: 1e-3,
            final_lr: 0.01,
            warmup: 200,
            schedule: Schedule::Cosine,
            drops: 2,
            betas: [0.9, 0.999],
            weight_decay: 0.0,
            clip: 1.0,
            ema: 0.0,
        }
    }
}

impl OptimizerConfig {
    /// Checks the values; `place` is the table's name.
    pub(super) fn check(&self, place: &str) -> Result<(), ConfigError> {
        let share = |x: f64| (0.0..1.0).contains(&x);
        let rules = [
            (
                "lr",
                self.lr > 0.0 && self.lr.is_finite(),
                "must be positive",
            ),
            (
                "final_lr",
                (0.0..=1.0).contains(&self.final_lr),
                "must be 0 to 1",
            ),
            (
                "betas",
                self.betas.iter().all(|&b| share(b)),
                "must be 0 to below 1",
            ),
            (
                "weight_decay",
                self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
                "must be at least 0 and finite",
            ),
            ("clip", self.clip >= 0.0, "must not be negative"),
            ("ema", share(self.ema), "must be at least 0 and below 1"),
            (
                "schedule",
                self.schedule != Schedule::Step || (self.drops > 0 && self.final_lr > 0.0),
                "\"step\" needs at least one of drops, and a final_lr above 0",
            ),
        ];
        match rules.iter().find(|(_, ok, _)| !ok) {
            Some((field, _, reason)) => Err(field_error(format!("{place}.{field}"), *reason)),
            None => Ok(()),
        }
    }
}
