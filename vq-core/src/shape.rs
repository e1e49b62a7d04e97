//! Sizes of pictures, grids and maps. No data here.
//!
//! Dimension letters, used everywhere: n picture, h rows, w columns, c channels, k kernel side.

use crate::format::Quant;
use serde::{Deserialize, Serialize};

/// Width and height of a picture in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureSize {
    /// Pixels in a row.
    pub width: u16,
    /// Rows of pixels.
    pub height: u16,
}

impl PictureSize {
    /// Whether there is no pixel in it.
    pub const fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// The code grid that covers the picture: each side over `down`, rounded up.
    ///
    /// `down` is not zero; a [`crate::Model`] guarantees it. Zero counts as one.
    pub const fn grid(self, down: u8) -> Grid {
        Grid {
            columns: self.width.div_ceil(at_least_one(down)),
            rows: self.height.div_ceil(at_least_one(down)),
        }
    }
}

const fn at_least_one(down: u8) -> u16 {
    if down == 0 { 1 } else { down as u16 }
}

/// Extent of a picture's code grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Codes in a row.
    pub columns: u16,
    /// Rows of codes.
    pub rows: u16,
}

impl Grid {
    /// Cells of the grid: the codes of one stage.
    pub const fn cells(self) -> u32 {
        self.columns as u32 * self.rows as u32
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

impl Map {
    /// Without a channel.
    pub(crate) const EMPTY: Self = Self {
        channels: 0,
        density: 0,
        quant: Quant::UNIT,
    };
}
