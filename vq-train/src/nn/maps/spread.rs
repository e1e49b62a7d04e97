//! From small maps to large ones: a convolution's gradient with respect to its input.
//!
//! Positions of the large map with equal remainders by the stride are a *phase*. Only those taps reach a phase whose
//! distance fits the stride, so that each phase is an ordinary correlation, with taps of its own:
//!
//! ```text
//! for each phase (y, x):
//!     for each i, j:
//!         large[stride i + y.at, stride j + x.at, :] = bias + sum over t, t' of
//!             small[i + y.shift - t, j + x.shift - t', :] W[y.first_tap + stride t, x.first_tap + stride t', :, :]
//! ```
//! where small counts as zero outside of its map. On either side, at + top_left = stride shift + first_tap with
//! 0 <= first_tap < stride; [`conv2d`](crate::nn::Conv2d) derives it.

use super::padded::{Padded, Padder};
use super::windows::{Channels, Kernel, Windows};
use crate::nn::correlation::{Correlation, Segment};
use crate::nn::panels::{Factors, HALF, Places, Size, pack};
use crate::nn::scalar::Scalar;
use crate::nn::simd::Loop;
use crate::nn::tape::Tape;
use crate::nn::winograd::{self, Forward, Grid, Packing, View, Viewed};
use std::ops::Range;

impl Windows {
    /// Small maps to large ones: what each window would add, summed where windows overlap.
    pub(super) fn spread<T: Scalar>(
        &self,
        small: &[T],
        factors: Factors<'_, T>,
        large: &mut [T],
        tape: &mut Tape<T>,
    ) {
        let phases = self.kernel.phases();
        if let Some(form) = self.kernel.spread_form() {
            let panels = factors.panels.chunks_exact(form.panels_len(&self.kernel));
            for (phases, panels) in phases.chunks(form.phases).zip(panels) {
                let factors = Factors { panels, ..factors };
                self.spread_winograd(phases, form.taps, small, factors, large, tape);
            }
            return;
        }
        let unreached = |side| self.kernel.remainders(side).any(|r| r.taps == 0);
        if unreached(self.h) || unreached(self.w) {
            large.fill(T::zero());
        }
        let mut padder = self.small_padder(tape);
        let pictures = small.chunks_exact(self.small_len());
        for (picture, large) in pictures.zip(large.chunks_exact_mut(self.large_len())) {
            let padded = padder.pad(picture);
            let mut rest = factors.panels;
            for &phase in &phases {
                let len = phase.size(self.kernel.channels).panels_len();
                let (panels, others) = rest.split_at(len);
                rest = others;
                let factors = Factors { panels, ..factors };
                self.spread_phase(phase, &padded, factors, large);
            }
        }
        padder.recycle(tape);
    }

    /// One phase of one picture, by the formula.
    fn spread_phase<T: Scalar>(
        &self,
        Phase { y, x }: Phase,
        small: &Padded<&[T]>,
        factors: Factors<'_, T>,
        large: &mut [T],
    ) {
        let stride = self.kernel.stride;
        let (rows, columns) = (y.positions(self.h, stride), x.positions(self.w, stride));
        if rows == 0 || columns == 0 || factors.panels.is_empty() {
            return;
        }
        // The last tap reads the first of the rows and columns.
        let reach = (small.rows - self.oh) / 2;
        let top = reach + y.shift + 1 - y.taps;
        let left = reach + x.shift + 1 - x.taps;
        let row = small.columns * small.channels;
        let segment = |ty| Segment {
            offset: ty * row,
            len: x.taps * small.channels,
        };
        let segments: Vec<Segment> = (0..y.taps).map(segment).collect();
        let channels = self.kernel.channels.large;
        let product = Correlation {
            map: small.values,
            windows: Places {
                rows,
                columns,
                first: top * row + left * small.channels,
                row,
                column: small.channels,
            },
            segments: &segments,
            factors,
            columns: channels,
            outputs: Places {
                rows,
                columns,
                first: (y.at * self.w + x.at) * channels,
                row: stride * self.w * channels,
                column: stride * channels,
            },
        };
        T::run((&product, large));
    }

