//! The `[quantizer]` of a configuration: every way to quantise, and its settings.
//!
//! ```toml
//! [quantizer]                 # today's default: one codebook that learns by moving averages
//! codes = 512
//! dim = 8
//!
//! [quantizer]                 # residual: four stages, coarse to fine, trained on any number of them
//! codes = 256
//! dim = 8
//! stages = 4
//! stage_dropout = true
//!
//! [quantizer]                 # two levels: a code for each 2x2 latents, then one for each
//! codes = [512, 128]
//! dim = 8
//! stages = 2
//! sides = [2, 1]
//!
//! [quantizer]                 # no codebook: 8 * 5 * 5 * 5 = 1000 codes
//! kind = "fsq"
//! dim = 4
//! levels = [8, 5, 5, 5]
//! ```

use super::error::{self, ConfigError};
use serde::{Deserialize, Serialize};
use vq_core::bitstream::MAX_STAGES;

/// Largest side of the squares that share a code.
const MAX_SIDE: usize = 8;

/// From latent vectors to codes.
///
/// A projection to few channels is a `{ conv = { out = DIM, kernel = 1 } }` at the encoder's end; the
/// decoder's first convolution takes it from there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantizerConfig {
    /// The kind of quantiser.
    #[serde(default, skip_serializing_if = "QuantizerKind::is_default")]
    pub kind: QuantizerKind,
    /// K: one number for all stages and groups, or a list of each stage's. Not for `fsq`, whose codes are
    /// the products of its levels.
    #[serde(default, skip_serializing_if = "Codes::is_absent")]
    pub codes: Codes,
    /// D, channels of the latent.
    pub dim: usize,
    /// `ema`, `gradient`: the share of the past in the moving averages.
    #[serde(default = "default_decay")]
    pub decay: f64,
    /// `ema`, `gradient`, `simvq`: weight of the commitment term, mean (z - sg code)^2.
    #[serde(default = "default_commitment")]
    pub commitment: f64,
    /// `ema`, `gradient`: a code chosen less often than this share of the mean is restarted at a vector of
    /// the batch; 0 never restarts.
    #[serde(default = "default_restart")]
    pub restart: f64,
    /// Steps trained without quantisation before the codes are placed among the latents.
    #[serde(default)]
    pub start: u64,
    /// `ema`, `gradient`, `simvq`: residual stages, each for what the ones before have left.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub stages: usize,
    /// A number for each stage: one code stands for a square of so many latents each way. Coarse stages come first;
    /// each side is a multiple of the next. Without it all sides are 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sides: Vec<usize>,
    /// With several stages: at each step the decoder gets the first few only, a number drawn anew, so that
    /// it can make a picture of any prefix.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stage_dropout: bool,
    /// `ema`, `gradient`, `simvq`: groups of channels, each with codebooks of its own.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
    /// `ema`, `gradient`, `simvq`, one stage: latents and codes on the unit sphere, compared by angle.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cosine: bool,
    /// `ema`, `gradient`, `simvq`: the rotation trick instead of straight-through gradients.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rotation: bool,
    /// `fsq`: levels of each channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<usize>,
    /// `ema`, `gradient`, `simvq`: sure choices, evenly spread over the codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy: Option<EntropyConfig>,
    /// `gumbel`: how codes are drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gumbel: Option<GumbelConfig>,
}

/// How many codes the stages have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "codes must be a whole number, or a list of one for each stage"
)]
pub enum Codes {
    /// Each the same.
    Same(usize),
    /// Stage by stage.
    Each(Vec<usize>),
}

impl Default for Codes {
    fn default() -> Self {
        Codes::Same(0)
    }
}

impl Codes {
    fn is_absent(&self) -> bool {
        *self == Codes::default()
    }

    /// K of a stage; 0 where none is given.
    pub fn of_stage(&self, stage: usize) -> usize {
        match self {
            Codes::Same(codes) => *codes,
            Codes::Each(codes) => codes.get(stage).copied().unwrap_or(0),
        }
    }
}

