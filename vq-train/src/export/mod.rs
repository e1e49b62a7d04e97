//! From a checkpoint to a model file: fold, calibrate, lower, write, and say what each step costs.
//!
//! ```text
//! checkpoint -> fold (operators of the core, in floats) -> calibrate (ranges of every value)
//!            -> lower (i8, f16 or f32 tensors) -> write (.vqm through the core's own types)
//! ```

mod error;
mod activation;
mod graph;
mod plain_conv;
mod bridge;
mod calibrate;
mod fold;
mod lower;
mod report;
#[cfg(test)]
mod tests;
mod write;

pub use error::ExportError;
pub use graph::{FloatConv, FloatGraph, FloatNorm, FloatOp, FloatUpConv};
pub use report::{LayerError, layer_errors};

use crate::codec::Codec;
use crate::picture::Picture;
use crate::train::Trainer;
use calibrate::Ranges;
use vq_core::format::Dtype;

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
