//! Better codes for a picture than the nearest ones: those whose decoded pixels are nearest.
//!
//! The encoder picks each code by its embedding's distance alone, but what a code does to the
//! pixels depends on its neighbours. So codes are tried out: on every fourth cell, each way, of the grid at
//! once, each candidate is decoded by the very model that will decode it at the other end, and stays
//! where it brings the pixels around its cell nearer to the original. The stream and the decoder
//! know nothing of it.

use crate::codec::{Codec, CodecError};
use crate::picture::{Picture, Size};
use rayon::prelude::*;
use vq_core::Grid;

/// Cells between two that are tried at once: far enough that each sees its own effect only.
const SPACING: usize = 4;
/// Cells around a changed one, each way, on which its effect is judged.
const REACH: usize = 1;

/// Codes of a picture of any size, stage by stage and row by row: the nearest ones, then for each the
/// best of itself and the `candidates` codes with the nearest embeddings.
///
/// The squared error is never larger than with [`Codec::encode`]. A picture is decoded about 16 times
/// per candidate and stage.
///
/// # Errors
/// As [`Codec::encode`].
pub fn encode(codec: &Codec, picture: &Picture, candidates: usize) -> Result<Vec<u16>, CodecError> {
    let mut codes = codec.encode(picture)?;
    if candidates > 0 {
        improve(codec, picture, candidates, &mut codes)?;
    }
    Ok(codes)
}

fn improve(
    codec: &Codec,
    picture: &Picture,
    candidates: usize,
    codes: &mut [u16],
) -> Result<(), CodecError> {
    let model = codec.model();
    let picture = picture.with_channels(model.channels().into());
    let cells = codes.len() / model.codebooks().len();
    let grid = codec.grid(picture.size())?;
    let down = model.down().into();
    let mut refinement = Refinement {
        codec,
        picture: &picture,
        grid,
        down,
        errors: Vec::new(),
    };
    refinement.errors = refinement.decoded_errors(codes)?;
    for stage in 0..model.codebooks().len() {
        for phase in 0..SPACING * SPACING {
            let phase = refinement.phase(phase, stage * cells);
            let neighbours = |t: &Trial| codec.core().neighbours(stage, codes[t.index], candidates);
            let alternatives: Vec<_> = phase.iter().map(neighbours).collect::<Result<_, _>>()?;
            refinement.choose(&phase, &alternatives, codes)?;
        }
    }
    Ok(())
}

/// A cell that is tried, and the place of its code among all.
struct Trial {
    cell: Cell,
    index: usize,
}

struct Cell {
    column: usize,
    row: usize,
}

struct Refinement<'a> {
    codec: &'a Codec,
    picture: &'a Picture,
    grid: Grid,
    down: usize,
    /// Squared error of each cell's pixels with the codes chosen so far.
    errors: Vec<u64>,
}

