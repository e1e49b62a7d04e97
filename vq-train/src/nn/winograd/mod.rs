//! Correlations of 2x2 and 3x3 taps with fewer multiplications (Winograd 1980; Lavin and Gray 2016).
//!
//! Two outputs y of r taps g on r + 1 inputs d are A'((G g) . (B' d)): r + 1 products instead of 2 r. In two
//! dimensions a tile of 2x2 outputs takes (r + 1)^2 products, 16 for 36 of a 3x3 kernel and 9 for 16 of a 2x2
//! one. For each of the (r + 1)^2 places in a tile this is one matrix product over the channels:
//!
//! ```text
//! for each block of tiles:
//!     V[place][tile, in_channels]  = B' d B           of the input
//!     M[place]             = V[place] U[place]        U = G g G', packed once a step
//!     output tiles         = A' M A + bias, rectified
//! ```
//!
//! The taps' gradient is the same product turned round: with D = A dy A', S[place] += V[place]' D[place] over
//! all tiles, and then dg = G' S G.
//!
//! |     | B' d | G g | A' m |
//! |---|---|---|---|
//! | r = 2 | d0 - d1, d1, d2 - d1 | g0, g0 + g1, g1 | m0 + m1, m1 + m2 |
//! | r = 3 | d0 - d2, d1 + d2, d2 - d1, d1 - d3 | g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2 | m0 + m1 + m2, m1 - m2 - m3 |
//!
//! A map that is read `step` positions at a time is step x step maps, its phases, side by side: their channels
//! follow each other in V.

mod grid;
mod tiles;
mod weights;

pub(super) use grid::{Grid, View};
pub(super) use weights::{Packing, Unpacking, weights_len};

use super::correlation::{Correlation, Segment};
use super::outer::Outer;
use super::panels::{Factors, PANEL, panels_len, row_of};
use super::scalar::Scalar;
use super::simd::{Lanes, Simd, Task};
use super::tape::Tape;
use tiles::{contract_output, expand_input, expand_output};

/// Maps `[images, rows, columns, channels]`, and how a grid's positions lie on them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Viewed<'a, T> {
    pub(super) view: View,
    pub(super) map: &'a [T],
}

/// A correlation of all phases of a map with U, to phases of another: those of one output follow each
/// other in the columns of U.
#[derive(Debug)]
pub(super) struct Forward<'a, T> {
    pub(super) grid: Grid,
    pub(super) input: Viewed<'a, T>,
    /// U as [`Packing`] leaves it, a bias for the channels of each output, and ReLU.
    pub(super) factors: Factors<'a, T>,
    /// One for each output, all of as many channels; of the phases of each only the first is written.
    pub(super) outputs: &'a [View],
    pub(super) out: &'a mut [T],
    /// Memory of [`Grid::scratch`] numbers.
    pub(super) scratch: &'a mut [T],
}

/// S += V' D over all tiles, `[place][phase, channel of the input][channel of the output]`; the other way
/// round, with the output's channels first, if `turned`.
#[derive(Debug)]
pub(super) struct Gradient<'a, T> {
    pub(super) grid: Grid,
    pub(super) input: Viewed<'a, T>,
    /// dy.
    pub(super) output: Viewed<'a, T>,
    pub(super) turned: bool,
    pub(super) sums: &'a mut [T],
    /// Memory of [`Grid::scratch`] numbers.
    pub(super) scratch: &'a mut [T],
}

impl<T: Scalar> Forward<'_, T> {
    /// Runs it with memory of the tape.
    pub(super) fn run(
        grid: Grid,
        input: Viewed<'_, T>,
        factors: Factors<'_, T>,
        outputs: &[View],
        out: &mut [T],
        tape: &mut Tape<T>,
    ) {
        let columns = outputs.len() * outputs[0].channels;
        let mut scratch = tape.buffer(grid.scratch(input.view, columns));
        let task = Forward {
            grid,
            input,
            factors,
            outputs,
            out,
            scratch: &mut scratch,
        };
        T::run(task);
        tape.recycle_buffer(scratch);
    }
}