    /// Some phases of all pictures together, in Winograd's form: the grid's first position is the first that any of
    /// them reads.
    fn spread_winograd<T: Scalar>(
        &self,
        phases: &[Phase],
        taps: usize,
        small: &[T],
        factors: Factors<'_, T>,
        large: &mut [T],
        tape: &mut Tape<T>,
    ) {
        let stride = self.kernel.stride;
        let rows = span(phases.iter().map(|p| p.y), self.h, stride);
        let columns = span(phases.iter().map(|p| p.x), self.w, stride);
        let place = |r: Remainder, span: &Range<usize>| {
            stride as isize * (span.start as isize - r.shift as isize) + r.at as isize
        };
        let view = |phase: &Phase| View {
            top: place(phase.y, &rows),
            left: place(phase.x, &columns),
            ..self.large_view()
        };
        let outputs: Vec<View> = phases.iter().map(view).collect();
        let grid = Grid {
            images: small.len() / self.small_len(),
            rows: rows.len(),
            columns: columns.len(),
            taps,
        };
        // The last tap reads the first of the rows.
        let first = |span: &Range<usize>| span.start as isize - (taps as isize - 1);
        let view = View {
            top: first(&rows),
            left: first(&columns),
            ..self.small_view()
        };
        let input = Viewed { view, map: small };
        Forward::run(grid, input, factors, &outputs, large, tape);
    }

    /// Pads small maps `[oh, ow, c]` for [`Windows::spread`].
    fn small_padder<T: Scalar>(&self, tape: &mut Tape<T>) -> Padder<T> {
        let reach = self.reach();
        let target = Padded {
            values: (),
            rows: self.oh + 2 * reach,
            columns: self.ow + 2 * reach,
            channels: self.kernel.channels.small,
        };
        Padder::new([self.oh, self.ow], target, reach, tape)
    }

    /// Rows and columns outside of the small map, on each side, that the formula reads.
    fn reach(&self) -> usize {
        let stride = self.kernel.stride;
        let side = |large: usize, small: usize| {
            self.kernel.remainders(large).map(move |r| {
                let above = r.taps.saturating_sub(1 + r.shift);
                let last = r.positions(large, stride) + r.shift;
                above.max(last.saturating_sub(small))
            })
        };
        let sides = side(self.h, self.oh).chain(side(self.w, self.ow));
        sides.max().unwrap_or(0)
    }
}

/// The positions of one remainder by the stride, of a side of the large map.
#[derive(Debug, Clone, Copy)]
struct Remainder {
    /// The remainder.
    at: usize,
    /// The first tap that reaches these positions.
    first_tap: usize,
    /// How many taps do.
    taps: usize,
    /// Position `stride i + at` is reached from i + shift by the first tap.
    shift: usize,
}

impl Remainder {
    /// How many such positions a side has.
    fn positions(self, side: usize, stride: usize) -> usize {
        side.saturating_sub(self.at).div_ceil(stride)
    }
}

/// A remainder of rows and one of columns.
#[derive(Debug, Clone, Copy)]
struct Phase {
    y: Remainder,
    x: Remainder,
}

impl Phase {
    /// The phase's taps as a matrix.
    fn size(&self, channels: Channels) -> Size {
        Size {
            rows: self.y.taps * self.x.taps * channels.small,
            columns: channels.large,
        }
    }
}

/// From where on, and how far, some remainders of a side read the small map with their first taps.
fn span(remainders: impl Iterator<Item = Remainder>, side: usize, stride: usize) -> Range<usize> {
    let spans = remainders.map(|r| r.shift..r.shift + r.positions(side, stride));
    spans
        .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
        .unwrap_or(0..0)
}

/// How phases are computed in Winograd's form.
#[derive(Debug, Clone, Copy)]
struct SpreadForm {
    /// Taps of each phase, each way.
    taps: usize,
    /// How many phases are one product.
    phases: usize,
}

impl SpreadForm {
    /// Length of the panels of one product.
    fn panels_len(&self, kernel: &Kernel) -> usize {
        let Channels { large, small } = kernel.channels;
        winograd::weights_len(self.taps, small, self.phases * large)
    }
}

