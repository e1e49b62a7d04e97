//! Why a configuration cannot be used.

use std::path::PathBuf;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Not TOML, an unknown field, or a value of the wrong type.
    #[error("{origin}: {source}")]
    Parse {
        /// The file, or what else the text came from.
        origin: String,
        /// What TOML's reader says, with line and column.
        source: Box<toml::de::Error>,
    },
    /// A field of this file; the source is a [`ConfigError::Field`].
    #[error("{origin}: {source}")]
    Invalid {
        /// The file, or what else the text came from.
        origin: String,
        /// The field and what is wrong with it.
        source: Box<ConfigError>,
    },
    /// A value that makes no sense.
    #[error("{field}: {reason}")]
    Field {
        /// Dotted path of the field.
        field: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

/// A [`ConfigError::Field`].
pub(crate) fn field_error(field: impl Into<String>, reason: impl Into<String>) -> ConfigError {
    ConfigError::Field {
        field: field.into(),
        reason: reason.into(),
    }
}

/// A [`ConfigError::Field`] unless a field is as it must be.
pub(super) fn require(ok: bool, field: &str, reason: &str) -> Result<(), ConfigError> {
    match ok {
        true => Ok(()),
        false => Err(field_error(field, reason)),
    }
}

impl ConfigError {
    /// The error, of the file `origin` or of what else the configuration came from.
    pub fn in_file(self, origin: &str) -> ConfigError {
        ConfigError::Invalid {
            origin: origin.into(),
            source: Box::new(self),
        }
    }
}
