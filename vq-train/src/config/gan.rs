//! Adversarial training.

use super::{ConfigError, OptimizerConfig, field_error};
use crate::gan::Discriminator;
use crate::model::MAX_PARAMS;
use serde::{Deserialize, Serialize};

/// A discriminator, and how the generator listens to it (Esser et al. 2021).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GanConfig {
    /// The first step on which the generator is trained by the discriminator.
    pub start: u64,
    /// The first step on which the discriminator learns: 0, so that it is worth listening to at `start`.
    pub learns_from: u64,
    /// What the adversarial loss counts against the reconstruction's: their gradients by the decoder's last
    /// weights have this ratio, or with `adaptive = false` the losses themselves.
    pub weight: f64,
    /// Whether the weight adapts to the gradients.
    pub adaptive: bool,
    /// The losses of both sides.
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
    /// The discriminator rests when its loss, averaged over some steps, is below this share of what guessing
    /// costs, until it is above twice that: it has won, and to win higher teaches the generator nothing. The
    /// generator listens to it as it is. Below 0.5; 0 never rests.
    pub rest: f64,
    /// The discriminator's learning rate; in all that is not said here it learns as `optimizer` says.
    pub lr: f64,
    /// Its Adam's decay rates.
    pub betas: [f64; 2],
    /// Its layers.
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
            rest: 0.1,
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
    /// What keeps its layers in check.
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
    /// None.
    None,
}

impl DiscriminatorConfig {
    /// The layers for pictures of this width and height.
    ///
    /// # Errors
    /// Pictures that are too small for them, or too many parameters.
    pub(crate) fn build(
        &self,
        [width, height]: [usize; 2],
        channels: usize,
    ) -> Result<Discriminator, ConfigError> {
        let net = Discriminator::new(self, channels);
        if net.patches([height, width]).is_none() {
            let reason = format!("too many for pictures of {width}x{height}");
            return Err(field_error("gan.discriminator.layers", reason));
        }
        if net.table.len() > MAX_PARAMS {
            let reason = format!("makes more than {MAX_PARAMS} parameters");
            return Err(field_error("gan.discriminator.channels", reason));
        }
        Ok(net)
    }
}

impl GanConfig {
    /// Checks everything, for pictures of this width and height.
    pub(super) fn check(&self, size: [usize; 2], channels: usize) -> Result<(), ConfigError> {
        let finite = |x: f64| x >= 0.0 && x.is_finite();
        let rules = [
            ("gan.weight", finite(self.weight)),
            ("gan.features", finite(self.features)),
            ("gan.lecam", finite(self.lecam)),
            ("gan.r1", finite(self.r1)),
            ("gan.rest", finite(self.rest)),
        ];
        if let Some((field, _)) = rules.iter().find(|(_, ok)| !ok) {
            return Err(field_error(*field, "must be at least 0 and finite"));
        }
        if !(0.0..1.0).contains(&self.lecam_decay) {
            let reason = "must be at least 0 and below 1";
            return Err(field_error("gan.lecam_decay", reason));
        }
        if self.rest >= 0.5 {
            let reason = "must be below 0.5: it wakes at twice that, and guessing costs 1";
            return Err(field_error("gan.rest", reason));
        }
        if self.learns_from > self.start {
            let reason = "must not be after gan.start: the generator would listen to fresh weights";
            return Err(field_error("gan.learns_from", reason));
        }
        if self.r1_every == 0 {
            return Err(field_error("gan.r1_every", "must be at least 1"));
        }
        let DiscriminatorConfig {
            channels: first,
            layers,
            ..
        } = self.discriminator;
        if !(1..=4096).contains(&first) {
            return Err(field_error(
                "gan.discriminator.channels",
                "must be 1 to 4096",
            ));
        }
        if !(1..=8).contains(&layers) {
            return Err(field_error("gan.discriminator.layers", "must be 1 to 8"));
        }
        self.discriminator.build(size, channels)?;
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