impl<T: Scalar> Gradient<'_, T> {
    /// S with memory of the tape, which should get it back.
    pub(super) fn run(
        grid: Grid,
        input: Viewed<'_, T>,
        output: Viewed<'_, T>,
        turned: bool,
        tape: &mut Tape<T>,
    ) -> Vec<T> {
        let columns = output.view.channels;
        let mut scratch = tape.buffer(grid.scratch(input.view, columns));
        let mut sums = tape.buffer(grid.places() * input.view.width() * columns);
        sums.fill(T::zero());
        let task = Gradient {
            grid,
            input,
            output,
            turned,
            sums: &mut sums,
            scratch: &mut scratch,
        };
        T::run(task);
        tape.recycle_buffer(scratch);
        sums
    }
}

impl<T: Simd + Default> Task for Forward<'_, T> {
    type Float = T;

    #[inline(always)]
    unsafe fn run<
        V: Lanes<Float = T>,
        const M: usize,
        const Q: usize,
        const W: usize,
        const H: usize,
    >(
        self,
    ) {
        let Forward {
            grid,
            input: Viewed { view: input, map },
            factors,
            outputs,
            ..
        } = self;
        let channels = outputs[0].channels;
        let (in_channels, out_channels) = (input.width(), outputs.len() * channels);
        assert!(
            map.len() == input.len(grid.images),
            "a map has the size that its view says"
        );
        assert!(factors.panels.len() == weights_len(grid.taps, in_channels, out_channels));
        assert!(factors.bias.is_empty() || factors.bias.len() == channels);
        for output in outputs {
            assert!(
                output.channels == channels && self.out.len() == output.len(grid.images),
                "an output has the size that its views say"
            );
        }
        let block = grid.block(in_channels + out_channels);
        let plane = panels_len(in_channels, out_channels);
        let (zeros, rest) = self.scratch.split_at_mut(input.channels + PANEL);
        zeros.fill(T::default());
        let (v, rest) = rest.split_at_mut(grid.places() * block * in_channels);
        let m = &mut rest[..grid.places() * block * out_channels];
        for first in (0..grid.tiles()).step_by(block) {
            let tiles = first..(first + block).min(grid.tiles());
            let n = tiles.len();
            // SAFETY: the caller guarantees that the CPU has the instruction set.
            unsafe { expand_input::<V>(&grid, &input, map, zeros, tiles.clone(), v) };
            for place in 0..grid.places() {
                let product = Correlation {
                    map: &v[place * n * in_channels..(place + 1) * n * in_channels],
                    windows: row_of(n, in_channels),
                    segments: &[Segment {
                        offset: 0,
                        len: in_channels,
                    }],
                    factors: Factors::plain(&factors.panels[place * plane..(place + 1) * plane]),
                    columns: out_channels,
                    outputs: row_of(n, out_channels),
                };
                let out = &mut m[place * n * out_channels..(place + 1) * n * out_channels];
                // SAFETY: the caller guarantees that the CPU has the instruction set.
                unsafe { (&product, out).run::<V, M, Q, W, H>() };
            }
            // SAFETY: the caller guarantees the instruction set; the bias was checked above.
            unsafe { contract_output::<V>(&grid, outputs, m, tiles, factors, self.out) };
        }
    }
}