/// Ways to quantise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum QuantizerKind {
    /// Nearest of codes that follow the latents by moving averages (van den Oord 2017).
    #[default]
    Ema,
    /// Nearest of codes that learn by gradients (van den Oord 2017).
    Gradient,
    /// Nearest of codes that are a fixed table times a learnt matrix; for thousands of codes (Zhu 2024).
    SimVq,
    /// Each channel rounded to a few levels, without a codebook (Mentzer 2024).
    Fsq,
    /// Codes drawn by logits with Gumbel noise, the likeliest once trained (Jang 2017).
    Gumbel,
}

impl QuantizerKind {
    fn is_default(&self) -> bool {
        *self == QuantizerKind::default()
    }

    /// Whether codes are the nearest of a codebook.
    fn has_codebook(self) -> bool {
        matches!(self, Self::Ema | Self::Gradient | Self::SimVq)
    }
}

/// The entropy regulariser: `entropy = { weight = 0.1, temperature = 0.01 }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntropyConfig {
    /// Weight of the regulariser in the loss.
    #[serde(default = "default_entropy_weight")]
    pub weight: f64,
    /// Temperature of the softmax over -|z - code|^2, in units of a squared distance.
    #[serde(default = "default_entropy_temperature")]
    pub temperature: f64,
}

/// Gumbel-softmax: `gumbel = { temperature = [1.0, 0.0625], steps = 20000, kl = 5e-4 }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GumbelConfig {
    /// Temperature at the first step that quantises, and at the last of `steps`; it falls geometrically.
    pub temperature: [f64; 2],
    /// Steps over which it falls.
    pub steps: u64,
    /// Weight of the divergence of the choices from using all codes equally.
    pub kl: f64,
}

impl Default for GumbelConfig {
    fn default() -> Self {
        GumbelConfig {
            temperature: [1.0, 0.0625],
            steps: 20_000,
            kl: 5e-4,
        }
    }
}

impl QuantizerConfig {
    /// The side of a stage's squares.
    pub fn side(&self, stage: usize) -> usize {
        self.sides.get(stage).copied().unwrap_or(1)
    }

