//! The shape of a value, whatever the picture's size. No data here.

use crate::tensor::Quant;

/// A value of a graph, described for any picture size.
///
/// For a grid of w by h codes the value is a map of `(h * density, w * density, channels)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Map {
    /// Channels of each point.
    pub channels: u16,
    /// Points per code, each way. Divides the model's `down`.
    pub density: u8,
    /// How the stored numbers relate to real ones.
    pub quant: Quant,
}

impl Map {
    /// Without a channel.
    pub(crate) const EMPTY: Self = Self {
        channels: 0,
        density: 0,
        quant: Quant::UNIT,
    };
}
