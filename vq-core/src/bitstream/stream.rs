//! What sender and receiver know before the first packet, and what follows from it: how many codes
//! a picture has, how wide each is, and which of them go into which packet.
//!
//! Codes are numbered stage-major: number = stage * cells + position in the scan.

use heapless::Vec;

use super::{MAX_CODES, MAX_STAGES, PacketError};
use crate::shape::{Grid, PictureSize};

/// The code space that both ends share; a model hands it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    model: u16,
    native: PictureSize,
    down: u16,
    stages: Vec<u16, MAX_STAGES>,
}

impl Stream {
    /// `model` is the low half of the model's code id, `native` the picture size that packets need
    /// not mention, `down` the pixels per code each way, `stages` the number of codes K of each
    /// stage's codebook, coarse first.
    ///
    /// # Errors
    /// [`PacketError::Stream`] unless there are 1..=[`MAX_STAGES`] stages, each K is 1..=65535 and
    /// `down` is not 0; [`PacketError::Size`] if the native size is empty or has more than
    /// [`MAX_CODES`] codes.
    pub fn new(
        model: u16,
        native: PictureSize,
        down: u16,
        stages: &[u16],
    ) -> Result<Self, PacketError> {
        if down == 0 || stages.is_empty() || stages.contains(&0) {
            return Err(PacketError::Stream);
        }
        let stages = Vec::from_slice(stages).map_err(|_| PacketError::Stream)?;
        let stream = Self {
            model,
            native,
            down,
            stages,
        };
        stream.grid(native)?;
        Ok(stream)
    }

    /// The 16-bit model id that packets carry.
    pub fn model(&self) -> u16 {
        self.model
    }

    /// The picture size that packets need not mention.
    pub fn native(&self) -> PictureSize {
        self.native
    }

    /// Pixels per code each way.
    pub fn down(&self) -> u16 {
        self.down
    }

    /// Number of codes K of each stage's codebook, coarse first.
    pub fn stages(&self) -> &[u16] {
        &self.stages
    }

    /// The code grid of a picture: its size over `down`, rounded up.
    ///
    /// # Errors
    /// [`PacketError::Size`] if the picture is empty or has more than [`MAX_CODES`] codes.
    pub fn grid(&self, size: PictureSize) -> Result<Grid, PacketError> {
        let grid = Grid {
            columns: size.width.div_ceil(self.down.max(1)),
            rows: size.height.div_ceil(self.down.max(1)),
        };
        let most = MAX_CODES / (self.stages.len() as u32).max(1);
        if (1..=most).contains(&grid.cells()) {
            Ok(grid)
        } else {
            Err(PacketError::Size)
        }
    }

    /// How many codes a picture has, all stages counted: the length of its grid of codes.
    ///
    /// # Errors
    /// As [`Stream::grid`].
    pub fn code_count(&self, size: PictureSize) -> Result<usize, PacketError> {
        Ok(self.numbers(self.grid(size)?) as usize)
    }

    /// One more than the highest code number of a picture with this (checked) grid.
    pub(super) fn numbers(&self, grid: Grid) -> u32 {
        self.stages.len() as u32 * grid.cells()
    }

    /// Where code `number` starts, in bits, when all codes of the picture stand in one row.
    pub(super) fn bit_of(&self, grid: Grid, number: u32) -> u32 {
        let mut left = number;
        let mut bit = 0;
        for &k in &self.stages {
            let codes = left.min(grid.cells());
            bit += codes * code_bits(k);
            left -= codes;
        }
        bit
    }

    /// The number of the first code that starts at `bit` or behind it.
    fn number_at(&self, grid: Grid, bit: u32) -> u32 {
        let mut left = bit;
        let mut number = 0;
        for &k in &self.stages {
            let bits = code_bits(k);
            if left <= grid.cells() * bits {
                // A stage of one code has no bits: all of it starts at the same place.
                return number + left.div_ceil(bits.max(1));
            }
            left -= grid.cells() * bits;
            number += grid.cells();
        }
        number
    }

    /// The first code of packet `index` of `count`: the codes' bits are dealt out evenly, so that
    /// neither the first code nor the number of codes needs a place in the header.
    pub(super) fn first_of(&self, grid: Grid, index: u16, count: u16) -> u32 {
        if index >= count {
            return self.numbers(grid);
        }
        let bits = self.bit_of(grid, self.numbers(grid));
        let (index, count) = (u32::from(index), u32::from(count));
        // floor(index * bits / count) in 32 bits: both products stay below 2^28.
        let share = index * (bits / count.max(1)) + index * (bits % count.max(1)) / count.max(1);
        self.number_at(grid, share)
    }

    /// Most packets that a picture may be divided into: each is then sure to hold a code.
    pub(super) fn most_packets(&self, grid: Grid) -> u32 {
        let widest = self.stages.iter().map(|&k| code_bits(k)).max().unwrap_or(0);
        self.bit_of(grid, self.numbers(grid))
            .checked_div(widest)
            .unwrap_or(1)
    }
}

/// Width of a code of a codebook of `k` codes, in bits: ceil(log2 k).
pub(super) const fn code_bits(k: u16) -> u32 {
    16 - k.saturating_sub(1).leading_zeros()
}
