//! From large maps to small ones: a convolution's forward pass.

use super::padding::Padded;
use super::{Channels, Factors, WeightSteps, Windows, winograd_taps};
use crate::nn::correlation::{Correlation, Segment};
use crate::nn::panels::{pack, panels_len};
use crate::nn::simd::Loop;
use crate::nn::winograd::{self, Forward, Packing};
use crate::nn::{Scalar, Tape};

impl Windows {
    /// Length of the panels for [`Windows::gather`].
    pub(in crate::nn) fn gather_panels(kernel: usize, stride: usize, channels: Channels) -> usize {
        let Channels { large, small } = channels;
        match winograd_taps(kernel, stride, channels) {
            Some(taps) => winograd::weights_len(taps, stride * stride * large, small),
            None => panels_len(kernel * kernel * large, small),
        }
    }

    /// Packs weights for [`Windows::gather`].
    pub(in crate::nn) fn pack_gather<T: Scalar>(
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
                outputs: 1,
                step: steps.small,
                at: |_, ty, tx, row| at(ty, tx, row),
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
    pub(in crate::nn) fn gather<T: Scalar>(
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
            let output = (&[self.small_view(channels.small)][..], small);
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
}
