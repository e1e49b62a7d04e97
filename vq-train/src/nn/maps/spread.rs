//! From small maps to large ones: a convolution's gradient with respect to its input.
//!
//! A position (y, x) of the large map gets only those taps whose distance fits the stride: positions of
//! equal (y mod stride, x mod stride) are a *phase*, and each phase is an ordinary correlation with its own
//! taps. With ky = r + stride t, the tap t reads row y / stride + q - t of the small map.

use super::padding::{Padded, Padding};
use super::{Channels, Factors, WINOGRAD_CHANNELS, WeightSteps, Windows, winograd_taps};
use crate::nn::correlation::{Correlation, Segment};
use crate::nn::panels::{HALF, Places, pack, panels_len};
use crate::nn::simd::Loop;
use crate::nn::winograd::{self, Forward, Grid, Packing, View};
use crate::nn::{Scalar, Tape};
use std::ops::Range;

/// As [`winograd_taps`] for [`Windows::spread`], and how many phases are products together: each is on its
/// own, since so tiles fit the map better, but for those that share the narrowest of panels.
fn spread_taps(kernel: usize, stride: usize, channels: Channels) -> Option<(usize, usize)> {
    let phases = stride * stride;
    if phases > 1 && phases * channels.large <= HALF {
        let large = WINOGRAD_CHANNELS;
        return winograd_taps(kernel, stride, Channels { large, ..channels }).map(|t| (t, phases));
    }
    winograd_taps(kernel, stride, channels).map(|taps| (taps, 1))
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

    /// Pads small maps `[oh, ow, c]` for [`Windows::spread`].
    fn small_padding<T: Scalar>(&self, channels: usize, tape: &mut Tape<T>) -> Padding<T> {
        let padding = self.reach();
        let size = (self.oh + 2 * padding, self.ow + 2 * padding);
        Padding::new((self.oh, self.ow), size, padding, channels, tape)
    }

    /// Lengths of the panels for [`Windows::spread`], one phase behind the other.
    pub(in crate::nn) fn spread_panels(
        kernel: usize,
        stride: usize,
        before: usize,
        channels: Channels,
    ) -> usize {
        let Channels { large, small } = channels;
        if let Some((taps, group)) = spread_taps(kernel, stride, channels) {
            let groups = stride * stride / group;
            return groups * winograd::weights_len(taps, small, group * large);
        }
        let shape = Windows::shape(kernel, stride, before);
        let len = |(y, x): (Phase, Phase)| panels_len(y.taps * x.taps * small, large);
        shape.pairs().map(len).sum()
    }

    /// Packs weights for [`Windows::spread`].
    pub(in crate::nn) fn pack_spread<T: Scalar>(
        (kernel, stride, before): (usize, usize, usize),
        channels: Channels,
        steps: WeightSteps,
        weight: &[T],
        panels: &mut [T],
    ) {
        let Channels { large, small } = channels;
        let shape = Windows::shape(kernel, stride, before);
        if let Some((taps, group)) = spread_taps(kernel, stride, channels) {
            let phases: Vec<(Phase, Phase)> = shape.pairs().collect();
            let len = winograd::weights_len(taps, small, group * large);
            for (phases, packed) in phases.chunks(group).zip(panels.chunks_exact_mut(len)) {
                let at = |phase: usize, ty: usize, tx: usize, row: usize| {
                    let (y, x) = phases[phase];
                    let ky = y.first_tap + stride * (taps - 1 - ty);
                    let kx = x.first_tap + stride * (taps - 1 - tx);
                    ky * steps.ky + kx * steps.kx + row * steps.small
                };
                let packing = Packing {
                    values: weight,
                    taps,
                    cin: small,
                    cout: large,
                    outputs: group,
                    step: steps.large,
                    at,
                    packed,
                };
                packing.run_wide();
            }
            return;
        }
        let mut rest = panels;
        for (y, x) in shape.pairs() {
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
    pub(in crate::nn) fn spread<T: Scalar>(
        &self,
        channels: Channels,
        small: &[T],
        factors: Factors<'_, T>,
        large: &mut [T],
        tape: &mut Tape<T>,
    ) {
        if let Some((taps, group)) = spread_taps(self.kernel, self.stride, channels) {
            let phases: Vec<(Phase, Phase)> = Windows::shape(self.kernel, self.stride, self.before)
                .pairs()
                .collect();
            let len = winograd::weights_len(taps, channels.small, group * channels.large);
            for (phases, panels) in phases.chunks(group).zip(factors.panels.chunks_exact(len)) {
                let factors = Factors { panels, ..factors };
                let maps = (small, &mut *large);
                self.spread_winograd(channels, (phases, taps), maps, factors, tape);
            }
            return;
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

    /// Some phases together: the grid's first position is the first that any of them reads.
    fn spread_winograd<T: Scalar>(
        &self,
        channels: Channels,
        (phases, taps): (&[(Phase, Phase)], usize),
        (small, large): (&[T], &mut [T]),
        factors: Factors<'_, T>,
        tape: &mut Tape<T>,
    ) {
        let rows = self.span(phases.iter().map(|(y, _)| *y), self.h);
        let columns = self.span(phases.iter().map(|(_, x)| *x), self.w);
        let place = |phase: Phase, span: &Range<usize>| {
            self.stride as isize * (span.start as isize - phase.shift as isize) + phase.at as isize
        };
        let view = |(y, x): &(Phase, Phase)| View {
            top: place(*y, &rows),
            left: place(*x, &columns),
            ..self.large_view(channels.large)
        };
        let outputs: Vec<View> = phases.iter().map(view).collect();
        let grid = Grid {
            images: small.len() / (self.oh * self.ow * channels.small),
            rows: rows.len(),
            columns: columns.len(),
            taps,
        };
        // The last tap reads the first of the rows.
        let first = |span: &Range<usize>| span.start as isize - (taps as isize - 1);
        let input = View {
            top: first(&rows),
            left: first(&columns),
            ..self.small_view(channels.small)
        };
        let finish = (factors.bias, factors.relu);
        let (input, output) = ((input, small), (&outputs[..], large));
        Forward::run(grid, input, factors.panels, finish, output, tape);
    }

    /// What the first and the last position of some phases of a side are shifted to.
    fn span(&self, phases: impl Iterator<Item = Phase>, side: usize) -> Range<usize> {
        let ends = phases.map(|p| (p.shift, p.shift + self.positions(p, side)));
        ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            .map_or(0..0, |(start, end)| start..end)
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
