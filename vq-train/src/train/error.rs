//! Why training stops.

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::loss::LpipsError;
use crate::tensorboard::EventError;
use std::path::PathBuf;

/// Why training stopped before its last step.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run's folder.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// TensorBoard's events.
    #[error(transparent)]
    Events(#[from] EventError),
    /// The weights of a perceptual loss.
    #[error("loss.lpips: {0}")]
    Lpips(#[from] LpipsError),
    /// A value became NaN or infinite.
    #[error(
        "step {step}: {place} is not finite; the last checkpoint is good: start from it with --from, a lower \
         optimizer.lr or optimizer.clip, and another --out"
    )]
    NotFinite {
        /// Steps done before.
        step: u64,
        /// The first layer or parameter with a value that is not finite.
        place: String,
    },
    /// A checkpoint that belongs to another model.
    #[error("the checkpoint does not fit its configuration: {0}")]
    Mismatch(&'static str),
    /// Weights of a model with other layers.
    #[error("the run to start from has other layers: {0}")]
    Foreign(String),
}
