//! Why weights cannot be taken over.

use super::faults::Faults;
use crate::config::ConfigError;
use safetensors::{Dtype, SafeTensorError};
use std::path::PathBuf;

/// Why weights cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum InterchangeError {
    /// Not a whole safetensors file.
    #[error("not a whole safetensors file: {0}")]
    File(#[from] SafeTensorError),
    /// A map of names that cannot be read.
    #[error("cannot read the map of names {path}: {source}", path = path.display())]
    ReadNames {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A map of names that is no table of strings.
    #[error(
        "{origin}: {reason}; each line says \"OURS\" = \"THEIRS\", a parameter or a whole module"
    )]
    Names {
        /// The file.
        origin: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// Names or shapes that do not pair up.
    #[error("{0}")]
    Unmatched(Faults),
    /// An element type that has no exact value as f32, or is no float.
    #[error("{name} is of type {dtype}, not F32, F16 or BF16: convert it before it is saved")]
    Type {
        /// The tensor.
        name: String,
        /// Its element type.
        dtype: Dtype,
    },
    /// A weight that is NaN or infinite.
    #[error("{name}[{index}] is {value}: the training that wrote this file has failed")]
    NotFinite {
        /// The tensor.
        name: String,
        /// Place in the flat tensor.
        index: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
}
