//! Stands in for codes that have not come: the weighted mean of their nearest neighbours'
//! embeddings.
//!
//! For a missing cell (x, y), with N(r) the present cells of the square ring at distance r,
//!
//! ```text
//! r     = the least of 1 ..= RADIUS for which N(r) is not empty
//! w(c)  = 1 for the ring's four corners, 2 for the rest
//! e     = sum over c in N(r) of w(c) * embedding(c)  /  sum of w(c)
//! ```
//!
//! in i8 rounded to nearest, ties upwards: floor((2 sum + weight) / (2 weight)).
//!
//! A stage refines what the stages before it say, so it is of no use without them: where the first
//! stage's code is missing, it is concealed and the later stages add nothing; where a later one's
//! is missing, that stage and those behind it add nothing. [`known_stages`] counts what is of use.
//!
//! The ring is bounded so that a picture of which nearly nothing has come costs no more than 288
//! looks a cell; a prefix of 1/64 of the dithered scan already has a neighbour within that distance
//! everywhere.

use half::f16;

use crate::bitstream::{Grid, MISSING};

/// How far a neighbour may be.
pub const RADIUS: u16 = 8;

/// Cells of the ring at that distance.
const LONGEST_RING: usize = 8 * RADIUS as usize;

/// How many of a cell's stages can be used: those before the first missing code. `codes` are all
/// of a picture's, stage by stage; `cells` are those of a stage.
pub fn known_stages(codes: &[u16], cells: usize, cell: usize) -> usize {
    let stages = codes.iter().skip(cell).step_by(cells.max(1));
    stages.take_while(|&&code| code != MISSING).count()
}

/// Fills `embedding` (D values) for the cell at `column`, `row`, whose first code is missing.
/// `codes` are the first stage's, row by row; `component(code, d)` is value d of 0..D of a code's
/// embedding.
///
/// Returns whether there was a neighbour; if not, `embedding` is as it was. Callers put
/// the latent's zero there beforehand: with nothing known near by, no other value is better founded.
///
/// Not inlined, so that the neighbours stay on the stack no longer than they are needed.
#[inline(never)]
pub fn conceal<E: Blend>(
    codes: &[u16],
    grid: Grid,
    cell: Cell,
    component: impl Fn(u16, usize) -> E,
    embedding: &mut [E],
) -> bool {
    let map = Map { codes, grid };
    let mut neighbours = heapless::Vec::<_, LONGEST_RING>::new();
    for radius in 1..=RADIUS {
        for neighbour in map.ring(cell, radius) {
            // A ring has no more cells than there is room for.
            let _ = neighbours.push(neighbour);
        }
        if !neighbours.is_empty() {
            break;
        }
    }
    if neighbours.is_empty() {
        return false;
    }
    for (d, value) in embedding.iter_mut().enumerate() {
        let terms = neighbours.iter();
        *value = E::blend(terms.map(|&(code, weight)| (component(code, d), weight)));
    }
    true
}

/// A place in the code grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// 0..columns
    pub column: u16,
    /// 0..rows
    pub row: u16,
}

/// An element type whose values can be averaged.
pub trait Blend: Copy {
    /// The weighted mean of one value or more; the weights are small and positive.
    fn blend(terms: impl Iterator<Item = (Self, u8)>) -> Self;
}

impl Blend for i8 {
    fn blend(terms: impl Iterator<Item = (Self, u8)>) -> Self {
        let (sum, weight) = terms.fold((0, 0), |(sum, total), (value, weight)| {
            let weight = i32::from(weight);
            (sum + i32::from(value) * weight, total + weight)
        });
        // A mean of i8 values is one.
        (2 * sum + weight).div_euclid((2 * weight).max(1)) as i8
    }
}

impl Blend for f32 {
    fn blend(terms: impl Iterator<Item = (Self, u8)>) -> Self {
        let (sum, weight) = terms.fold((0.0, 0.0), |(sum, total), (value, weight)| {
            let weight = f32::from(weight);
            (sum + value * weight, total + weight)
        });
        sum / weight
    }
}

impl Blend for f16 {
    fn blend(terms: impl Iterator<Item = (Self, u8)>) -> Self {
        f16::from_f32(f32::blend(
            terms.map(|(value, weight)| (value.to_f32(), weight)),
        ))
    }
}

/// One stage's codes over their grid.
#[derive(Clone, Copy)]
struct Map<'a> {
    codes: &'a [u16],
    grid: Grid,
}

impl<'a> Map<'a> {
    /// The code at this place, unless it is missing or the place is outside.
    fn present(self, column: i32, row: i32) -> Option<u16> {
        let column = u32::try_from(column).ok()?;
        let row = u32::try_from(row).ok()?;
        if column >= self.grid.columns.into() || row >= self.grid.rows.into() {
            return None;
        }
        let index = row * u32::from(self.grid.columns) + column;
        let code = self.codes.get(index as usize)?;
        Some(*code).filter(|&code| code != MISSING)
    }

    /// The present codes at distance `radius` of 1 or more with their weights: clockwise, a quarter
    /// from each corner, starting at the top left.
    fn ring(self, cell: Cell, radius: u16) -> impl Iterator<Item = (u16, u8)> + use<'a> {
        let (column, row) = (i32::from(cell.column), i32::from(cell.row));
        let r = i32::from(radius);
        (0..4)
            .flat_map(move |side| (-r..r).map(move |along| (side, along)))
            .filter_map(move |(side, along)| {
                let (dx, dy) = match side {
                    0 => (along, -r),
                    1 => (r, along),
                    2 => (-along, r),
                    _ => (-r, -along),
                };
                let weight = if along == -r { 1 } else { 2 };
                Some((self.present(column + dx, row + dy)?, weight))
            })
    }
}
