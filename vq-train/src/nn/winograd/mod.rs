//! Correlations of 2x2 and 3x3 taps with fewer multiplications (Winograd 1980; Lavin and Gray 2016).
//!
//! Two outputs y of r taps g on r + 1 inputs d are A'((G g) . (B' d)): r + 1 products instead of 2 r. In two
//! dimensions a tile of 2x2 outputs takes (r + 1)^2 products, 16 for 36 of a 3x3 kernel and 9 for 16 of a 2x2
//! one. For each of the (r + 1)^2 places in a tile this is one matrix product over the channels:
//!
//! ```text
//! for each block of tiles:
//!     V[place][tile, cin]  = B' d B           of the input
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

mod tiles;
mod weights;

use super::correlation::{Correlation, Segment};
use super::outer::Outer;
use super::panels::{PANEL, panels_len, row_of};
use super::simd::{Lanes, Simd, Task};
use tiles::{contract_output, expand_input, expand_output};

pub(super) use weights::{Packing, Unpacking, weights_len};

use super::{Scalar, Tape};

/// Values of V and M of a block of tiles: they stay in a core's L2 cache.
const BLOCK: usize = 1 << 17;
/// Tiles of a block at most.
const MOST_TILES: usize = 128;
/// Places of a tile at most, each way.
const SIDE: usize = 4;

/// How positions of a grid lie on the pictures' maps `[images, rows, columns, channels]`: position (i, j)
/// of the grid, in phase (a, b), is row step i + top + a and column step j + left + b. Outside of the map
/// there are zeros, and nothing is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) channels: usize,
    /// Also the number of phases, each way.
    pub(super) step: usize,
    pub(super) top: isize,
    pub(super) left: isize,
}

/// Sizes of a correlation: for each position (i, j) of the grid, taps at (i, j) to (i + r - 1, j + r - 1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) images: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// r, 2 or 3.
    pub(super) taps: usize,
}

/// A correlation of all phases of a map with U, to phases of another: those of one output follow each
/// other in the columns of U.
#[derive(Debug)]
pub(super) struct Forward<'a, T> {
    pub(super) grid: Grid,
    pub(super) input: View,
    pub(super) map: &'a [T],
    /// As [`Packing`] leaves them.
    pub(super) weights: &'a [T],
    pub(super) bias: &'a [T],
    pub(super) relu: bool,
    /// One for each output, all of as many channels; of the phases of each only the first is written.
    pub(super) outputs: &'a [View],
    pub(super) out: &'a mut [T],
    /// Of [`Grid::scratch`].
    pub(super) scratch: &'a mut [T],
}

/// S += V' D over all tiles, `[place][phase, channel of the input][channel of the output]`; the other way
/// round, with the output's channels first, if `turned`.
#[derive(Debug)]
pub(super) struct Gradient<'a, T> {
    pub(super) grid: Grid,
    pub(super) input: View,
    pub(super) map: &'a [T],
    pub(super) output: View,
    pub(super) dy: &'a [T],
    pub(super) turned: bool,
    pub(super) sums: &'a mut [T],
    /// Of [`Grid::scratch`].
    pub(super) scratch: &'a mut [T],
}

impl View {
    /// Channels of all phases.
    fn width(&self) -> usize {
        self.step * self.step * self.channels
    }

    fn len(&self, images: usize) -> usize {
        images * self.rows * self.columns * self.channels
    }

    /// Where a position's channels begin; none outside of the map.
    #[inline(always)]
    fn place(&self, image: usize, (i, a): (usize, usize), (j, b): (usize, usize)) -> Option<usize> {
        let y = usize::try_from((self.step * i + a) as isize + self.top).ok()?;
        let x = usize::try_from((self.step * j + b) as isize + self.left).ok()?;
        let inside = y < self.rows && x < self.columns;
        inside.then(|| ((image * self.rows + y) * self.columns + x) * self.channels)
    }
}

