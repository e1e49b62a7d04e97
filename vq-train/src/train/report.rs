//! Figures of steps and of validations.

use crate::gan::AdversaryReport;
use crate::health::Event;
use crate::loss::LossTerms;
use crate::picture::Picture;
use crate::quantizer::{Stage, perplexity, usage};
use serde::Serialize;

/// Figures of one step.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// The total loss, the quantiser's own terms included.
    pub loss: f64,
    /// Mean squared error over the data's variance (or its standard deviation, with L1).
    pub nmse: f64,
    /// PSNR of the batch as a whole, in dB, before rounding to bytes.
    pub psnr: f64,
    /// Perplexity of the batch's codes; 0 before the codebook is placed.
    pub perplexity: f64,
    /// Codes restarted.
    pub restarted: usize,
    /// The gradient's norm before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// The losses besides the pixel loss.
    #[serde(flatten)]
    pub terms: LossTerms,
    /// The weight of the adversarial loss, from `gan.start` on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub g_weight: Option<f64>,
    /// Figures of the discriminator.
    #[serde(flatten)]
    pub adversary: Option<AdversaryReport>,
    /// An event for the log, with a sentence of its own.
    #[serde(skip)]
    pub event: Option<Event>,
}

/// How much one stage's codes are used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StageUse {
    /// exp of the entropy of the stage's codes.
    pub perplexity: f64,
    /// The share of them that occur.
    pub usage: f64,
}

/// Figures over a whole validation set.
#[derive(Debug, Clone, Serialize)]
pub struct Validation {
    /// Steps done.
    pub step: u64,
    /// Pictures.
    pub images: usize,
    /// Mean over the pictures of each one's PSNR in dB, on bytes.
    pub psnr: f64,
    /// Mean squared error over the training data's variance.
    pub nmse: f64,
    /// exp of the entropy of all codes of the set.
    pub perplexity: f64,
    /// The share of codes that occur in the set.
    pub usage: f64,
    /// Mean LPIPS, where a loss uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lpips: Option<f64>,
    /// Stage by stage, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageUse>,
}

/// Reconstructions and the use of codes of a validation.
#[derive(Debug)]
pub struct ValidationSamples {
    /// The first reconstructions.
    pub reconstructions: Vec<Picture>,
    /// How often each code was chosen, stage behind stage.
    pub counts: Vec<u64>,
}

/// The use of each stage's codes, from the histogram of all stages; none where there is but one stage.
pub(super) fn stage_uses(counts: &[u64], stages: &[Stage]) -> Vec<StageUse> {
    if stages.len() < 2 {
        return Vec::new();
    }
    let mut rest = counts;
    let uses = stages.iter().map(|stage| {
        let (own, behind) = rest.split_at(stage.codes);
        rest = behind;
        StageUse {
            perplexity: perplexity(own),
            usage: usage(own),
        }
    });
    uses.collect()
}
