//! From large maps to small ones: a convolution's forward pass.
//!
//! ```text
//! small[i, j, :] = bias + sum over ky, kx of large[stride i + ky - top_left, stride j + kx - top_left, :] W[ky, kx, :, :]
//! ```

use super::padded::Padded;
use super::windows::{Channels, Kernel, Windows};
use crate::nn::correlation::{Correlation, Segment};
use crate::nn::panels::{Factors, Size, pack};
use crate::nn::scalar::Scalar;
use crate::nn::simd::Loop;
use crate::nn::tape::Tape;
use crate::nn::winograd::{self, Forward, Packing, Viewed};

impl Kernel {
    /// W as a matrix whose rows are a window's values.
    fn gather_size(&self) -> Size {
        Size {
            rows: self.side * self.side * self.channels.large,
            columns: self.channels.small,
        }
    }

    /// Length of the panels for [`Windows::gather`].
    pub(super) fn gather_len(&self) -> usize {
        let Channels { large, small } = self.channels;
        match self.winograd_taps() {
            Some(taps) => winograd::weights_len(taps, self.stride * self.stride * large, small),
            None => self.gather_size().panels_len(),
        }
    }

    /// Packs weights for [`Windows::gather`].
    pub(super) fn pack_gather<T: Scalar>(&self, weight: &[T], panels: &mut [T]) {
        let (stride, steps) = (self.stride, self.steps);
        let Channels { large, small } = self.channels;
        if let Some(taps) = self.winograd_taps() {
            let at = |_: usize, ty: usize, tx: usize, row: usize| {
                let (phase, channel) = (row / large, row % large);
                let ky = stride * ty + phase / stride;
                let kx = stride * tx + phase % stride;
                ky * steps.ky + kx * steps.kx + channel * steps.large
            };
            let packing = Packing {
                values: weight,
                taps,
                in_channels: stride * stride * large,
                out_channels: small,
                outputs: 1,
                step: steps.small,
                at,
                packed: panels,
            };
            return packing.run_wide();
        }
        let place = |row: usize| {
            let (tap, channel) = (row / large, row % large);
            let (ky, kx) = (tap / self.side, tap % self.side);
            ky * steps.ky + kx * steps.kx + channel * steps.large
        };
        pack(weight, self.gather_size(), steps.small, place, panels);
    }
}

impl Windows {
    /// Large maps to small ones: each window times the weights.
    pub(super) fn gather<T: Scalar>(
        &self,
        large: &[T],
        factors: Factors<'_, T>,
        small: &mut [T],
        tape: &mut Tape<T>,
    ) {
        if let Some(taps) = self.kernel.winograd_taps() {
            let grid = self.small_grid(small.len(), taps);
            let input = Viewed {
                view: self.large_view(),
                map: large,
            };
            return Forward::run(grid, input, factors, &[self.small_view()], small, tape);
        }
        let mut padder = self.large_padder(tape);
        let pictures = large.chunks_exact(self.large_len());
        for (picture, small) in pictures.zip(small.chunks_exact_mut(self.small_len())) {
            self.gather_one(&padder.pad(picture), factors, small);
        }
        padder.recycle(tape);
    }

    fn gather_one<T: Scalar>(
        &self,
        large: &Padded<&[T]>,
        factors: Factors<'_, T>,
        small: &mut [T],
    ) {
        let segment = |ky| Segment {
            offset: ky * large.columns * large.channels,
            len: self.kernel.side * large.channels,
        };
        let segments: Vec<Segment> = (0..self.kernel.side).map(segment).collect();
        let product = Correlation {
            map: large.values,
            windows: self.places(large),
            segments: &segments,
            factors,
            columns: self.kernel.channels.small,
            outputs: self.small_places(),
        };
        T::run((&product, small));
    }
}
