//! Sizes of pictures, grids and maps. No data here.
//!
//! Dimension letters, used everywhere: n picture, h rows, w columns, c channels, k kernel side.

use crate::format::Quant;
use serde::{Deserialize, Serialize};

/// Width and height of a picture (pixels) or of a code grid (codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl Size {
    /// `width` columns by `height` rows.
    pub const fn new(width: u16, height: u16) -> Self {
        Self { width, height }
    }

    /// The code grid that covers a picture of this size: each side over `down`, rounded up.
    ///
    /// `down` must not be zero; a [`crate::Model`] guarantees it.
    pub const fn grid(self, down: u8) -> Self {
        Self::new(
            self.width.div_ceil(down as u16),
            self.height.div_ceil(down as u16),
        )
    }

    /// Pixels or codes in all.
    pub const fn area(self) -> u32 {
        self.width as u32 * self.height as u32
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }
}

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