impl Refinement<'_> {
    /// Every so-many-th cell, from one of the first ones on.
    fn phase(&self, phase: usize, first_index: usize) -> Vec<Trial> {
        let (columns, rows) = (self.grid.columns.into(), self.grid.rows.into());
        let rows = (phase / SPACING..rows).step_by(SPACING);
        let row = |row| {
            (phase % SPACING..columns)
                .step_by(SPACING)
                .map(move |column| Trial {
                    cell: Cell { column, row },
                    index: first_index + row * columns + column,
                })
        };
        rows.flat_map(row).collect()
    }

    /// Tries alternative codes for cells far apart, and keeps those that help.
    fn choose(
        &mut self,
        phase: &[Trial],
        alternatives: &[Vec<u16>],
        codes: &mut [u16],
    ) -> Result<(), CodecError> {
        let mut best: Vec<(u64, u16)> = phase
            .iter()
            .map(|t| (self.around(&t.cell, &self.errors), codes[t.index]))
            .collect();
        let most = alternatives.iter().map(Vec::len).max().unwrap_or(0);
        let try_out = |rank: usize| {
            let mut trial = codes.to_vec();
            for (t, of_cell) in phase.iter().zip(alternatives) {
                trial[t.index] = of_cell.get(rank).copied().unwrap_or(codes[t.index]);
            }
            let errors = self.decoded_errors(&trial)?;
            let around = |t: &Trial| (self.around(&t.cell, &errors), trial[t.index]);
            Ok(phase.iter().map(around).collect())
        };
        let tried: Result<Vec<Vec<(u64, u16)>>, CodecError> =
            (0..most).into_par_iter().map(try_out).collect();
        for outcomes in tried? {
            for (outcome, best) in outcomes.into_iter().zip(&mut best) {
                if outcome.0 < best.0 {
                    *best = outcome;
                }
            }
        }
        let mut trial = codes.to_vec();
        for (t, &(_, code)) in phase.iter().zip(&best) {
            trial[t.index] = code;
        }
        // Together they may do a little less than the sum of what each does alone.
        let errors = self.decoded_errors(&trial)?;
        if errors.iter().sum::<u64>() < self.errors.iter().sum() {
            self.errors = errors;
            codes.copy_from_slice(&trial);
        }
        Ok(())
    }

    /// The error of a cell's pixels and of those nearby.
    fn around(&self, cell: &Cell, errors: &[u64]) -> u64 {
        let columns = usize::from(self.grid.columns);
        let rows = errors.chunks_exact(columns);
        let rows = rows
            .take(cell.row + REACH + 1)
            .skip(cell.row.saturating_sub(REACH));
        rows.map(|row| {
            let last = (cell.column + REACH + 1).min(columns);
            row[cell.column.saturating_sub(REACH)..last]
                .iter()
                .sum::<u64>()
        })
        .sum()
    }

    fn decoded_errors(&self, codes: &[u16]) -> Result<Vec<u64>, CodecError> {
        let decoded = self.codec.decode(codes, self.picture.size())?;
        let Size { width, .. } = self.picture.size();
        let run = width * self.picture.channels;
        let columns = usize::from(self.grid.columns);
        let mut errors = vec![0; columns * usize::from(self.grid.rows)];
        let rows = self.picture.pixels.chunks_exact(run);
        for (y, (a, b)) in rows.zip(decoded.pixels.chunks_exact(run)).enumerate() {
            let errors = &mut errors[y / self.down * columns..][..columns];
            let cell = self.down * self.picture.channels;
            for ((a, b), error) in a.chunks(cell).zip(b.chunks(cell)).zip(errors) {
                let squares = a
                    .iter()
                    .zip(b)
                    .map(|(&a, &b)| u32::from(a.abs_diff(b)).pow(2));
                *error += u64::from(squares.sum::<u32>());
            }
        }
        Ok(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec() -> Codec {
        Codec::from_bytes(include_bytes!("../models/mnist.vqm").to_vec()).unwrap()
    }

    /// Grey waves, whose size is no whole number of codes.
    fn waves() -> Picture {
        let size = Size {
            width: 37,
            height: 29,
        };
        let value = |i: usize| {
            let (x, y) = ((i % size.width) as f64, (i / size.width) as f64);
            (127.0 + 120.0 * (0.3 * x + 0.05 * y * y).sin()) as u8
        };
        Picture::new(size, 1, (0..size.width * size.height).map(value).collect())
    }

    fn squared_error(codec: &Codec, picture: &Picture, codes: &[u16]) -> u64 {
        let decoded = codec.decode(codes, picture.size()).unwrap();
        let pairs = picture.pixels.iter().zip(&decoded.pixels);
        pairs.map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum()
    }

    #[test]
    fn without_candidates_the_codes_are_the_nearest() {
        let (codec, picture) = (codec(), waves());
        let searched = encode(&codec, &picture, 0).unwrap();
        assert_eq!(searched, codec.encode(&picture).unwrap());
    }

    #[test]
    fn the_pixels_come_nearer_and_the_same_each_time() {
        let (codec, picture) = (codec(), waves());
        let nearest = codec.encode(&picture).unwrap();
        let searched = encode(&codec, &picture, 6).unwrap();
        let before = squared_error(&codec, &picture, &nearest);
        let after = squared_error(&codec, &picture, &searched);
        assert!(after < before, "{after} of {before}");
        assert_eq!(searched, encode(&codec, &picture, 6).unwrap());
    }

    #[test]
    fn errors_by_cell_add_up_to_that_of_the_picture() {
        let (codec, picture) = (codec(), waves());
        let codes = codec.encode(&picture).unwrap();
        let refinement = Refinement {
            codec: &codec,
            picture: &picture,
            grid: codec.grid(picture.size()).unwrap(),
            down: codec.model().down().into(),
            errors: Vec::new(),
        };
        let errors = refinement.decoded_errors(&codes).unwrap();
        assert_eq!(errors.len(), codes.len());
        let all = squared_error(&codec, &picture, &codes);
        assert_eq!(errors.iter().sum::<u64>(), all);
    }

    #[test]
    fn candidates_are_the_nearest_embeddings_without_the_code_itself() {
        let codec = codec();
        let picture = waves();
        let codes = codec.encode(&picture).unwrap();
        let all = usize::from(codec.model().codebooks()[0].codes);
        let list = codec.core().neighbours(0, codes[0], all).unwrap();
        assert_eq!(list.len(), all - 1);
        assert!(!list.contains(&codes[0]));
        let model = codec.model();
        let books = vq_core::Codebooks::<i8>::new(&model).unwrap();
        let distance = |code: u16| -> i32 {
            let component = |code, d| i32::from(books.component(0, code, d));
            let difference = |d| component(code, d) - component(codes[0], d);
            (0..books.dim()).map(|d| difference(d).pow(2)).sum()
        };
        assert!(list.is_sorted_by_key(|&code| distance(code)));
    }
}
