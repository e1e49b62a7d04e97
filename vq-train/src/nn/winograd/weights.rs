//! The transform of weights to tiles, and that of their gradient.

use super::grid::SIDE;
use crate::nn::panels::{PANEL, panel_width, panels_len};
use crate::nn::scalar::Scalar;
use crate::nn::simd::Loop;

/// Length of U for this many channels in (all phases) and out.
pub(in crate::nn) fn weights_len(taps: usize, in_channels: usize, out_channels: usize) -> usize {
    (taps + 1) * (taps + 1) * panels_len(in_channels, out_channels)
}

/// Writes U: for each place the panels of a matrix `[in_channels, out_channels]`.
pub(in crate::nn) struct Packing<'a, T, F> {
    pub(in crate::nn) values: &'a [T],
    /// r.
    pub(in crate::nn) taps: usize,
    pub(in crate::nn) in_channels: usize,
    /// Channels of an output.
    pub(in crate::nn) out_channels: usize,
    /// Outputs, whose columns follow each other.
    pub(in crate::nn) outputs: usize,
    /// Between channels out.
    pub(in crate::nn) step: usize,
    /// Of (output, ty, tx, channel in): where in `values` the weights of that tap and channel in begin.
    pub(in crate::nn) at: F,
    pub(in crate::nn) packed: &'a mut [T],
}

/// Adds G' S G to the weights' gradient.
pub(in crate::nn) struct Unpacking<'a, T, F> {
    /// S, `[place][rows][columns]`.
    pub(in crate::nn) sums: &'a [T],
    /// r.
    pub(in crate::nn) taps: usize,
    pub(in crate::nn) rows: usize,
    pub(in crate::nn) columns: usize,
    /// Of (ty, tx, row): where in `grad` that tap's and row's columns lie, one behind the other.
    pub(in crate::nn) at: F,
    pub(in crate::nn) grad: &'a mut [T],
}

impl<T: Scalar, F: Fn(usize, usize, usize, usize) -> usize> Loop for Packing<'_, T, F> {
    type Float = T;

    #[expect(
        clippy::needless_range_loop,
        reason = "the places of a tile are the formula's indices"
    )]
    #[inline(always)]
    fn run(self) {
        let Packing {
            values,
            taps,
            in_channels,
            out_channels,
            outputs,
            step,
            at,
            packed,
        } = self;
        let columns = outputs * out_channels;
        let (plane, places) = (panels_len(in_channels, columns), taps + 1);
        let (mut begin, mut first) = (0, 0);
        let mut tile = [[[T::zero(); PANEL]; SIDE]; SIDE];
        while first < columns {
            let width = panel_width(columns - first);
            let valid = width.min(columns - first);
            for row in 0..in_channels {
                for ty in 0..taps {
                    for tx in 0..taps {
                        let to = &mut tile[ty][tx];
                        to[valid..].fill(T::zero());
                        // The columns of one output after the other.
                        let mut n = 0;
                        while n < valid {
                            let (output, channel) =
                                ((first + n) / out_channels, (first + n) % out_channels);
                            let run = (out_channels - channel).min(valid - n);
                            let from = &values[at(output, ty, tx, row) + channel * step..];
                            if step == 1 {
                                to[n..n + run].copy_from_slice(&from[..run]);
                            } else {
                                for (i, to) in to[n..n + run].iter_mut().enumerate() {
                                    *to = from[i * step];
                                }
                            }
                            n += run;
                        }
                    }
                }
                expand_weights(&mut tile, taps);
                for y in 0..places {
                    for x in 0..places {
                        let target = (y * places + x) * plane + begin + row * width;
                        packed[target..target + width].copy_from_slice(&tile[y][x][..width]);
                    }
                }
            }
            begin += in_channels * width;
            first += PANEL;
        }
    }
}