impl<T: Simd + Default> Task for Gradient<'_, T> {
    type Float = T;

    #[inline(always)]
    unsafe fn run<
        V: Lanes<Float = T>,
        const M: usize,
        const Q: usize,
        const W: usize,
        const H: usize,
    >(
        self,
    ) {
        let Gradient {
            grid,
            input: Viewed { view: input, map },
            output: Viewed {
                view: output,
                map: dy,
            },
            ..
        } = self;
        let (in_channels, out_channels) = (input.width(), output.channels);
        assert!(
            map.len() == input.len(grid.images) && dy.len() == output.len(grid.images),
            "maps have the sizes that their views say"
        );
        let block = grid.block(in_channels + out_channels);
        let (zeros, rest) = self
            .scratch
            .split_at_mut(input.channels.max(output.channels) + PANEL);
        zeros.fill(T::default());
        let (v, rest) = rest.split_at_mut(grid.places() * block * in_channels);
        let d = &mut rest[..grid.places() * block * out_channels];
        for first in (0..grid.tiles()).step_by(block) {
            let tiles = first..(first + block).min(grid.tiles());
            let n = tiles.len();
            // SAFETY: the caller guarantees that the CPU has the instruction set.
            unsafe {
                expand_input::<V>(&grid, &input, map, zeros, tiles.clone(), v);
                expand_output::<V>(&grid, &output, dy, zeros, tiles, d);
            }
            let sums = self.sums.chunks_exact_mut(in_channels * out_channels);
            let factors = v
                .chunks_exact(n * in_channels)
                .zip(d.chunks_exact(n * out_channels));
            for (sums, (v, d)) in sums.zip(factors) {
                let (a, b) = if self.turned { (d, v) } else { (v, d) };
                let product = Outer::of_matrices(a, b, n);
                // SAFETY: the caller guarantees that the CPU has the instruction set.
                unsafe { (&product, sums).run::<V, M, Q, W, H>() };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Whole correlations against plain loops; gradients are checked with the layers.
    use super::*;
    use crate::nn::simd::Loop;
    use crate::nn::simd::testing::{assert_agrees, numbers};

    /// Images, rows and columns of the map, its channels, channels of the output, taps, phases each way.
    const CASES: [[usize; 7]; 5] = [
        [1, 1, 1, 1, 1, 3, 1],
        [2, 5, 4, 9, 20, 3, 1],
        [3, 8, 6, 40, 33, 3, 1],
        [2, 6, 10, 5, 8, 2, 2],
        [1, 7, 3, 17, 64, 2, 1],
    ];

    #[test]
    fn correlations_agree_with_plain_loops() {
        for (case, [images, rows, columns, in_channels, out_channels, taps, step]) in
            CASES.into_iter().enumerate()
        {
            let input = View {
                rows,
                columns,
                channels: in_channels,
                step,
                top: -1,
                left: -1,
            };
            let grid = Grid {
                images,
                rows: rows / step,
                columns: columns / step,
                taps,
            };
            let output = View {
                rows: grid.rows,
                columns: grid.columns,
                channels: out_channels,
                step: 1,
                top: 0,
                left: 0,
            };
            let k = step * step * in_channels;
            let map = numbers(input.len(images), 1);
            let (weight, bias) = (
                numbers(taps * taps * k * out_channels, 2),
                numbers(out_channels, 3),
            );
            let at = |ty: usize, tx: usize, row: usize| ((ty * taps + tx) * k + row) * out_channels;
            let mut weights = vec![0.0; weights_len(taps, k, out_channels)];
            let packing = Packing {
                values: &weight,
                taps,
                in_channels: k,
                out_channels,
                outputs: 1,
                step: 1,
                at: |_, ty, tx, row| at(ty, tx, row),
                packed: &mut weights,
            };
            packing.run_wide();
            let mut plain = vec![0.0; output.len(images)];
            for (place, sum) in plain.iter_mut().enumerate() {
                let (n, position) = (place % out_channels, place / out_channels);
                let (j, rest) = (position % grid.columns, position / grid.columns);
                let (i, image) = (rest % grid.rows, rest / grid.rows);
                let mut total = f64::from(bias[n]);
                for (ty, tx) in (0..taps * taps).map(|t| (t / taps, t % taps)) {
                    for row in 0..k {
                        let (a, b) = (row / in_channels / step, row / in_channels % step);
                        if let Some(from) =
                            input.place(image, step * (i + ty) + a, step * (j + tx) + b)
                        {
                            let x = f64::from(map[from + row % in_channels]);
                            total += x * f64::from(weight[at(ty, tx, row) + n]);
                        }
                    }
                }
                *sum = total.max(0.0);
            }
            let mut scratch = vec![0.0; grid.scratch(input, out_channels)];
            let start = vec![7.0; plain.len()];
            assert_agrees!(start, plain, case, |out| Forward {
                grid,
                input: Viewed {
                    view: input,
                    map: &map
                },
                factors: Factors {
                    panels: &weights,
                    bias: &bias,
                    relu: true,
                },
                outputs: &[output],
                out: &mut out,
                scratch: &mut scratch,
            });
        }
    }
}