    /// Checks every field by itself and against the kind.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.check_kind()?;
        let share = |x: f64| (0.0..1.0).contains(&x);
        let weight = |x: f64| x >= 0.0 && x.is_finite();
        require((1..=1024).contains(&self.dim), "dim", "must be 1 to 1024")?;
        let below_one = "must be at least 0 and below 1";
        require(share(self.decay), "decay", below_one)?;
        require(share(self.restart), "restart", below_one)?;
        let finite = "must be at least 0 and finite";
        require(weight(self.commitment), "commitment", finite)?;
        if self.kind == QuantizerKind::Fsq {
            self.check_levels()?;
        } else {
            let mut stages = 0..self.stages;
            let codes = stages.all(|s| (2..=65535).contains(&self.codes.of_stage(s)));
            require(codes, "codes", "must be 2 to 65535 for every stage")?;
        }
        self.check_stages()?;
        if let Some(entropy) = &self.entropy {
            require(weight(entropy.weight), "entropy.weight", finite)?;
            let positive = entropy.temperature > 0.0 && entropy.temperature.is_finite();
            require(positive, "entropy.temperature", "must be positive")?;
        }
        if let Some(gumbel) = &self.gumbel {
            let falls = |[first, last]: [f64; 2]| first >= last && last > 0.0 && first.is_finite();
            let reason = "must be two positive numbers, the second not larger";
            require(falls(gumbel.temperature), "gumbel.temperature", reason)?;
            require(gumbel.steps > 0, "gumbel.steps", "must be at least 1")?;
            require(weight(gumbel.kl), "gumbel.kl", finite)?;
        }
        Ok(())
    }

    /// Fields that say nothing for this kind are mistakes.
    fn check_kind(&self) -> Result<(), ConfigError> {
        let only = "is only for the kinds ema, gradient and simvq";
        let codebook = self.kind.has_codebook();
        require(codebook || self.stages == 1, "stages", only)?;
        require(codebook || self.groups == 1, "groups", only)?;
        require(codebook || !self.cosine, "cosine", only)?;
        require(codebook || !self.rotation, "rotation", only)?;
        require(codebook || self.entropy.is_none(), "entropy", only)?;
        let fsq = self.kind == QuantizerKind::Fsq;
        let reason = "is only for the kind fsq";
        require(fsq || self.levels.is_empty(), "levels", reason)?;
        let reason = "is not for the kind fsq: its codes are the products of quantizer.levels";
        require(!fsq || self.codes.is_absent(), "codes", reason)?;
        let gumbel = self.kind == QuantizerKind::Gumbel;
        let reason = "is only for the kind gumbel";
        require(gumbel || self.gumbel.is_none(), "gumbel", reason)
    }

    fn check_levels(&self) -> Result<(), ConfigError> {
        let channels = self.levels.len() == self.dim;
        require(
            channels,
            "levels",
            "must have one number for each of quantizer.dim channels",
        )?;
        let each = self.levels.iter().all(|levels| (3..=255).contains(levels));
        require(each, "levels", "must each be 3 to 255")?;
        let product = self.levels.iter().try_fold(1usize, |product, &levels| {
            product
                .checked_mul(levels)
                .filter(|&product| product <= 65535)
        });
        let reason = "must multiply to at most 65535, the number of codes";
        require(product.is_some(), "levels", reason)
    }

    fn check_stages(&self) -> Result<(), ConfigError> {
        let (stages, groups) = (self.stages, self.groups);
        let eight = (1..=MAX_STAGES).contains(&stages);
        require(eight, "stages", &format!("must be 1 to {MAX_STAGES}"))?;
        let reason =
            format!("must be 1 to {MAX_STAGES}, times quantizer.stages at most {MAX_STAGES}");
        let fits = (1..=MAX_STAGES).contains(&groups) && stages * groups <= MAX_STAGES;
        require(fits, "groups", &reason)?;
        let divides = self.dim.is_multiple_of(groups);
        require(divides, "groups", "must divide quantizer.dim")?;
        if let Codes::Each(codes) = &self.codes {
            let reason = "must be one number, or one for each of quantizer.stages";
            require(codes.len() == stages, "codes", reason)?;
        }
        self.check_sides()?;
        let reason = "needs quantizer.stages of at least 2";
        require(stages > 1 || !self.stage_dropout, "stage_dropout", reason)?;
        let reason = "is for one stage: what a unit code leaves is of any length";
        require(stages == 1 || !self.cosine, "cosine", reason)
    }

    fn check_sides(&self) -> Result<(), ConfigError> {
        let absent = self.sides.is_empty();
        let reason = "is only for the kinds ema, gradient and simvq";
        require(absent || self.kind.has_codebook(), "sides", reason)?;
        let reason = "must have one number for each of quantizer.stages";
        require(absent || self.sides.len() == self.stages, "sides", reason)?;
        let few = self.sides.iter().all(|side| (1..=MAX_SIDE).contains(side));
        let reason = format!("must each be 1 to {MAX_SIDE}");
        require(few, "sides", &reason)?;
        let mut pairs = self.sides.windows(2);
        let nested = pairs.all(|pair| pair[0].is_multiple_of(pair[1]));
        let reason = "must each be a multiple of the next: coarse stages come first";
        require(nested, "sides", reason)
    }
}

fn require(ok: bool, field: &str, reason: &str) -> Result<(), ConfigError> {
    error::require(ok, &format!("quantizer.{field}"), reason)
}

