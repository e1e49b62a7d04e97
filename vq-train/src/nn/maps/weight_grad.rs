//! The gradient with respect to the weights: large maps' windows by small maps' positions.

use super::padded::Padded;
use super::windows::{Channels, Windows};
use crate::nn::outer::Outer;
use crate::nn::scalar::Scalar;
use crate::nn::simd::Loop;
use crate::nn::tape::Tape;
use crate::nn::winograd::{Gradient, Unpacking, Viewed};

impl Windows {
    /// Adds the weights' gradient: large maps' windows by small maps' positions.
    pub(in crate::nn) fn add_weight_grad<T: Scalar>(
        &self,
        large: &[T],
        small: &[T],
        grad: &mut [T],
        tape: &mut Tape<T>,
    ) {
        if let Some(taps) = self.kernel.winograd_taps() {
            let grid = self.small_grid(small.len(), taps);
            let input = Viewed {
                view: self.large_view(),
                map: large,
            };
            let output = Viewed {
                view: self.small_view(),
                map: small,
            };
            // The channels that follow each other in the gradient follow each other in the sums.
            let turned = self.kernel.steps.small != 1;
            let sums = Gradient::run(grid, input, output, turned, tape);
            self.add_winograd_grad(taps, &sums, grad);
            return tape.recycle_buffer(sums);
        }
        let mut padder = self.large_padder(tape);
        let pictures = large.chunks_exact(self.large_len());
        for (picture, small) in pictures.zip(small.chunks_exact(self.small_len())) {
            self.add_weight_grad_one(&padder.pad(picture), small, grad);
        }
        padder.recycle(tape);
    }

    fn add_winograd_grad<T: Scalar>(&self, taps: usize, sums: &[T], grad: &mut [T]) {
        let (stride, steps) = (self.kernel.stride, self.kernel.steps);
        let Channels { large, small } = self.kernel.channels;
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
    fn add_weight_grad_one<T: Scalar>(&self, large: &Padded<&[T]>, small: &[T], grad: &mut [T]) {
        let steps = self.kernel.steps;
        let channels = self.kernel.channels.small;
        let small_places = self.small_places();
        for ky in 0..self.kernel.side {
            let mut windows = self.places(large);
            windows.first = ky * large.columns * large.channels;
            let run = self.kernel.side * large.channels;
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
