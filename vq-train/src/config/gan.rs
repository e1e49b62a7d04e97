//! The `[gan]` of a configuration: adversarial training.

use super::error::{ConfigError, require};
use super::optimizer::OptimizerConfig;
use serde::{Deserialize, Serialize};

/// A discriminator, and how its losses train the generator (Esser et al. 2021).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GanConfig {
    /// The first step at which the adversarial loss is part of the total loss.
    pub start: u64,
    /// The first step at which the discriminator learns; at most `start`, so that its weights are no longer fresh
    /// when the generator learns from them.
    pub learns_from: u64,
    /// Weight of the adversarial loss: the ratio of its gradient by the decoder's last weights to the
    /// reconstruction losses', or with `adaptive = false` the ratio of the losses themselves.
    pub weight: f64,
    /// Whether the weight adapts to the gradients.
    pub adaptive: bool,
    /// The adversarial losses of discriminator and generator.
    pub loss: AdversarialLoss,
    /// Weight of feature matching: mean absolute distances between the discriminator's features of picture
    /// and reconstruction, summed over its layers (Wang et al. 2018).
    pub features: f64,
    /// Weight of LeCAM's regulariser (Tseng et al. 2021); 0 leaves it out.
    pub lecam: f64,
    /// The share of the past in LeCAM's averages.
    pub lecam_decay: f64,
    /// Weight of the penalty on the discriminator's gradient by real pictures (Mescheder et al. 2018), gamma;
    /// 0 leaves it out.
    pub r1: f64,
    /// The penalty is taken on every so-many-th step, as many times as strong.
    pub r1_every: u64,
    /// The discriminator's learning is paused when its loss, averaged over some steps, falls below this share of
    /// what guessing costs, until it is above twice that: a discriminator that tells all pictures apart gives the
    /// generator no useful gradient. The adversarial loss stays part of the total loss. Below 0.5; 0 never pauses.
    pub pause_below: f64,
    /// The discriminator's learning rate; all other settings of its optimiser are those of `optimizer`.
    pub lr: f64,
    /// Decay rates of the discriminator's Adam.
    pub betas: [f64; 2],
    /// The discriminator's layers.
    pub discriminator: DiscriminatorConfig,
}

impl Default for GanConfig {
    fn default() -> Self {
        GanConfig {
            start: 0,
            learns_from: 0,
            weight: 0.8,
            adaptive: true,
            loss: AdversarialLoss::Hinge,
            features: 0.0,
            lecam: 0.01,
            lecam_decay: 0.999,
            r1: 0.0,
            r1_every: 16,
            pause_below: 0.1,
            lr: 2e-4,
            betas: [0.5, 0.9],
            discriminator: DiscriminatorConfig::default(),
        }
    }
}

/// Losses of discriminator (d, of real logits r and fake ones f) and generator (g, of f).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdversarialLoss {
    /// d = (E relu(1 - r) + E relu(1 + f)) / 2, g = -E f.
    Hinge,
    /// d = (E softplus(-r) + E softplus(f)) / 2, g = -E f.
    Vanilla,
    /// d as vanilla, g = E softplus(-f).
    NonSaturating,
}

/// A PatchGAN (Isola et al. 2017): convolutions of 4x4, after each a leaky ReLU of .2.
///
/// Channels double from layer to layer, up to eight times `channels`; the first `layers` halve the map,
/// another does not, and the last makes one logit a patch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscriminatorConfig {
    /// Channels of the first layer.
    pub channels: usize,
    /// Layers that halve the map.
    pub layers: usize,
    /// Normalisation of its layers.
    pub norm: DiscriminatorNorm,
}

impl Default for DiscriminatorConfig {
    fn default() -> Self {
        DiscriminatorConfig {
            channels: 64,
            layers: 3,
            norm: DiscriminatorNorm::Batch,
        }
    }
}

/// Normalisation of a discriminator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiscriminatorNorm {
    /// Batch normalisation behind every convolution but the first and the last.
    Batch,
    /// Spectral normalisation of all weights.
    Spectral,
    /// No normalisation.
    None,
}

impl GanConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (field, weight) in [
            ("gan.weight", self.weight),
            ("gan.features", self.features),
            ("gan.lecam", self.lecam),
            ("gan.r1", self.r1),
            ("gan.pause_below", self.pause_below),
        ] {
            let finite = weight >= 0.0 && weight.is_finite();
            require(finite, field, "must be at least 0 and finite")?;
        }
        let below_one = (0.0..1.0).contains(&self.lecam_decay);
        require(
            below_one,
            "gan.lecam_decay",
            "must be at least 0 and below 1",
        )?;
        let reason = "must be below 0.5: learning goes on at twice that, and guessing costs 1";
        require(self.pause_below < 0.5, "gan.pause_below", reason)?;
        let reason = "must not be after gan.start: the generator would learn from fresh weights";
        require(self.learns_from <= self.start, "gan.learns_from", reason)?;
        require(self.r1_every > 0, "gan.r1_every", "must be at least 1")?;
        self.discriminator.check()?;
        self.optimizer(&OptimizerConfig::default()).check("gan")
    }

    /// How the discriminator learns, beside a generator that learns by `generator`.
    pub fn optimizer(&self, generator: &OptimizerConfig) -> OptimizerConfig {
        OptimizerConfig {
            lr: self.lr,
            betas: self.betas,
            ema: 0.0,
            ..*generator
        }
    }
}

impl DiscriminatorConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let channels = (1..=4096).contains(&self.channels);
        require(channels, "gan.discriminator.channels", "must be 1 to 4096")?;
        let layers = (1..=8).contains(&self.layers);
        require(layers, "gan.discriminator.layers", "must be 1 to 8")
    }
}
