//! Where the codes of a packet belong in a picture.

use super::{Cells, Grid, Scan};

/// Where one code of a packet belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// In the picture's codes: stage * cells + row * columns + column.
    pub(super) index: usize,
    /// Number of codes K of its stage's codebook.
    pub(super) k: u16,
}

/// A run of a picture's code numbers, `first..end`; those of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) first: u32,
    pub(super) end: u32,
}

/// The places of a part of a picture's codes, in the order of sending.
#[derive(Clone, Debug)]
pub(super) struct Places<'a> {
    /// K of each stage's codebook.
    stages: &'a [u16],
    grid: Grid,
    scan: Scan,
    left: u32,
    stage: usize,
    cells: Cells,
}

impl<'a> Places<'a> {
    /// `grid` has at least one cell, and `part` lies within its codes of all stages.
    pub(super) fn new(stages: &'a [u16], grid: Grid, scan: Scan, part: Part) -> Self {
        let cells = grid.cells().max(1);
        Self {
            stages,
            grid,
            scan,
            left: part.end - part.first,
            stage: (part.first / cells) as usize,
            cells: scan.cells(grid, part.first % cells),
        }
    }
}

impl Iterator for Places<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        self.left = self.left.checked_sub(1)?;
        if self.cells.len() == 0 {
            self.stage += 1;
            self.cells = self.scan.cells(self.grid, 0);
        }
        let cell = self.cells.next()?;
        let k = *self.stages.get(self.stage)?;
        Some(Place {
            index: self.stage * self.grid.cells() as usize + cell,
            k,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Places<'_> {}
