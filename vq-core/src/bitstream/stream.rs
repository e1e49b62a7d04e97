//! What sender and receiver know before the first packet, and what follows from it: how many codes
//! a picture has, and how they are coded.

use heapless::Vec;

use super::coder::Fixed;
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
        Ok(self.stages.len() * self.grid(size)?.cells() as usize)
    }

    /// How the codes of pictures with this grid become payloads.
    pub(super) fn coder(&self, grid: Grid) -> Fixed<'_> {
        Fixed {
            stages: &self.stages,
            cells: grid.cells(),
        }
    }
}