impl Grid {
    fn places(&self) -> usize {
        (self.taps + 1) * (self.taps + 1)
    }

    fn tiles(&self) -> usize {
        self.images * self.rows.div_ceil(2) * self.columns.div_ceil(2)
    }

    /// Tiles of a block, for this many channels in and out.
    fn block(&self, channels: usize) -> usize {
        let fitting = BLOCK / (self.places() * channels);
        (fitting / 8 * 8).clamp(8, MOST_TILES).min(self.tiles())
    }

    /// Image, row and column of a tile's first position.
    fn position(&self, tile: usize) -> (usize, usize, usize) {
        let (rows, columns) = (self.rows.div_ceil(2), self.columns.div_ceil(2));
        let (image, rest) = (tile / (rows * columns), tile % (rows * columns));
        (image, 2 * (rest / columns), 2 * (rest % columns))
    }

    /// Values of memory that it takes with `columns` channels out.
    fn scratch(&self, input: View, columns: usize) -> usize {
        let channels = input.width() + columns;
        let zeros = input.channels.max(columns) + PANEL;
        self.places() * self.block(channels) * channels + zeros
    }
}

impl<T: Scalar> Forward<'_, T> {
    /// Runs it with memory of the tape.
    pub(super) fn run(
        grid: Grid,
        (input, map): (View, &[T]),
        weights: &[T],
        (bias, relu): (&[T], bool),
        (outputs, out): (&[View], &mut [T]),
        tape: &mut Tape<T>,
    ) {
        let columns = outputs.len() * outputs[0].channels;
        let mut scratch = tape.buffer(grid.scratch(input, columns));
        let task = Forward {
            grid,
            input,
            map,
            weights,
            bias,
            relu,
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
        (input, map): (View, &[T]),
        (output, dy): (View, &[T]),
        turned: bool,
        tape: &mut Tape<T>,
    ) -> Vec<T> {
        let mut scratch = tape.buffer(grid.scratch(input, output.channels));
        let mut sums = tape.buffer(grid.places() * input.width() * output.channels);
        sums.fill(T::zero());
        let task = Gradient {
            grid,
            input,
            map,
            output,
            dy,
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
            input,
            outputs,
            ..
        } = self;
        let channels = outputs[0].channels;
        let (cin, cout) = (input.width(), outputs.len() * channels);
        assert!(
            self.map.len() == input.len(grid.images),
            "a map has the size that its view says"
        );
        assert!(self.weights.len() == weights_len(grid.taps, cin, cout));
        assert!(self.bias.is_empty() || self.bias.len() == channels);
        for output in outputs {
            assert!(
                output.channels == channels && self.out.len() == output.len(grid.images),
                "an output has the size that its views say"
            );
        }
        let block = grid.block(cin + cout);
        let plane = panels_len(cin, cout);
        let (zeros, rest) = self.scratch.split_at_mut(input.channels + PANEL);
        zeros.fill(T::default());
        let (v, rest) = rest.split_at_mut(grid.places() * block * cin);
        let m = &mut rest[..grid.places() * block * cout];
        for first in (0..grid.tiles()).step_by(block) {
            let tiles = first..(first + block).min(grid.tiles());
            let n = tiles.len();
            // SAFETY: as the caller promises; V has room for the block's tiles, the map was checked.
            unsafe { expand_input::<V>(&grid, &input, self.map, zeros, tiles.clone(), v) };
            for place in 0..grid.places() {
                let product = Correlation {
                    map: &v[place * n * cin..(place + 1) * n * cin],
                    windows: row_of(n, cin),
                    segments: &[Segment {
                        offset: 0,
                        len: cin,
                    }],
                    panels: &self.weights[place * plane..(place + 1) * plane],
                    columns: cout,
                    bias: &[],
                    relu: false,
                    outputs: row_of(n, cout),
                };
                let out = &mut m[place * n * cout..(place + 1) * n * cout];
                // SAFETY: as the caller promises.
                unsafe { (&product, out).run::<V, M, Q, W, H>() };
            }
            let finish = (self.bias, self.relu);
            // SAFETY: as the caller promises; M holds the block's tiles, the map was checked.
            unsafe { contract_output::<V>(&grid, outputs, m, tiles, finish, self.out) };
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
            input,
            output,
            ..
        } = self;
        let (cin, cout) = (input.width(), output.channels);
        assert!(
            self.map.len() == input.len(grid.images) && self.dy.len() == output.len(grid.images),
            "maps have the sizes that their views say"
        );
        let block = grid.block(cin + cout);
        let (zeros, rest) = self
            .scratch
            .split_at_mut(input.channels.max(output.channels) + PANEL);
        zeros.fill(T::default());
        let (v, rest) = rest.split_at_mut(grid.places() * block * cin);
        let d = &mut rest[..grid.places() * block * cout];
        for first in (0..grid.tiles()).step_by(block) {
            let tiles = first..(first + block).min(grid.tiles());
            let n = tiles.len();
            // SAFETY: as the caller promises; V and D have room for the block's tiles, the maps were checked.
            unsafe {
                expand_input::<V>(&grid, &input, self.map, zeros, tiles.clone(), v);
                expand_output::<V>(&grid, &output, self.dy, zeros, tiles, d);
            }
            let sums = self.sums.chunks_exact_mut(cin * cout);
            let factors = v.chunks_exact(n * cin).zip(d.chunks_exact(n * cout));
            for (sums, (v, d)) in sums.zip(factors) {
                let (a, b) = if self.turned { (d, v) } else { (v, d) };
                let product = Outer::of_matrices(a, b, n);
                // SAFETY: as the caller promises.
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
        for (case, [images, rows, columns, cin, cout, taps, step]) in CASES.into_iter().enumerate()
        {
            let input = View {
                rows,
                columns,
                channels: cin,
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
                channels: cout,
                step: 1,
                top: 0,
                left: 0,
            };
            let k = step * step * cin;
            let map = numbers(input.len(images), 1);
            let (weight, bias) = (numbers(taps * taps * k * cout, 2), numbers(cout, 3));
            let at = |ty: usize, tx: usize, row: usize| ((ty * taps + tx) * k + row) * cout;
            let mut weights = vec![0.0; weights_len(taps, k, cout)];
            let packing = Packing {
                values: &weight,
                taps,
                cin: k,
                cout,
                outputs: 1,
                step: 1,
                at: |_, ty, tx, row| at(ty, tx, row),
                packed: &mut weights,
            };
            packing.run_wide();
            let mut plain = vec![0.0; output.len(images)];
            for (place, sum) in plain.iter_mut().enumerate() {
                let (n, position) = (place % cout, place / cout);
                let (j, rest) = (position % grid.columns, position / grid.columns);
                let (i, image) = (rest % grid.rows, rest / grid.rows);
                let mut total = f64::from(bias[n]);
                for (ty, tx) in (0..taps * taps).map(|t| (t / taps, t % taps)) {
                    for row in 0..k {
                        let (a, b) = (row / cin / step, row / cin % step);
                        if let Some(from) = input.place(image, (i + ty, a), (j + tx, b)) {
                            let x = f64::from(map[from + row % cin]);
                            total += x * f64::from(weight[at(ty, tx, row) + n]);
                        }
                    }
                }
                *sum = total.max(0.0);
            }
            let mut scratch = vec![0.0; grid.scratch(input, cout)];
            let start = vec![7.0; plain.len()];
            assert_agrees!(start, plain, case, |out| Forward {
                grid,
                input,
                map: &map,
                weights: &weights,
                bias: &bias,
                relu: true,
                outputs: &[output],
                out: &mut out,
                scratch: &mut scratch,
            });
        }
    }
}
