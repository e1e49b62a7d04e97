//! Geometry that convolutions and transposed ones share: windows on a padded map, one way and back.
//!
//! A large map `[h, w, c]` is seen through a grid of windows, `stride` apart; the small map has one
//! position per window. A convolution's forward pass goes from large to small ([`Windows::gather`]),
//! its backward pass from small to large ([`Windows::spread`]); in a transposed convolution it is the
//! other way round.
//!
//! Kernels of 2x2 or 3x3 strides take fewer multiplications in Winograd's form, all pictures of a chunk at
//! once; the others are correlated picture by picture, where they lie.
//!
//! From small to large, a position (y, x) of the large map gets only those taps whose distance fits
//! the stride: positions of equal (y mod stride, x mod stride) are a *phase*, and each phase is an
//! ordinary correlation with its own taps. With ky = r + stride t, the tap t reads row
//! y / stride + q - t of the small map.

use super::correlation::{Correlation, Segment};
use super::outer::Outer;
use super::panels::{Places, pack, panels_len};
use super::simd::Loop;
use super::winograd::{self, Forward, Gradient, Grid, Packing, Unpacking, View};
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

/// What windows are multiplied by, and what is done to the sums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factors<'a, T> {
    /// Weights, packed.
    pub(super) panels: &'a [T],
    /// One for each channel of the output, or empty.
    pub(super) bias: &'a [T],
    pub(super) relu: bool,
}

/// Channels from which on Winograd's form is faster: below, its transforms take longer than what they save.
const WINOGRAD_CHANNELS: usize = 8;

/// Taps of each phase, each way, where Winograd's form applies.
fn winograd_taps(kernel: usize, stride: usize, channels: Channels) -> Option<usize> {
    let taps = kernel / stride;
    let fits = kernel.is_multiple_of(stride) && (2..=3).contains(&taps);
    let pays = channels.large.min(channels.small) >= WINOGRAD_CHANNELS;
    (fits && pays).then_some(taps)
}

/// A map with its padding.
#[derive(Debug, Clone, Copy)]
struct Padded<'m, T> {
    values: &'m [T],
    columns: usize,
    channels: usize,
}

/// How maps are padded, and the memory for one.
#[derive(Debug)]
struct Padding<T> {
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
    fn large_padding<T: Scalar>(&self, channels: usize, tape: &mut Tape<T>) -> Padding<T> {
        let needed =
            |n: usize, side: usize| ((n - 1) * self.stride + self.kernel).max(self.before + side);
        let size = (needed(self.oh, self.h), needed(self.ow, self.w));
        Padding::new((self.h, self.w), size, self.before, channels, tape)
    }

    /// Pads small maps `[oh, ow, c]` for [`Windows::spread`].
    fn small_padding<T: Scalar>(&self, channels: usize, tape: &mut Tape<T>) -> Padding<T> {
        let padding = self.reach();
        let size = (self.oh + 2 * padding, self.ow + 2 * padding);
        Padding::new((self.oh, self.ow), size, padding, channels, tape)
    }

    /// Length of the panels for [`Windows::gather`].
    pub(super) fn gather_panels(kernel: usize, stride: usize, channels: Channels) -> usize {
        let Channels { large, small } = channels;
        match winograd_taps(kernel, stride, channels) {
            Some(taps) => winograd::weights_len(taps, stride * stride * large, small),
            None => panels_len(kernel * kernel * large, small),
        }
    }

    /// Packs weights for [`Windows::gather`].
    pub(super) fn pack_gather<T: Scalar>(
        (kernel, stride): (usize, usize),
        channels: Channels,
        steps: WeightSteps,
        weight: &[T],
        panels: &mut [T],
    ) {
        let Channels { large, small } = channels;
        if let Some(taps) = winograd_taps(kernel, stride, channels) {
            let at = |ty: usize, tx: usize, row: usize| {
                let (phase, channel) = (row / large, row % large);
                let ky = stride * ty + phase / stride;
                let kx = stride * tx + phase % stride;
                ky * steps.ky + kx * steps.kx + channel * steps.large
            };
            let packing = Packing {
                values: weight,
                taps,
                cin: stride * stride * large,
                cout: small,
                step: steps.small,
                at,
                packed: panels,
            };
            return packing.run_wide();
        }
        let place = |row: usize| {
            let (tap, channel) = (row / large, row % large);
            let (ky, kx) = (tap / kernel, tap % kernel);
            ky * steps.ky + kx * steps.kx + channel * steps.large
        };
        let size = (kernel * kernel * large, small);
        pack(weight, size, steps.small, place, panels);
    }

