//! Geometry that convolutions and transposed ones share: windows on a padded map, one way and back.
//!
//! A large map `[h, w, c]` is seen through a grid of windows, `stride` apart; the small map has one
//! position per window. A convolution's forward pass goes from large to small ([`Windows::gather`]),
//! its backward pass from small to large ([`Windows::spread`]); in a transposed convolution it is the
//! other way round.
//!
//! From small to large, a position (y, x) of the large map gets only those taps whose distance fits
//! the stride: positions of equal (y mod stride, x mod stride) are a *phase*, and each phase is an
//! ordinary correlation with its own taps. With ky = r + stride t, the tap t reads row
//! y / stride + q - t of the small map.

use super::product::{Correlation, Outer, Places, Segment, pack, panels_len};
use super::{Scalar, Tape};

/// Windows of `kernel x kernel` on a map of `h x w`, `stride` apart, `oh x ow` of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    /// Rows and columns of padding above and to the left.
    pub(super) before: usize,
    pub(super) oh: usize,
    pub(super) ow: usize,
}

/// How a weight lies in memory: distances between neighbours in ky, kx, channel of the large map, and
/// channel of the small map.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightSteps {
    pub(super) ky: usize,
    pub(super) kx: usize,
    pub(super) large: usize,
    pub(super) small: usize,
}

/// Channels of the large map and of the small one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channels {
    pub(super) large: usize,
    pub(super) small: usize,
}

/// A map with its padding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Padded<'m, T> {
    values: &'m [T],
    columns: usize,
    channels: usize,
}

/// How maps are padded, and the memory for one.
#[derive(Debug)]
pub(super) struct Padding<T> {
    /// Zeros, but for the map that was padded last; empty where there is no padding.
    values: Vec<T>,
    /// Of the padded map.
    columns: usize,
    channels: usize,
    /// Values of a row of the map.
    run: usize,
    /// Where the map's first value goes.
    first: usize,
}

/// One remainder of the positions of a side by the stride.
#[derive(Debug, Clone, Copy)]
struct Phase {
    /// The remainder.
    at: usize,
    /// The first tap of this phase.
    first_tap: usize,
    /// How many taps it has.
    taps: usize,
    /// q.
    shift: usize,
}

impl Windows {
    fn phases(&self, side: usize) -> impl Iterator<Item = Phase> + use<> {
        let Windows {
            kernel,
            stride,
            before,
            ..
        } = *self;
        (0..stride.min(side)).map(move |at| {
            let first_tap = (at + before) % stride;
            Phase {
                at,
                first_tap,
                taps: kernel.saturating_sub(first_tap).div_ceil(stride),
                shift: (at + before) / stride,
            }
        })
    }

    /// Rows and columns by which the small map is padded on each side when it is spread.
    fn reach(&self) -> usize {
        let side = |large: usize, small: usize| {
            self.phases(large).map(move |phase| {
                let above = phase.taps.saturating_sub(1 + phase.shift);
                let last = self.positions(phase, large) + phase.shift;
                above.max(last.saturating_sub(small))
            })
        };
        let sides = side(self.h, self.oh).chain(side(self.w, self.ow));
        sides.max().unwrap_or(0)
    }

    /// Pads large maps `[h, w, c]` for [`Windows::gather`] and [`Windows::add_weight_grad`].
    pub(super) fn large_padding<T: Scalar>(
        &self,
        channels: usize,
        tape: &mut Tape<T>,
    ) -> Padding<T> {
        let needed =
            |n: usize, side: usize| ((n - 1) * self.stride + self.kernel).max(self.before + side);
        let size = (needed(self.oh, self.h), needed(self.ow, self.w));
        Padding::new((self.h, self.w), size, self.before, channels, tape)
    }

    /// Pads small maps `[oh, ow, c]` for [`Windows::spread`].
    pub(super) fn small_padding<T: Scalar>(
        &self,
        channels: usize,
        tape: &mut Tape<T>,
    ) -> Padding<T> {
        let padding = self.reach();
        let size = (self.oh + 2 * padding, self.ow + 2 * padding);
        Padding::new((self.oh, self.ow), size, padding, channels, tape)
    }