impl Kernel {
    /// The remainders of a side of the large map.
    fn remainders(&self, side: usize) -> impl Iterator<Item = Remainder> + use<> {
        let Kernel {
            side: kernel,
            stride,
            top_left,
            ..
        } = *self;
        (0..stride.min(side)).map(move |at| {
            let first_tap = (at + top_left) % stride;
            Remainder {
                at,
                first_tap,
                taps: kernel.saturating_sub(first_tap).div_ceil(stride),
                shift: (at + top_left) / stride,
            }
        })
    }

    /// All phases, row by row.
    fn phases(&self) -> Vec<Phase> {
        let rows = self.remainders(self.stride);
        rows.flat_map(|y| self.remainders(self.stride).map(move |x| Phase { y, x }))
            .collect()
    }

    /// Winograd's form, if it applies: each phase on its own, since so tiles fit the map better, but for phases
    /// that share the narrowest of panels.
    fn spread_form(&self) -> Option<SpreadForm> {
        let phases = self.stride * self.stride;
        if phases > 1 && phases * self.channels.large <= HALF {
            let taps = self.winograd_taps_of_few();
            return taps.map(|taps| SpreadForm { taps, phases });
        }
        let taps = self.winograd_taps();
        taps.map(|taps| SpreadForm { taps, phases: 1 })
    }

    /// Length of the panels for [`Windows::spread`], phase by phase.
    pub(super) fn spread_len(&self) -> usize {
        if let Some(form) = self.spread_form() {
            let products = self.stride * self.stride / form.phases;
            return products * form.panels_len(self);
        }
        let sizes = self.phases().into_iter();
        sizes
            .map(|phase| phase.size(self.channels).panels_len())
            .sum()
    }

    /// Packs weights for [`Windows::spread`].
    pub(super) fn pack_spread<T: Scalar>(&self, weight: &[T], panels: &mut [T]) {
        let phases = self.phases();
        if let Some(form) = self.spread_form() {
            let panels = panels.chunks_exact_mut(form.panels_len(self));
            for (phases, panels) in phases.chunks(form.phases).zip(panels) {
                self.pack_winograd(phases, form.taps, weight, panels);
            }
            return;
        }
        let mut rest = panels;
        for phase in phases {
            let size = phase.size(self.channels);
            let (panels, others) = rest.split_at_mut(size.panels_len());
            rest = others;
            self.pack_phase(phase, weight, panels);
        }
    }

    /// The taps of some phases, from the last to the first, so that they run with the small map's columns.
    fn pack_winograd<T: Scalar>(
        &self,
        phases: &[Phase],
        taps: usize,
        weight: &[T],
        panels: &mut [T],
    ) {
        let (stride, steps) = (self.stride, self.steps);
        let at = |phase: usize, ty: usize, tx: usize, row: usize| {
            let Phase { y, x } = phases[phase];
            let ky = y.first_tap + stride * (taps - 1 - ty);
            let kx = x.first_tap + stride * (taps - 1 - tx);
            ky * steps.ky + kx * steps.kx + row * steps.small
        };
        let packing = Packing {
            values: weight,
            taps,
            in_channels: self.channels.small,
            out_channels: self.channels.large,
            outputs: phases.len(),
            step: steps.large,
            at,
            packed: panels,
        };
        packing.run_wide();
    }

    /// The taps of one phase, from the last to the first, so that they run with the small map's columns.
    fn pack_phase<T: Scalar>(&self, Phase { y, x }: Phase, weight: &[T], panels: &mut [T]) {
        let (stride, steps, small) = (self.stride, self.steps, self.channels.small);
        let place = |row: usize| {
            let (tap, channel) = (row / small, row % small);
            let (ty, tx) = (y.taps - 1 - tap / x.taps, x.taps - 1 - tap % x.taps);
            let (ky, kx) = (y.first_tap + stride * ty, x.first_tap + stride * tx);
            ky * steps.ky + kx * steps.kx + channel * steps.small
        };
        let size = Phase { y, x }.size(self.channels);
        pack(weight, size, steps.large, place, panels);
    }
}
