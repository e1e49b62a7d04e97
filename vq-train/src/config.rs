//! Training configurations: TOML files, checked on load with errors that name the field.

mod gan;
mod layer;
mod quantizer;

pub use gan::{AdversarialLoss, DiscriminatorConfig, DiscriminatorNorm, GanConfig};
pub use layer::{
    AttentionConfig, BatchNormConfig, ConvConfig, GroupNormConfig, LayerConfig, LinearConfig,
    MaskConfig, MaxUnpoolConfig, Pad, PoolConfig, ResBlockConfig, ResidualConfig, TransposedConfig,
};
pub use quantizer::{Codes, EntropyConfig, GumbelConfig, QuantizerConfig, QuantizerKind};

use crate::data::Source;
use crate::input;
use crate::loss::{Lpips, ms_ssim};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A whole training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The model's name, at most 32 bytes; it goes into the exported file.
    pub name: String,
    /// Everything random follows from it.
    #[serde(default)]
    pub seed: u64,
    /// What to train on.
    pub data: DataConfig,
    /// The layers.
    pub model: ModelConfig,
    /// From latents to codes.
    pub quantizer: QuantizerConfig,
    /// What is minimised.
    #[serde(default)]
    pub loss: LossConfig,
    /// How it is minimised.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// A discriminator, in adversarial training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gan: Option<GanConfig>,
    /// For how long.
    pub train: TrainConfig,
}

/// Which pictures, at which size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The format of the folder.
    pub kind: DataKind,
    /// The folder; `--data` overrides it.
    pub path: Option<PathBuf>,
    /// Several folders instead: `mix = [{ path = "photos", weight = 3 }, { path = "maps" }]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mix: Vec<Source>,
    /// Width and height that the model trains on.
    pub size: [usize; 2],
    /// The share of the pictures that is held out to validate on.
    #[serde(default = "default_holdout")]
    pub holdout: f64,
    /// At most this many photos whose names begin with the key.
    #[serde(default)]
    pub limit: std::collections::BTreeMap<String, usize>,
    /// How often a crop is almost the whole photo instead of a detail of any scale.
    #[serde(default = "default_whole")]
    pub whole: f64,
    /// How far the colours of a photo's crops vary: 0 leaves them, 0.2 changes contrast, saturation and white
    /// balance by up to a fifth.
    #[serde(default)]
    pub jitter: f64,
}

impl DataConfig {
    /// The folders that are named, if any are.
    pub fn sources(&self) -> Vec<Source> {
        let path = self.path.iter().map(|path| Source::from(path.as_path()));
        path.chain(self.mix.iter().cloned()).collect()
    }
}

/// Formats of training data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataKind {
    /// A folder of PNG, JPEG and WebP pictures; random crops at random scales.
    Photos,
    /// The idx files of MNIST or Fashion-MNIST, gzipped or not.
    Mnist,
    /// CIFAR-10's binary files.
    Cifar10,
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

/// What is minimised besides the quantiser's own terms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// Distance between picture and reconstruction, pixel by pixel.
    pub kind: LossKind,
    /// What it counts.
    pub pixels: f64,
    /// What LPIPS (AlexNet) counts, for which `vq train --lpips` names the weights; 0 leaves it out. It sees a
    /// picture without its first 0 to 3 rows and columns, of which each step draws the numbers.
    pub lpips: f64,
    /// What 1 - MS-SSIM counts; 0 leaves it out.
    pub ms_ssim: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        LossConfig {
            kind: LossKind::default(),
            pixels: 1.0,
            lpips: 0.0,
            ms_ssim: 0.0,
        }
    }
}

