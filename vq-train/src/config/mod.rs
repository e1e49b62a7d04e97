//! Training configurations: TOML files, checked on load with errors that name the field.
//!
//! A configuration is data. It checks its fields, each by itself and against the others, and builds nothing:
//! whether the layers' shapes chain, and whether pictures are large enough for all networks and losses, is what
//! [`Networks::build`](crate::train::Networks::build) finds.

mod error;
mod source;
mod data;
mod layer;
mod quantizer;
mod loss;
mod optimizer;
mod gan;
mod train;

pub use crate::nn::{
    AttentionConfig, BatchNormConfig, ConvConfig, GroupNormConfig, LinearConfig, MaskConfig, Pad,
    PoolConfig, ResidualConfig, TransposedConfig,
};
pub use data::{DataConfig, DataKind};
pub use error::ConfigError;
pub(crate) use error::field_error;
pub use gan::{AdversarialLoss, DiscriminatorConfig, DiscriminatorNorm, GanConfig};
pub use layer::{LayerConfig, ResBlockConfig};
pub use loss::{LossConfig, PixelLossKind};
pub use optimizer::{OptimizerConfig, Schedule};
pub use quantizer::{Codes, EntropyConfig, GumbelConfig, QuantizerConfig, QuantizerKind};
pub use source::Source;
pub use train::TrainConfig;

use crate::input;
use error::require;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A whole training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The model's name, at most 32 bytes; it goes into the exported file.
    pub name: String,
    /// Everything random follows from it.
    #[serde(default)]
    pub seed: u64,
    /// The training data.
    pub data: DataConfig,
    /// The layers.
    pub model: ModelConfig,
    /// From latents to codes.
    pub quantizer: QuantizerConfig,
    /// The losses.
    #[serde(default)]
    pub loss: LossConfig,
    /// The optimiser.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// A discriminator, in adversarial training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gan: Option<GanConfig>,
    /// For how long.
    pub train: TrainConfig,
}

/// Encoder and decoder as lists of layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// 3 for RGB, 1 for grey.
    pub channels: usize,
    /// From picture to latent; the last layer has `quantizer.dim` channels.
    pub encoder: Vec<LayerConfig>,
    /// From latent to picture; the last layer has `channels` channels.
    pub decoder: Vec<LayerConfig>,
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let read = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let text = input::open(path)
            .and_then(std::io::read_to_string)
            .map_err(read)?;
        Config::parse(&text, &path.display().to_string())
    }

    /// Reads and checks a text; `origin` is what errors call it.
    pub fn parse(text: &str, origin: &str) -> Result<Config, ConfigError> {
        let parse = |source| ConfigError::Parse {
            origin: origin.into(),
            source: Box::new(source),
        };
        let config: Config = toml::from_str(text).map_err(parse)?;
        config.check().map_err(|e| e.in_file(origin))?;
        Ok(config)
    }

    /// The configuration as a TOML text that parses to the same.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every field has a TOML form")
    }

    /// Checks all fields, each by itself and against the others.
    ///
    /// # Errors
    /// The first field whose value makes no sense, and what would.
    pub fn check(&self) -> Result<(), ConfigError> {
        let length = (1..=32).contains(&self.name.len());
        require(length, "name", "must have 1 to 32 bytes")?;
        self.data.check()?;
        let channels = [1, 3].contains(&self.model.channels);
        require(channels, "model.channels", "must be 1 or 3")?;
        self.quantizer.check()?;
        self.loss.check()?;
        self.optimizer.check("optimizer")?;
        if let Some(gan) = &self.gan {
            gan.check()?;
        }
        self.train.check()
    }
}
