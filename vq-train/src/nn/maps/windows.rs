//! Windows on a large map, and their positions on a small one.

use super::padded::{Padded, Padder};
use crate::nn::panels::Places;
use crate::nn::scalar::Scalar;
use crate::nn::tape::Tape;
use crate::nn::winograd::{Grid, View};

/// A kernel that slides over a large map, and how its weights lie.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct Kernel {
    /// Side of the square of taps.
    pub(in crate::nn) side: usize,
    /// Step between windows.
    pub(in crate::nn) stride: usize,
    /// Rows and columns of the first window that lie above and to the left of the large map.
    pub(in crate::nn) top_left: usize,
    pub(in crate::nn) channels: Channels,
    pub(in crate::nn) steps: WeightSteps,
}

/// Channels of the large map and of the small one.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct Channels {
    pub(in crate::nn) large: usize,
    pub(in crate::nn) small: usize,
}

/// How a weight lies in memory: distances between neighbours in ky, kx, channel of the large map, and
/// channel of the small map.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct WeightSteps {
    pub(in crate::nn) ky: usize,
    pub(in crate::nn) kx: usize,
    pub(in crate::nn) large: usize,
    pub(in crate::nn) small: usize,
}

/// A kernel's windows on a large map of `h x w`, `oh x ow` of them.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct Windows {
    pub(in crate::nn) kernel: Kernel,
    pub(in crate::nn) h: usize,
    pub(in crate::nn) w: usize,
    pub(in crate::nn) oh: usize,
    pub(in crate::nn) ow: usize,
}

/// Channels from which on Winograd's form is faster: below, its transforms take longer than what they save.
const WINOGRAD_CHANNELS: usize = 16;

impl Channels {
    /// Whether Winograd's transforms take less time than what they save.
    fn pay(self) -> bool {
        self.large.min(self.small) >= WINOGRAD_CHANNELS
    }
}

impl Kernel {
    /// Taps of each phase, each way, where Winograd's form applies: see [`Windows::gather`].
    pub(super) fn winograd_taps(&self) -> Option<usize> {
        self.taps_of_phases().filter(|_| self.channels.pay())
    }

    /// [`Kernel::winograd_taps`] for as many channels of the large map as pay.
    pub(super) fn winograd_taps_of_few(&self) -> Option<usize> {
        let large = WINOGRAD_CHANNELS;
        let channels = Channels {
            large,
            ..self.channels
        };
        self.taps_of_phases().filter(|_| channels.pay())
    }

    /// Taps of each phase, each way, where all phases have 2x2 or 3x3.
    fn taps_of_phases(&self) -> Option<usize> {
        let taps = self.side / self.stride;
        let fits = self.side.is_multiple_of(self.stride) && (2..=3).contains(&taps);
        fits.then_some(taps)
    }
}

impl Windows {
    /// Pads large maps `[h, w, c]` for [`Windows::gather`] and [`Windows::add_weight_grad`].
    pub(super) fn large_padder<T: Scalar>(&self, tape: &mut Tape<T>) -> Padder<T> {
        let Kernel {
            side,
            stride,
            top_left,
            ..
        } = self.kernel;
        let needed = |windows: usize, n: usize| ((windows - 1) * stride + side).max(top_left + n);
        let target = Padded {
            values: (),
            rows: needed(self.oh, self.h),
            columns: needed(self.ow, self.w),
            channels: self.kernel.channels.large,
        };
        Padder::new([self.h, self.w], target, top_left, tape)
    }

    /// Values of one large map.
    pub(super) fn large_len(&self) -> usize {
        self.h * self.w * self.kernel.channels.large
    }

    /// Values of one small map.
    pub(super) fn small_len(&self) -> usize {
        self.oh * self.ow * self.kernel.channels.small
    }

    /// Where the windows begin on a padded large map.
    pub(super) fn places<V>(&self, large: &Padded<V>) -> Places {
        Places {
            rows: self.oh,
            columns: self.ow,
            first: 0,
            row: self.kernel.stride * large.columns * large.channels,
            column: self.kernel.stride * large.channels,
        }
    }

    /// Where the windows' positions lie on a small map.
    pub(super) fn small_places(&self) -> Places {
        let channels = self.kernel.channels.small;
        Places {
            rows: self.oh,
            columns: self.ow,
            first: 0,
            row: self.ow * channels,
            column: channels,
        }
    }

    /// The positions of small maps, of so many values in all, as windows of the large ones.
    pub(super) fn small_grid(&self, len: usize, taps: usize) -> Grid {
        Grid {
            images: len / self.small_len(),
            rows: self.oh,
            columns: self.ow,
            taps,
        }
    }

    /// The large maps as Winograd's form reads or writes them.
    pub(super) fn large_view(&self) -> View {
        let top_left = -(self.kernel.top_left as isize);
        View {
            rows: self.h,
            columns: self.w,
            channels: self.kernel.channels.large,
            step: self.kernel.stride,
            top: top_left,
            left: top_left,
        }
    }

    /// The small maps as Winograd's form reads or writes them.
    pub(super) fn small_view(&self) -> View {
        View {
            rows: self.oh,
            columns: self.ow,
            channels: self.kernel.channels.small,
            step: 1,
            top: 0,
            left: 0,
        }
    }
}
