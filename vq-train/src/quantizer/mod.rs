//! Vector quantisation: from vectors to codes, and how the codes learn.
//!
//! A quantiser is a description, like a layer; what it keeps (codes, running statistics) lies in the flat
//! vector of parameters. It sees all vectors of a batch at once. Whatever it is in training, it deploys as
//! one or more plain tables of codes (see [`Quantize::tables`]).
//!
//! ```text
//! codebook   the nearest code of each vector; its codes learn by
//!              ema        moving averages          (option cosine: at the least angle)
//!              gradient   the codebook term        (option rotation: the rotation trick)
//!              simvq      one matrix for all       (option entropy: the entropy regulariser)
//! grouped    codebooks side by side, each for its own channels
//! coarse     any of the above for the means of squares of vectors
//! residual   codebooks, or groups of them, coarse or not, one behind the other
//! fsq        each channel rounded to a few levels
//! gumbel     codes drawn by logits
//! ```

mod quantize;
mod nearest;
mod kmeans;
mod members;
mod learn;
mod ema;
mod gradient;
mod simvq;
mod rotation;
mod sphere;
mod entropy;
mod codebook;
mod grouped;
mod coarse;
mod squares;
mod residual;
mod fsq;
mod gumbel;
mod any;
mod build;
mod usage;
#[cfg(test)]
mod gradcheck;
#[cfg(test)]
mod tests;

pub use any::Quantizer;
pub use coarse::Coarse;
pub use codebook::{Codebook, Learning, Terms};
pub use ema::{Ema, Following};
pub use entropy::Entropy;
pub use fsq::Fsq;
pub use gradient::Gradient;
pub use grouped::Grouped;
pub use gumbel::{Gumbel, GumbelSettings};
pub use kmeans::kmeans;
pub use learn::Learn;
pub use nearest::nearest;
pub use quantize::{Bridge, Moved, Quantize, QuantizeAny, Quantized, Stage, Step, Table};
pub use residual::Residual;
pub use simvq::SimVq;
pub use squares::SquareOrder;
pub use usage::{histogram, perplexity, usage};