fn is_one(x: &usize) -> bool {
    *x == 1
}
fn is_false(x: &bool) -> bool {
    !x
}
fn one() -> usize {
    1
}
fn default_decay() -> f64 {
    0.99
}
fn default_commitment() -> f64 {
    0.25
}
fn default_restart() -> f64 {
    0.05
}
fn default_entropy_weight() -> f64 {
    0.1
}
fn default_entropy_temperature() -> f64 {
    0.01
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &str) -> Result<QuantizerConfig, String> {
        let config: QuantizerConfig = toml::from_str(fields).map_err(|e| e.to_string())?;
        config.check().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn every_kind_parses_and_its_text_parses_to_the_same() {
        for fields in [
            "codes = 512\ndim = 64",
            "kind = 'ema'\ncodes = 512\ndim = 64\ngroups = 2\nstages = 4\nstage_dropout = true",
            "codes = [512, 128]\ndim = 8\nstages = 2\nsides = [2, 1]",
            "kind = 'gradient'\ncodes = 16\ndim = 8\ncosine = true\nentropy = {}",
            "kind = 'simvq'\ncodes = 65535\ndim = 8\nrotation = true",
            "kind = 'fsq'\ndim = 4\nlevels = [8, 5, 5, 5]",
            "kind = 'gumbel'\ncodes = 16\ndim = 8\n[gumbel]\ntemperature = [2.0, 0.5]",
        ] {
            let config = parse(fields).unwrap();
            let text = toml::to_string(&config).unwrap();
            assert_eq!(parse(&text).unwrap(), config, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (fields, field) in [
            ("dim = 4", "quantizer.codes"),
            ("codes = 4\ndim = 4\nlevles = [3]", "levles"),
            ("codes = 4\ndim = 4\nkind = 'kmeans'", "kmeans"),
            ("codes = 4\ndim = 4\nlevels = [8]", "quantizer.levels"),
            ("codes = 4\ndim = 4\ngumbel = {}", "quantizer.gumbel"),
            ("codes = 4\ndim = 4\nstages = 9", "quantizer.stages"),
            (
                "codes = 4\ndim = 4\nstages = 4\ngroups = 4",
                "quantizer.groups",
            ),
            ("codes = 4\ndim = 4\ngroups = 3", "quantizer.groups"),
            ("codes = 'many'\ndim = 4", "whole number"),
            ("codes = [4, 4]\ndim = 4", "quantizer.codes"),
            ("codes = [4, 1]\ndim = 4\nstages = 2", "quantizer.codes"),
            ("codes = 4\ndim = 4\nsides = [2, 1]", "quantizer.sides"),
            ("codes = 4\ndim = 4\nsides = [9]", "quantizer.sides"),
            (
                "codes = 4\ndim = 4\nstages = 2\nsides = [1, 2]",
                "quantizer.sides",
            ),
            (
                "kind = 'fsq'\ndim = 2\nlevels = [8, 8]\nsides = [2]",
                "quantizer.sides",
            ),
            (
                "codes = 4\ndim = 4\nstage_dropout = true",
                "quantizer.stage_dropout",
            ),
            (
                "codes = 4\ndim = 4\nstages = 2\ncosine = true",
                "quantizer.cosine",
            ),
            (
                "codes = 4\ndim = 4\nentropy = { temperature = 0 }",
                "temperature",
            ),
            (
                "kind = 'fsq'\ndim = 2\nlevels = [8, 8]\ncodes = 64",
                "quantizer.codes",
            ),
            ("kind = 'fsq'\ndim = 3\nlevels = [8, 8]", "quantizer.levels"),
            ("kind = 'fsq'\ndim = 2\nlevels = [2, 8]", "quantizer.levels"),
            (
                "kind = 'fsq'\ndim = 3\nlevels = [255, 255, 3]",
                "quantizer.levels",
            ),
            (
                "kind = 'fsq'\ndim = 2\nlevels = [8, 8]\nrotation = true",
                "quantizer.rotation",
            ),
            (
                "kind = 'gumbel'\ncodes = 4\ndim = 4\nstages = 2",
                "quantizer.stages",
            ),
            (
                "kind = 'gumbel'\ncodes = 4\ndim = 4\ngumbel = { temperature = [0.5, 1.0] }",
                "quantizer.gumbel.temperature",
            ),
        ] {
            let error = parse(fields).unwrap_err();
            assert!(error.contains(field), "{fields}: {error}");
        }
    }
}
