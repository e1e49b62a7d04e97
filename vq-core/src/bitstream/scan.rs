//! The order in which a stage's codes are sent.
//!
//! *Raster* is row by row. *Dithered* is the order of Bayer's threshold matrix (B. E. Bayer, "An
//! optimum method for two-level rendition of continuous-tone pictures", 1973), for grids of any
//! size: any prefix of it is spread evenly over the picture, and any short run of it is scattered,
//! so that a lost packet leaves holes with neighbours.
//!
//! The rank of a cell is made of its coordinates' bits. With a x b bits for columns and rows
//! (2^a >= columns, 2^b >= rows), m = min(a, b), from the rank's lowest bit upwards:
//!
//! ```text
//! the |a - b| upper bits of the longer axis, the topmost first;
//! then, for bits m-1 .. 0 of both:  y, x ^ y
//! ```
//!
//! Ranks are counted up from 0; those of cells outside of the grid are passed over. That costs no
//! memory and at most four steps a cell. The prefix of every power-of-two lattice is the lattice:
//! the first ceil(w/s) * ceil(h/s) cells are those with x and y divisible by s.

use super::Grid;

/// Which order a packet's codes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scan {
    /// Row by row, from the top left.
    Raster,
    /// Coarse to fine: evenly spread at every length.
    Dithered,
}

impl Scan {
    /// The cells of a grid in this order, as indices row * columns + column, from position `start`.
    pub fn cells(self, grid: Grid, start: u32) -> Cells {
        let left = grid.cells().saturating_sub(start);
        let dither = Dither::new(grid);
        let next = match self {
            Self::Dithered if left > 0 => dither.rank_of(start),
            _ => start,
        };
        Cells {
            scan: self,
            dither,
            next,
            left,
        }
    }
}

/// The cells of a grid in the order of a [`Scan`].
#[derive(Clone, Debug)]
pub struct Cells {
    scan: Scan,
    dither: Dither,
    /// Raster: the next index. Dithered: the next rank to look at.
    next: u32,
    left: u32,
}

impl Iterator for Cells {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        loop {
            let rank = self.next;
            self.next = rank.wrapping_add(1);
            match self.scan {
                Scan::Raster => return Some(rank as usize),
                Scan::Dithered => {
                    if let Some(index) = self.dither.index(rank) {
                        return Some(index);
                    }
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Cells {}

/// Bayer's order over one grid.
#[derive(Clone, Debug)]
struct Dither {
    columns: u32,
    rows: u32,
    /// Bits that both axes have: m above.
    paired: u32,
    /// Bits that only the longer axis has.
    single: u32,
}

/// A cell, or the lower bits of one.
#[derive(Clone, Copy)]
struct Cell {
    x: u32,
    y: u32,
}

impl Dither {
    fn new(grid: Grid) -> Self {
        let bits = |n: u16| 16 - n.saturating_sub(1).leading_zeros();
        let (a, b) = (bits(grid.columns), bits(grid.rows));
        Self {
            columns: grid.columns.into(),
            rows: grid.rows.into(),
            paired: a.min(b),
            single: a.abs_diff(b),
        }
    }

    /// Index of the cell of this rank, if it lies within the grid.
    fn index(&self, rank: u32) -> Option<usize> {
        let mut cell = Cell { x: 0, y: 0 };
        let mut rest = rank;
        for bit in (self.paired..self.paired + self.single).rev() {
            cell = self.with_bit(cell, bit, rest & 1);
            rest >>= 1;
        }
        for bit in (0..self.paired).rev() {
            cell = with_pair(cell, bit, rest & 3);
            rest >>= 2;
        }
        let within = cell.x < self.columns && cell.y < self.rows;
        within.then_some((cell.y * self.columns + cell.x) as usize)
    }

    /// Rank of the cell at `position`, which must lie within the grid.
    ///
    /// Ranks that share their upper bits are the cells of one lattice, and how many of those lie
    /// within the grid is a product: so each bit of the rank is found by counting.
    fn rank_of(&self, position: u32) -> u32 {
        let mut left = position;
        let mut rank = 0;
        let mut cell = Cell { x: 0, y: 0 };
        for bit in 0..self.paired {
            let digit = self.digit(4, &mut left, bit, |pair| with_pair(cell, bit, pair));
            cell = with_pair(cell, bit, digit);
            rank = rank << 2 | digit;
        }
        for bit in self.paired..self.paired + self.single {
            let digit = self.digit(2, &mut left, bit, |value| self.with_bit(cell, bit, value));
            cell = self.with_bit(cell, bit, digit);
            rank = rank << 1 | digit;
        }
        rank
    }

    /// The digit of the rank whose lattice, with stride 2^(bit + 1), holds the cell that has `left`
    /// cells of this and earlier lattices before it; takes those of the earlier ones off `left`.
    fn digit(&self, base: u32, left: &mut u32, bit: u32, lattice: impl Fn(u32) -> Cell) -> u32 {
        for digit in 0..base - 1 {
            let Cell { x, y } = lattice(digit);
            let cells = steps(self.columns, x, bit + 1) * steps(self.rows, y, bit + 1);
            if *left < cells {
                return digit;
            }
            *left -= cells;
        }
        base - 1
    }

    fn with_bit(&self, cell: Cell, bit: u32, value: u32) -> Cell {
        if self.columns > self.rows {
            Cell {
                x: cell.x | value << bit,
                ..cell
            }
        } else {
            Cell {
                y: cell.y | value << bit,
                ..cell
            }
        }
    }
}

/// Sets bit `bit` of both coordinates from two bits of the rank: y, then x ^ y.
fn with_pair(cell: Cell, bit: u32, pair: u32) -> Cell {
    let y = pair & 1;
    let x = y ^ pair >> 1;
    Cell {
        x: cell.x | x << bit,
        y: cell.y | y << bit,
    }
}

/// How many of first, first + 2^shift, ... lie below `length`.
fn steps(length: u32, first: u32, shift: u32) -> u32 {
    if first < length {
        ((length - 1 - first) >> shift) + 1
    } else {
        0
    }
}
