//! The `[data]` of a configuration: which pictures, and how they are cropped.

use super::error::{ConfigError, require};
use super::source::Source;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let sizes = self.size.iter().all(|side| (1..=4096).contains(side));
        require(sizes, "data.size", "width and height must be 1 to 4096")?;
        let holdout = (0.0..1.0).contains(&self.holdout);
        require(holdout, "data.holdout", "must be at least 0 and below 1")?;
        for (field, share) in [("data.whole", self.whole), ("data.jitter", self.jitter)] {
            require((0.0..=1.0).contains(&share), field, "must be 0 to 1")?;
        }
        let reason = "data.path is given too: name all folders in one of them";
        let one = self.path.is_none() || self.mix.is_empty();
        require(one, "data.mix", reason)?;
        let usable = self.mix.iter().all(Source::usable);
        require(usable, "data.mix", Source::WEIGHTS)
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

fn default_holdout() -> f64 {
    0.04
}
fn default_whole() -> f64 {
    0.5
}
