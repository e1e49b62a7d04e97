//! Geometry that convolutions and transposed ones share: windows on a padded map, one way and back.
//!
//! A large map `[h, w, c]` is seen through a grid of windows, `stride` apart; the small map has one
//! position per window. A convolution's forward pass goes from large to small ([`Windows::gather`]),
//! its backward pass from small to large ([`Windows::spread`]); in a transposed convolution it is the
//! other way round.
//!
//! Kernels of 2x2 or 3x3 strides take fewer multiplications in Winograd's form, all pictures of a chunk at
//! once; the others are correlated picture by picture, where they lie.

mod gather;
mod padding;
mod spread;
mod weight_grad;

use super::panels::Places;
use super::winograd::{Grid, View};
use super::{Scalar, Tape};
use padding::{Padded, Padding};

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
const WINOGRAD_CHANNELS: usize = 16;

/// Taps of each phase, each way, where Winograd's form applies.
fn winograd_taps(kernel: usize, stride: usize, channels: Channels) -> Option<usize> {
    let taps = kernel / stride;
    let fits = kernel.is_multiple_of(stride) && (2..=3).contains(&taps);
    let pays = channels.large.min(channels.small) >= WINOGRAD_CHANNELS;
    (fits && pays).then_some(taps)
}

impl Windows {
    /// Pads large maps `[h, w, c]` for [`Windows::gather`] and [`Windows::add_weight_grad`].
    fn large_padding<T: Scalar>(&self, channels: usize, tape: &mut Tape<T>) -> Padding<T> {
        let needed =
            |n: usize, side: usize| ((n - 1) * self.stride + self.kernel).max(self.before + side);
        let size = (needed(self.oh, self.h), needed(self.ow, self.w));
        Padding::new((self.h, self.w), size, self.before, channels, tape)
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
}
