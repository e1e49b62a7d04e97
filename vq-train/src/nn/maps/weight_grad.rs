//! The gradient with respect to the weights: large maps' windows by small maps' positions.

use super::padding::Padded;
use super::{Channels, WeightSteps, Windows, winograd_taps};
use crate::nn::outer::Outer;
use crate::nn::simd::Loop;
use crate::nn::winograd::{Gradient, Unpacking};
use crate::nn::{Scalar, Tape};

impl Windows {
    /// Adds the weights' gradient: large maps' windows by small maps' positions.
    pub(in crate::nn) fn add_weight_grad<T: Scalar>(
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
}