    /// Length of the panels for [`Windows::gather`].
    pub(super) fn gather_panels(kernel: usize, channels: Channels) -> usize {
        panels_len(kernel * kernel * channels.large, channels.small)
    }

    /// Packs weights for [`Windows::gather`].
    pub(super) fn pack_gather<T: Scalar>(
        kernel: usize,
        channels: Channels,
        steps: WeightSteps,
        weight: &[T],
        panels: &mut [T],
    ) {
        let Channels { large, small } = channels;
        let place = |row: usize| {
            let (tap, channel) = (row / large, row % large);
            let (ky, kx) = (tap / kernel, tap % kernel);
            ky * steps.ky + kx * steps.kx + channel * steps.large
        };
        let size = (kernel * kernel * large, small);
        pack(weight, size, steps.small, place, panels);
    }

    /// Large map to small map: each window times the weights.
    pub(super) fn gather<T: Scalar>(
        &self,
        large: Padded<'_, T>,
        panels: &[T],
        bias: &[T],
        relu: bool,
        small: &mut [T],
    ) {
        let columns = small.len() / (self.oh * self.ow);
        let segment = |ky| Segment {
            offset: ky * large.columns * large.channels,
            len: self.kernel * large.channels,
        };
        let segments: Vec<Segment> = (0..self.kernel).map(segment).collect();
        let product = Correlation {
            map: large.values,
            windows: self.windows(large),
            segments: &segments,
            panels,
            columns,
            bias,
            relu,
            outputs: self.small_places(columns),
        };
        T::correlate(&product, small);
    }

    /// Lengths of the panels for [`Windows::spread`], one phase behind the other.
    pub(super) fn spread_panels(
        kernel: usize,
        stride: usize,
        before: usize,
        channels: Channels,
    ) -> usize {
        let shape = Windows::shape(kernel, stride, before);
        let taps = |(y, x): (Phase, Phase)| y.taps * x.taps;
        let lens = shape.pairs().map(taps);
        lens.map(|taps| panels_len(taps * channels.small, channels.large))
            .sum()
    }

    /// Packs weights for [`Windows::spread`].
    pub(super) fn pack_spread<T: Scalar>(
        (kernel, stride, before): (usize, usize, usize),
        channels: Channels,
        steps: WeightSteps,
        weight: &[T],
        panels: &mut [T],
    ) {
        let Channels { large, small } = channels;
        let mut rest = panels;
        for (y, x) in Windows::shape(kernel, stride, before).pairs() {
            let size = (y.taps * x.taps * small, large);
            let (part, others) = rest.split_at_mut(panels_len(size.0, size.1));
            rest = others;
            // Taps from the last to the first, so that they run with the small map's columns.
            let place = |row: usize| {
                let (tap, channel) = (row / small, row % small);
                let (ty, tx) = (y.taps - 1 - tap / x.taps, x.taps - 1 - tap % x.taps);
                let (ky, kx) = (y.first_tap + stride * ty, x.first_tap + stride * tx);
                ky * steps.ky + kx * steps.kx + channel * steps.small
            };
            pack(weight, size, steps.large, place, part);
        }
    }

    /// Whether [`Windows::spread`] writes every position of the large map.
    pub(super) fn spread_reaches_all(&self) -> bool {
        let every = |side| self.phases(side).all(|phase| phase.taps > 0);
        every(self.h) && every(self.w)
    }

    /// Small map to large map: what each window would add, summed where windows overlap.
    ///
    /// Where no tap reaches, `large` keeps what it has.
    pub(super) fn spread<T: Scalar>(
        &self,
        small: Padded<'_, T>,
        panels: &[T],
        bias: &[T],
        relu: bool,
        large: &mut [T],
    ) {
        let channels = large.len() / (self.h * self.w);
        let padding = self.reach();
        let mut rest = panels;
        for (y, x) in Windows::shape(self.kernel, self.stride, self.before).pairs() {
            let rows = y.taps * x.taps * small.channels;
            let (part, others) = rest.split_at(panels_len(rows, channels));
            rest = others;
            let (rows, columns) = (self.positions(y, self.h), self.positions(x, self.w));
            if rows == 0 || columns == 0 {
                continue;
            }
            // The last tap reads the first of the rows.
            let top = padding + y.shift + 1 - y.taps;
            let left = padding + x.shift + 1 - x.taps;
            let step = small.columns * small.channels;
            let segment = |ty| Segment {
                offset: ty * step,
                len: x.taps * small.channels,
            };
            let segments: Vec<Segment> = (0..y.taps).map(segment).collect();
            let product = Correlation {
                map: small.values,
                windows: Places {
                    rows,
                    columns,
                    first: top * step + left * small.channels,
                    row: step,
                    column: small.channels,
                },
                segments: &segments,
                panels: part,
                columns: channels,
                bias,
                relu,
                outputs: Places {
                    rows,
                    columns,
                    first: (y.at * self.w + x.at) * channels,
                    row: self.stride * self.w * channels,
                    column: self.stride * channels,
                },
            };
            T::correlate(&product, large);
        }
    }

