//! From a checkpoint to a model file: fold, calibrate, lower, write, and say what each step costs.
//!
//! ```text
//! checkpoint -> fold (operators of the core, in floats) -> calibrate (ranges of every value)
//!            -> lower (i8, f16 or f32 tensors) -> write (.vqm through the core's own types)
//! ```

mod activation;
mod bridge;
mod calibrate;
mod fold;
mod lower;
mod report;
#[cfg(test)]
mod tests;
mod write;

pub use fold::{FloatConv, FloatGraph, FloatNorm, FloatOp, FloatUpConv};
pub use report::{LayerError, layer_errors};

use crate::codec::{Codec, CodecError};
use crate::picture::Picture;
use crate::train::Trainer;
use calibrate::Ranges;
use vq_core::bitstream::MAX_STAGES;
use vq_core::format::Dtype;

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
        reason: &'static str,
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

/// What is exported.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Element type of weights and activations.
    pub dtype: Dtype,
    /// Whether the file can also encode.
    pub encoder: bool,
}

/// Exports a trained model. `calibration` are pictures of the training size; only i8 needs them.
///
/// # Errors
/// A layer that the core does not run, no codebook, or i8 without pictures.
pub fn export(
    trainer: &Trainer,
    options: Options,
    calibration: &[Picture],
) -> Result<Vec<u8>, ExportError> {
    let start = trainer.config.quantizer.start;
    let stages = trainer.tables().ok_or(ExportError::NoCodebook { start })?;
    if stages.iter().any(|stage| stage.side > 1) {
        return Err(ExportError::Levels);
    }
    let bridge = trainer.bridge();
    if bridge.precise && options.dtype == Dtype::I8 {
        return Err(ExportError::Precise);
    }
    let side = |name, dtype, chain| fold::Side {
        name,
        dtype,
        chain,
        params: trainer.deployed(),
    };
    let decoder = side("decoder", options.dtype, &trainer.model.decoder);
    let decoder = fold::chain(decoder, bridge::graph(&bridge.decoder))?;
    // An encoder that is left out still chooses the codes to calibrate on, in f32.
    let kept = if options.encoder {
        options.dtype
    } else {
        Dtype::F32
    };
    let encoder = side("encoder", kept, &trainer.model.encoder);
    let mut encoder = fold::chain(encoder, FloatGraph::default())?;
    bridge::append(&mut encoder, &bridge.encoder);
    let write = |dtype, encoder: Option<&FloatGraph>, ranges: Option<&[Ranges; 2]>| {
        write::container(trainer, &stages, dtype, &decoder, encoder, ranges)
    };
    let encoder_kept = options.encoder.then_some(&encoder);
    if options.dtype != Dtype::I8 {
        return write(options.dtype, encoder_kept, None);
    }
    if calibration.is_empty() {
        return Err(ExportError::NoPictures);
    }
    let reference = Codec::from_bytes(write(Dtype::F32, Some(&encoder), None)?)?;
    let ranges = calibrate::ranges(&reference, calibration)?;
    write(Dtype::I8, encoder_kept, Some(&ranges))
}
