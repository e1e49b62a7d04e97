//! What a configuration describes, built: the second half of the check of a configuration.

use crate::config::{Config, ConfigError};
use crate::gan::Discriminator;
use crate::loss;
use crate::model::VqVae;

/// The layers of all networks of a configuration, without weights.
#[derive(Debug, Clone)]
pub struct Networks {
    /// The configuration.
    pub config: Config,
    /// Encoder, quantiser and decoder.
    pub model: VqVae,
    /// The discriminator, in adversarial training.
    pub discriminator: Option<Discriminator>,
}

impl Networks {
    /// Builds the networks of a configuration whose fields are checked.
    ///
    /// # Errors
    /// Layers whose shapes do not chain, too many parameters, or pictures that are too small for the layers or a loss. The
    /// error names the field.
    pub fn build(config: Config) -> Result<Networks, ConfigError> {
        loss::check(&config.loss, config.data.size)?;
        Ok(Networks {
            discriminator: Discriminator::build(&config)?,
            model: VqVae::build(&config)?,
            config,
        })
    }
}
