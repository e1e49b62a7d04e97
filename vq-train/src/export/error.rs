//! Why a checkpoint cannot become a model file.

use crate::codec::CodecError;
use std::borrow::Cow;
use vq_core::bitstream::MAX_STAGES;

/// Why a checkpoint cannot become a model file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The codebook is placed only after `quantizer.start` steps.
    #[error("the checkpoint has no codebook yet: train beyond quantizer.start ({start} steps)")]
    NoCodebook {
        /// The configuration's `quantizer.start`.
        start: u64,
    },
    /// A layer that the decoder in the core does not have.
    #[error("{side} layer {index}: {reason}")]
    Layer {
        /// Encoder or decoder.
        side: &'static str,
        /// Place in the configuration's list.
        index: usize,
        /// What is not supported, and what is.
        reason: Cow<'static, str>,
    },
    /// int8 needs pictures to find the ranges of activations.
    #[error("i8 needs pictures to calibrate on: name a folder with --calibrate DIR")]
    NoPictures,
    /// The quantiser's tables are numbers that cancel each other.
    #[error(
        "a quantiser of kind gumbel deploys in f16 and f32 only: its scores do not survive eight bits; \
         choose --dtype f16, or train with another quantizer.kind"
    )]
    Precise,
    /// Packets know one grid of codes.
    #[error(
        "codes of two levels train, and do not deploy: packets have one code of each stage for every cell; \
         train without quantizer.sides"
    )]
    Levels,
    /// The format has no room for these codebooks.
    #[error(
        "a model file holds 1 to {MAX_STAGES} codebooks of 1 to 65535 codes each: change the \
         configuration's quantizer"
    )]
    Codebooks,
    /// The file that was written does not hold what it should; a fault of this program.
    #[error(transparent)]
    Codec(#[from] CodecError),
}
