//! What steps, validations and runs report.

use super::{Event, Parts};
use crate::gan::AdversaryReport;
use crate::picture::Picture;
use crate::quantizer::{Stage, perplexity, usage};
use serde::Serialize;

/// What one step did.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// What is minimised.
    pub loss: f64,
    /// Mean squared error over the data's variance (or its standard deviation, with L1).
    pub nmse: f64,
    /// Of the batch as a whole, in dB, before rounding to bytes.
    pub psnr: f64,
    /// Of the batch's codes; 0 before the codebook is placed.
    pub perplexity: f64,
    /// Codes restarted.
    pub restarted: usize,
    /// The gradient's norm before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// The parts of the loss.
    #[serde(flatten)]
    pub parts: Parts,
    /// What the adversarial loss counted; none while the generator does not listen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub g_weight: Option<f64>,
    /// What the discriminator did.
    #[serde(flatten)]
    pub adversary: Option<AdversaryReport>,
    /// What a log should say in words.
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

/// What a validation's figures stand for.
#[derive(Debug)]
pub struct Seen {
    /// The first reconstructions.
    pub shown: Vec<Picture>,
    /// How often each code was chosen, stage behind stage.
    pub counts: Vec<u64>,
}

/// What a finished or stopped run reports.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Summary {
    /// Steps done.
    pub steps: u64,
    /// Of the last validation.
    pub nmse: f64,
    /// Of the last validation, in dB.
    pub psnr: f64,
    /// Of the last validation.
    pub perplexity: f64,
    /// Of the last validation.
    pub usage: f64,
    /// Of this call's steps, validations left out.
    pub images_per_s: f64,
    /// Bytes that a step works in: maps, their caches, gradients of all chunks, packed weights.
    pub step_bytes: usize,
    /// Whether all steps are done.
    pub finished: bool,
}

/// Each stage's share of a histogram of all; none where there is but one.
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
