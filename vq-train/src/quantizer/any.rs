//! One type for all quantisers, of which some hold others.

use super::coarse::Coarse;
use super::codebook::Codebook;
use super::fsq::Fsq;
use super::grouped::Grouped;
use super::gumbel::Gumbel;
use super::quantize::{Quantize, QuantizeAny};
use super::residual::Residual;
use crate::nn::Scalar;

/// Any of the quantisers.
#[derive(Debug, Clone)]
pub enum Quantizer {
    /// The nearest code of each vector.
    Codebook(Codebook),
    /// Codebooks side by side.
    Grouped(Grouped),
    /// One code for a square of vectors.
    Coarse(Coarse<Quantizer>),
    /// Stages one behind the other.
    Residual(Residual<Quantizer>),
    /// Each channel rounded.
    Fsq(Fsq),
    /// Codes drawn by logits.
    Gumbel(Gumbel),
}

impl QuantizeAny for Quantizer {
    fn of<T: Scalar>(&self) -> &dyn Quantize<T> {
        match self {
            Quantizer::Codebook(q) => q,
            Quantizer::Grouped(q) => q,
            Quantizer::Coarse(q) => q,
            Quantizer::Residual(q) => q,
            Quantizer::Fsq(q) => q,
            Quantizer::Gumbel(q) => q,
        }
    }
}