impl<T: Scalar, F: Fn(usize, usize, usize) -> usize> Loop for Unpacking<'_, T, F> {
    type Float = T;

    #[expect(
        clippy::needless_range_loop,
        reason = "the places of a tile are the formula's indices"
    )]
    #[inline(always)]
    fn run(self) {
        let Unpacking {
            sums,
            taps,
            rows,
            columns,
            at,
            grad,
        } = self;
        let places = taps + 1;
        let mut tile = [[[T::zero(); PANEL]; SIDE]; SIDE];
        for row in 0..rows {
            let mut first = 0;
            while first < columns {
                let valid = PANEL.min(columns - first);
                for y in 0..places {
                    for x in 0..places {
                        let from = ((y * places + x) * rows + row) * columns + first;
                        tile[y][x][..valid].copy_from_slice(&sums[from..from + valid]);
                    }
                }
                contract_weights(&mut tile, taps);
                for ty in 0..taps {
                    for tx in 0..taps {
                        let to = &mut grad[at(ty, tx, row) + first..][..valid];
                        for (to, &v) in to.iter_mut().zip(&tile[ty][tx]) {
                            *to += v;
                        }
                    }
                }
                first += PANEL;
            }
        }
    }
}

/// A tile of weights, 32 channels at a time.
type Tile<T> = [[[T; PANEL]; SIDE]; SIDE];

/// g -> G g G', in place.
#[expect(
    clippy::needless_range_loop,
    reason = "the places of a tile are the formula's indices"
)]
#[inline(always)]
fn expand_weights<T: Scalar>(tile: &mut Tile<T>, taps: usize) {
    let half = T::of(0.5);
    let expand = |g0: T, g1: T, g2: T| {
        let outer = g0 + g2;
        [half * (outer + g1), half * (outer - g1)]
    };
    for x in 0..taps {
        for n in 0..PANEL {
            let (g0, g1, g2) = (tile[0][x][n], tile[1][x][n], tile[2][x][n]);
            if taps == 2 {
                tile[1][x][n] = g0 + g1;
                tile[2][x][n] = g1;
            } else {
                [tile[1][x][n], tile[2][x][n]] = expand(g0, g1, g2);
                tile[3][x][n] = g2;
            }
        }
    }
    for line in &mut tile[..=taps] {
        for n in 0..PANEL {
            let (g0, g1, g2) = (line[0][n], line[1][n], line[2][n]);
            if taps == 2 {
                line[1][n] = g0 + g1;
                line[2][n] = g1;
            } else {
                [line[1][n], line[2][n]] = expand(g0, g1, g2);
                line[3][n] = g2;
            }
        }
    }
}

/// S -> G' S G, in place.
#[expect(
    clippy::needless_range_loop,
    reason = "the places of a tile are the formula's indices"
)]
#[inline(always)]
fn contract_weights<T: Scalar>(tile: &mut Tile<T>, taps: usize) {
    let half = T::of(0.5);
    for x in 0..=taps {
        for n in 0..PANEL {
            let (s0, s1, s2, s3) = (tile[0][x][n], tile[1][x][n], tile[2][x][n], tile[3][x][n]);
            if taps == 2 {
                (tile[0][x][n], tile[1][x][n]) = (s0 + s1, s1 + s2);
            } else {
                let (sum, difference) = (half * (s1 + s2), half * (s1 - s2));
                (tile[0][x][n], tile[1][x][n], tile[2][x][n]) = (s0 + sum, difference, sum + s3);
            }
        }
    }
    for line in &mut tile[..taps] {
        for n in 0..PANEL {
            let (s0, s1, s2, s3) = (line[0][n], line[1][n], line[2][n], line[3][n]);
            if taps == 2 {
                (line[0][n], line[1][n]) = (s0 + s1, s1 + s2);
            } else {
                let (sum, difference) = (half * (s1 + s2), half * (s1 - s2));
                (line[0][n], line[1][n], line[2][n]) = (s0 + sum, difference, sum + s3);
            }
        }
    }
}
