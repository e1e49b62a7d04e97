//! How tiles lie on maps.

use crate::nn::panels::PANEL;

/// Values of V and M of a block of tiles: they stay in a core's L2 cache.
const BLOCK: usize = 1 << 17;
/// Tiles of a block at most.
const MOST_TILES: usize = 128;
/// Places of a tile at most, each way.
pub(super) const SIDE: usize = 4;

/// How positions of a grid lie on the pictures' maps `[images, rows, columns, channels]`: position (i, j)
/// of the grid, in phase (a, b), is row step i + top + a and column step j + left + b. Outside of the map
/// there are zeros, and nothing is written.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct View {
    pub(in crate::nn) rows: usize,
    pub(in crate::nn) columns: usize,
    pub(in crate::nn) channels: usize,
    /// Also the number of phases, each way.
    pub(in crate::nn) step: usize,
    pub(in crate::nn) top: isize,
    pub(in crate::nn) left: isize,
}

/// Sizes of a correlation: for each position (i, j) of the grid, taps at (i, j) to (i + r - 1, j + r - 1).
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct Grid {
    pub(in crate::nn) images: usize,
    pub(in crate::nn) rows: usize,
    pub(in crate::nn) columns: usize,
    /// r, 2 or 3.
    pub(in crate::nn) taps: usize,
}

impl View {
    /// Channels of all phases.
    pub(super) fn width(&self) -> usize {
        self.step * self.step * self.channels
    }

    pub(super) fn len(&self, images: usize) -> usize {
        images * self.rows * self.columns * self.channels
    }

    /// Where the channels begin at so many rows and columns from (`top`, `left`); none outside of the map.
    #[inline(always)]
    pub(super) fn place(&self, image: usize, row: usize, column: usize) -> Option<usize> {
        let y = usize::try_from(row as isize + self.top).ok()?;
        let x = usize::try_from(column as isize + self.left).ok()?;
        let inside = y < self.rows && x < self.columns;
        inside.then(|| ((image * self.rows + y) * self.columns + x) * self.channels)
    }
}

impl Grid {
    pub(super) fn places(&self) -> usize {
        (self.taps + 1) * (self.taps + 1)
    }

    pub(super) fn tiles(&self) -> usize {
        self.images * self.rows.div_ceil(2) * self.columns.div_ceil(2)
    }

    /// Tiles of a block, for this many channels in and out.
    pub(super) fn block(&self, channels: usize) -> usize {
        let fitting = BLOCK / (self.places() * channels);
        (fitting / 8 * 8).clamp(8, MOST_TILES).min(self.tiles())
    }

    /// Image, row and column of a tile's first position.
    pub(super) fn position(&self, tile: usize) -> (usize, usize, usize) {
        let (rows, columns) = (self.rows.div_ceil(2), self.columns.div_ceil(2));
        let (image, rest) = (tile / (rows * columns), tile % (rows * columns));
        (image, 2 * (rest / columns), 2 * (rest % columns))
    }

    /// Values of memory that it takes with `columns` channels out.
    pub(super) fn scratch(&self, input: View, columns: usize) -> usize {
        let channels = input.width() + columns;
        let zeros = input.channels.max(columns) + PANEL;
        self.places() * self.block(channels) * channels + zeros
    }
}