impl LossConfig {
    fn check(&self, size: [usize; 2]) -> Result<(), ConfigError> {
        for (field, weight, side) in [
            ("loss.pixels", self.pixels, 1),
            ("loss.lpips", self.lpips, Lpips::<f32>::MIN_SIDE),
            ("loss.ms_ssim", self.ms_ssim, ms_ssim::MIN_SIDE),
        ] {
            if weight < 0.0 || !weight.is_finite() {
                return Err(field_error(field, "must be at least 0 and finite"));
            }
            if weight > 0.0 && size.iter().any(|&s| s < side) {
                let reason = format!("needs pictures of at least {side}x{side}, see data.size");
                return Err(field_error(field, reason));
            }
        }
        if self.pixels + self.lpips + self.ms_ssim == 0.0 {
            let reason = "with lpips and ms_ssim at 0 too, nothing says what a reconstruction is";
            return Err(field_error("loss.pixels", reason));
        }
        Ok(())
    }
}

/// Distances between pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum LossKind {
    /// Mean squared error over the data's variance.
    #[default]
    Mse,
    /// Mean absolute error over the data's standard deviation.
    L1,
    /// As `L1`, but smooth at zero: mean sqrt(e^2 + 1e-6) over the data's standard deviation.
    Charbonnier,
}

impl LossKind {
    /// What an error is divided by, of data with this variance.
    pub fn scale(self, variance: f64) -> f64 {
        match self {
            LossKind::Mse => variance,
            LossKind::L1 | LossKind::Charbonnier => variance.sqrt(),
        }
    }
}

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
    fn check(&self, place: &str) -> Result<(), ConfigError> {
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

fn default_holdout() -> f64 {
    0.04
}
fn default_whole() -> f64 {
    0.5
}
fn default_validate() -> u64 {
    1000
}
fn default_checkpoint() -> u64 {
    500
}

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
        let invalid = |source| ConfigError::Invalid {
            origin: origin.into(),
            source: Box::new(source),
        };
        config.check().map_err(invalid)?;
        Ok(config)
    }

    /// The configuration as a TOML text that parses to the same.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every field has a TOML form")
    }

    /// Checks everything that does not need the data.
    pub fn check(&self) -> Result<(), ConfigError> {
        let require = |ok: bool, field: &str, reason: &str| {
            if ok {
                Ok(())
            } else {
                Err(field_error(field, reason))
            }
        };
        let share = |x: f64| (0.0..1.0).contains(&x);
        require(
            (1..=32).contains(&self.name.len()),
            "name",
            "must have 1 to 32 bytes",
        )?;
        let sizes = self.data.size.iter().all(|s| (1..=4096).contains(s));
        require(sizes, "data.size", "width and height must be 1 to 4096")?;
        require(
            share(self.data.holdout),
            "data.holdout",
            "must be at least 0 and below 1",
        )?;
        require(
            (0.0..=1.0).contains(&self.data.whole),
            "data.whole",
            "must be 0 to 1",
        )?;
        require(
            (0.0..=1.0).contains(&self.data.jitter),
            "data.jitter",
            "must be 0 to 1",
        )?;
        require(
            self.data.path.is_none() || self.data.mix.is_empty(),
            "data.mix",
            "data.path is given too: name all folders in one of them",
        )?;
        require(
            self.data.mix.iter().all(Source::usable),
            "data.mix",
            Source::WEIGHTS,
        )?;
        let channels = self.model.channels;
        require(
            channels == 1 || channels == 3,
            "model.channels",
            "must be 1 or 3",
        )?;
        self.quantizer.check()?;
        self.loss.check(self.data.size)?;
        self.optimizer.check("optimizer")?;
        if let Some(gan) = &self.gan {
            gan.check(self.data.size, channels)?;
        }
        let t = &self.train;
        require(t.steps > 0, "train.steps", "must be at least 1")?;
        require(
            (1..=65536).contains(&t.batch),
            "train.batch",
            "must be 1 to 65536",
        )?;
        require(
            t.validate_every > 0,
            "train.validate_every",
            "must be at least 1",
        )?;
        require(
            t.checkpoint_every > 0,
            "train.checkpoint_every",
            "must be at least 1",
        )?;
        crate::model::VqVae::build(self).map(|_| ())
    }
}
