//! The loaders' result, and their errors.

use crate::picture::{Picture, PictureError};
use std::path::PathBuf;

/// The pictures that a loader found.
pub(super) struct Loaded {
    /// Pictures to train on.
    pub(super) train: Vec<Picture>,
    /// The format's own test set, if it has one.
    pub(super) validation: Option<Vec<Picture>>,
    /// Files that could not be used, one message each.
    pub(super) skipped: Vec<String>,
}

/// Why training data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No folder was named.
    #[error(
        "no training data: name a folder with --data DIR, or as data.path in the configuration"
    )]
    NoPath,
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("{path}: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder of pictures.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Nothing is left to train on.
    #[error("{path}: no usable pictures: {reason}")]
    Empty {
        /// The folder.
        path: PathBuf,
        /// Why none is usable.
        reason: String,
    },
}