    /// Adds the weights' gradient: large map's windows by small map's positions.
    ///
    /// `steps.kx` must be the length of what lies behind one tap, so that a window's row is one piece.
    pub(super) fn add_weight_grad<T: Scalar>(
        &self,
        large: Padded<'_, T>,
        small: &[T],
        steps: WeightSteps,
        grad: &mut [T],
    ) {
        let channels = small.len() / (self.oh * self.ow);
        let small_places = self.small_places(channels);
        for ky in 0..self.kernel {
            let mut windows = self.windows(large);
            windows.first = ky * large.columns * large.channels;
            let run = self.kernel * large.channels;
            let grad = &mut grad[ky * steps.ky..];
            let product = if steps.small == 1 {
                Outer {
                    a: large.values,
                    a_places: windows,
                    m: run,
                    b: small,
                    b_places: small_places,
                    n: channels,
                    stride: steps.large,
                }
            } else {
                Outer {
                    a: small,
                    a_places: small_places,
                    m: channels,
                    b: large.values,
                    b_places: windows,
                    n: run,
                    stride: steps.small,
                }
            };
            T::add_outer(&product, grad);
        }
    }

    fn windows<T>(&self, large: Padded<'_, T>) -> Places {
        Places {
            rows: self.oh,
            columns: self.ow,
            first: 0,
            row: self.stride * large.columns * large.channels,
            column: self.stride * large.channels,
        }
    }

    fn small_places(&self, channels: usize) -> Places {
        Places {
            rows: self.oh,
            columns: self.ow,
            first: 0,
            row: self.ow * channels,
            column: channels,
        }
    }

    /// Kernel, stride and padding alone.
    fn shape(kernel: usize, stride: usize, before: usize) -> Windows {
        Windows {
            h: stride,
            w: stride,
            kernel,
            stride,
            before,
            oh: 1,
            ow: 1,
        }
    }

    fn pairs(self) -> impl Iterator<Item = (Phase, Phase)> {
        self.phases(self.h)
            .flat_map(move |y| self.phases(self.w).map(move |x| (y, x)))
    }

    /// How many positions of a side a phase has.
    fn positions(&self, phase: Phase, side: usize) -> usize {
        side.saturating_sub(phase.at).div_ceil(self.stride)
    }
}

impl<T: Scalar> Padding<T> {
    fn new(
        map: (usize, usize),
        size: (usize, usize),
        before: usize,
        channels: usize,
        tape: &mut Tape<T>,
    ) -> Self {
        let len = if map == size {
            0
        } else {
            size.0 * size.1 * channels
        };
        let mut values = tape.buffer(len);
        values.fill(T::zero());
        Padding {
            values,
            columns: size.1,
            channels,
            run: map.1 * channels,
            first: (before * size.1 + before) * channels,
        }
    }

    /// Pads one map, in the place of the former one.
    pub(super) fn pad<'m>(&'m mut self, map: &'m [T]) -> Padded<'m, T> {
        let (columns, channels) = (self.columns, self.channels);
        let values = if self.values.is_empty() {
            map
        } else {
            let targets = self.values[self.first..].chunks_mut(columns * channels);
            for (target, source) in targets.zip(map.chunks_exact(self.run)) {
                target[..self.run].copy_from_slice(source);
            }
            &self.values
        };
        Padded {
            values,
            columns,
            channels,
        }
    }

    /// Gives the memory back.
    pub(super) fn recycle(self, tape: &mut Tape<T>) {
        tape.recycle_buffer(self.values);
    }
}