    /// Large maps to small ones: each window times the weights.
    pub(super) fn gather<T: Scalar>(
        &self,
        channels: Channels,
        large: &[T],
        factors: Factors<'_, T>,
        small: &mut [T],
        tape: &mut Tape<T>,
    ) {
        if let Some(taps) = winograd_taps(self.kernel, self.stride, channels) {
            let grid = self.small_grid(small.len(), channels.small, taps);
            let input = (self.large_view(channels.large), large);
            let output = (self.small_view(channels.small), small);
            let finish = (factors.bias, factors.relu);
            return Forward::run(grid, input, factors.panels, finish, output, tape);
        }
        let mut padding = self.large_padding(channels.large, tape);
        let pictures = large.chunks_exact(self.h * self.w * channels.large);
        let outs = small.chunks_exact_mut(self.oh * self.ow * channels.small);
        for (picture, out) in pictures.zip(outs) {
            self.gather_one(padding.pad(picture), factors, out);
        }
        padding.recycle(tape);
    }

    fn gather_one<T: Scalar>(
        &self,
        large: Padded<'_, T>,
        factors: Factors<'_, T>,
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
            panels: factors.panels,
            columns,
            bias: factors.bias,
            relu: factors.relu,
            outputs: self.small_places(columns),
        };
        T::run((&product, small));
    }

    /// Lengths of the panels for [`Windows::spread`], one phase behind the other.
    pub(super) fn spread_panels(
        kernel: usize,
        stride: usize,
        before: usize,
        channels: Channels,
    ) -> usize {
        let Channels { large, small } = channels;
        let shape = Windows::shape(kernel, stride, before);
        let winograd = winograd_taps(kernel, stride, channels);
        let len = |(y, x): (Phase, Phase)| match winograd {
            Some(taps) => winograd::weights_len(taps, small, large),
            None => panels_len(y.taps * x.taps * small, large),
        };
        shape.pairs().map(len).sum()
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
        let winograd = winograd_taps(kernel, stride, channels);
        let mut rest = panels;
        for (y, x) in Windows::shape(kernel, stride, before).pairs() {
            if let Some(taps) = winograd {
                let len = winograd::weights_len(taps, small, large);
                let (part, others) = rest.split_at_mut(len);
                rest = others;
                let at = |ty: usize, tx: usize, row: usize| {
                    let ky = y.first_tap + stride * (taps - 1 - ty);
                    let kx = x.first_tap + stride * (taps - 1 - tx);
                    ky * steps.ky + kx * steps.kx + row * steps.small
                };
                let packing = Packing {
                    values: weight,
                    taps,
                    cin: small,
                    cout: large,
                    step: steps.large,
                    at,
                    packed: part,
                };
                packing.run_wide();
                continue;
            }
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

    /// Small maps to large ones: what each window would add, summed where windows overlap.
    pub(super) fn spread<T: Scalar>(
        &self,
        channels: Channels,
        small: &[T],
        factors: Factors<'_, T>,
        large: &mut [T],
        tape: &mut Tape<T>,
    ) {
        if let Some(taps) = winograd_taps(self.kernel, self.stride, channels) {
            return self.spread_winograd(channels, small, factors, large, tape, taps);
        }
        let unreached = |side| self.phases(side).any(|phase| phase.taps == 0);
        if unreached(self.h) || unreached(self.w) {
            large.fill(T::zero());
        }
        let mut padding = self.small_padding(channels.small, tape);
        let pictures = small.chunks_exact(self.oh * self.ow * channels.small);
        let outs = large.chunks_exact_mut(self.h * self.w * channels.large);
        for (picture, out) in pictures.zip(outs) {
            self.spread_one(padding.pad(picture), factors, out);
        }
        padding.recycle(tape);
    }

    fn spread_winograd<T: Scalar>(
        &self,
        channels: Channels,
        small: &[T],
        factors: Factors<'_, T>,
        large: &mut [T],
        tape: &mut Tape<T>,
        taps: usize,
    ) {
        let images = small.len() / (self.oh * self.ow * channels.small);
        let len = winograd::weights_len(taps, channels.small, channels.large);
        let mut panels = factors.panels.chunks_exact(len);
        for (y, x) in Windows::shape(self.kernel, self.stride, self.before).pairs() {
            let weights = panels.next().expect("one part for each phase");
            let grid = Grid {
                images,
                rows: self.positions(y, self.h),
                columns: self.positions(x, self.w),
                taps,
            };
            // The last tap reads the first of the rows.
            let first = |phase: Phase| phase.shift as isize - (taps as isize - 1);
            let input = View {
                top: first(y),
                left: first(x),
                ..self.small_view(channels.small)
            };
            let output = View {
                top: y.at as isize,
                left: x.at as isize,
                ..self.large_view(channels.large)
            };
            let finish = (factors.bias, factors.relu);
            let (input, output) = ((input, small), (output, &mut *large));
            Forward::run(grid, input, weights, finish, output, tape);
        }
    }

    fn spread_one<T: Scalar>(
        &self,
        small: Padded<'_, T>,
        factors: Factors<'_, T>,
        large: &mut [T],
    ) {
        let channels = large.len() / (self.h * self.w);
        let padding = self.reach();
        let mut rest = factors.panels;
        for (y, x) in Windows::shape(self.kernel, self.stride, self.before).pairs() {
            let rows = y.taps * x.taps * small.channels;
            let (part, others) = rest.split_at(panels_len(rows, channels));
            rest = others;
            let (rows, columns) = (self.positions(y, self.h), self.positions(x, self.w));
            if rows == 0 || columns == 0 || part.is_empty() {
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
                bias: factors.bias,
                relu: factors.relu,
                outputs: Places {
                    rows,
                    columns,
                    first: (y.at * self.w + x.at) * channels,
                    row: self.stride * self.w * channels,
                    column: self.stride * channels,
                },
            };
            T::run((&product, &mut *large));
        }
    }

    /// Adds the weights' gradient: large maps' windows by small maps' positions.
    pub(super) fn add_weight_grad<T: Scalar>(
        &self,
        channels: Channels,
        large: &[T],
        small: &[T],
        steps: WeightSteps,
        grad: &mut [T],
        tape: &mut Tape<T>,
    ) {
        if let Some(taps) = winograd_taps(self.kernel, self.stride, channels) {
            let grid = self.small_grid(small.len(), channels.small, taps);
            let input = (self.large_view(channels.large), large);
            let output = (self.small_view(channels.small), small);
            // The channels that follow each other in the gradient follow each other in the sums.
            let turned = steps.small != 1;
            let sums = Gradient::run(grid, input, output, turned, tape);
            self.add_winograd_grad(channels, taps, &sums, steps, grad);
            return tape.recycle_buffer(sums);
        }
        let mut padding = self.large_padding(channels.large, tape);
        let pictures = large.chunks_exact(self.h * self.w * channels.large);
        let others = small.chunks_exact(self.oh * self.ow * channels.small);
        for (picture, small) in pictures.zip(others) {
            self.add_weight_grad_one(padding.pad(picture), small, steps, grad);
        }
        padding.recycle(tape);
    }

    fn add_winograd_grad<T: Scalar>(
        &self,
        channels: Channels,
        taps: usize,
        sums: &[T],
        steps: WeightSteps,
        grad: &mut [T],
    ) {
        let (stride, Channels { large, small }) = (self.stride, channels);
        let at = |ty: usize, tx: usize, phase: usize| {
            let ky = stride * ty + phase / stride;
            let kx = stride * tx + phase % stride;
            ky * steps.ky + kx * steps.kx
        };
        if steps.small == 1 {
            let unpacking = Unpacking {
                sums,
                taps,
                rows: stride * stride * large,
                columns: small,
                at: |ty, tx, row| at(ty, tx, row / large) + row % large * steps.large,
                grad,
            };
            return unpacking.run_wide();
        }
        // [place][small][phase, large]: a row of it is each phase of each small channel.
        let phases = stride * stride;
        let unpacking = Unpacking {
            sums,
            taps,
            rows: small * phases,
            columns: large,
            at: |ty, tx, row| at(ty, tx, row % phases) + row / phases * steps.small,
            grad,
        };
        unpacking.run_wide();
    }

    /// `steps.kx` must be the length of what lies behind one tap, so that a window's row is one piece.
    fn add_weight_grad_one<T: Scalar>(
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
            T::run((&product, grad));
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

    /// The small maps' positions as windows of the large ones.
    fn small_grid(&self, len: usize, channels: usize, taps: usize) -> Grid {
        Grid {
            images: len / (self.oh * self.ow * channels),
            rows: self.oh,
            columns: self.ow,
            taps,
        }
    }

    fn large_view(&self, channels: usize) -> View {
        let top = -(self.before as isize);
        View {
            rows: self.h,
            columns: self.w,
            channels,
            step: self.stride,
            top,
            left: top,
        }
    }

    fn small_view(&self, channels: usize) -> View {
        View {
            rows: self.oh,
            columns: self.ow,
            channels,
            step: 1,
            top: 0,
            left: 0,
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
    fn pad<'m>(&'m mut self, map: &'m [T]) -> Padded<'m, T> {
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
    fn recycle(self, tape: &mut Tape<T>) {
        tape.recycle_buffer(self.values);
    }
}
