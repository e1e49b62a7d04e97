//! Sizes of pictures, code grids, kernels and their padding. No data here.
//!
//! Dimension letters, used everywhere: n picture, h rows, w columns, c channels, k kernel side.

use serde::{Deserialize, Serialize};

/// Width and height of a picture in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// Most quantiser stages of a model.
pub const MAX_STAGES: usize = 8;

/// The largest side of a convolution's kernel.
pub const MAX_KERNEL: usize = 8;

/// Sides of a convolution's kernel, 1 ..= [`MAX_KERNEL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Rows.
    pub height: u8,
    /// Columns.
    pub width: u8,
}

/// Padding around a map. Top and bottom add up to kernel height - stride or more, but to less than
/// the kernel's height; left and right likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pad {
    /// Rows above the first.
    pub top: u8,
    /// Columns before the first.
    pub left: u8,
    /// Rows below the last.
    pub bottom: u8,
    /// Columns behind the last.
    pub right: u8,
}

impl Pad {
    /// No padding.
    pub const NONE: Self = Self {
        top: 0,
        left: 0,
        bottom: 0,
        right: 0,
    };
}
