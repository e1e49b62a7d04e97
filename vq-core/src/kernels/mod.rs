//! The inner loops, behind one table of row functions. What rows mean is not known here.
//!
//! `scalar` is the readable reference, always built; any other backend must give the same numbers.

mod arm;
mod columns;
mod scalar;
mod whole_map;

use crate::backend::Backend;
use crate::element::{AddScale, Arithmetic, Element, Output, Real};
use crate::format::{Kernel, Params};
use crate::rows::Rows;
use core::fmt;

/// The row functions of one backend.
pub struct Kernels<E: Arithmetic> {
    /// Elements of room that [`Self::conv_row`] works in.
    pub(crate) conv_room: fn(&ConvShape) -> usize,
    /// Convolves one row; the first of the slices is the room.
    pub(crate) conv_row: fn(&ConvRow<'_, E>, &mut [E], &mut [E]),
    /// Adds two rows.
    pub(crate) add_row: fn(&AddRow<'_, E>, &mut [E]),
    /// Cuts a row off at zero.
    pub(crate) relu_row: fn(&[E], E, &mut [E]),
    /// Bends a row.
    pub(crate) activation_row: for<'c> fn(&[E], E::Curve<'c>, &mut [E]),
    /// Index of the table's entry nearest to a vector; the lowest of equals.
    pub(crate) nearest: fn(&[E], &[E::Stored]) -> usize,
    /// What sees the whole map; not in integers.
    pub(crate) whole_map: Option<WholeMap<E>>,
}

impl<E: Arithmetic> fmt::Debug for Kernels<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kernels")
    }
}

/// The functions of operators that see the whole map.
pub(crate) struct WholeMap<E> {
    /// Statistics of a map's groups.
    pub(crate) measure: fn(Rows<'_, E>, &Norm<'_>, &mut [E]),
    /// Normalises one row by the statistics.
    pub(crate) norm_row: fn(&[E], &Norm<'_>, &[E], &mut [E]),
    /// Attends from one row; the elements between are room for scores.
    pub(crate) attention_row: fn(&Attend<'_, E>, &mut [E], &mut [E]),
}

impl<E: Element> Kernels<E> {
    /// The reference.
    pub(crate) const SCALAR: Self = Self {
        conv_room: |_| 0,
        conv_row: scalar::conv_row,
        add_row: scalar::add_row,
        relu_row: scalar::relu_row,
        activation_row: scalar::activation_row,
        nearest: scalar::nearest,
        whole_map: None,
    };
}

impl<E: Element> Kernels<E> {
    /// Convolves one row.
    pub(crate) fn convolve(&self, row: &ConvRow<'_, E>, room: &mut [E], out: &mut [E]) {
        (self.conv_row)(row, room, out);
        #[cfg(feature = "check-kernels")]
        for (x, point) in out.chunks(row.out_step).enumerate() {
            for (channel, &found) in point[..row.channels].iter().enumerate() {
                let expected = row.element(x, channel);
                assert!(found == expected, "point {x}, channel {channel} of {row:?}");
            }
        }
    }
}

impl Kernels<i8> {
    /// Those of a backend. A device has only its own: the others would lie in its flash for nothing.
    pub(crate) const fn of(backend: Backend) -> &'static Self {
        let own = if cfg!(target_os = "none") {
            Backend::best()
        } else {
            backend
        };
        match own {
            Backend::Scalar => &Self::SCALAR,
            Backend::Thumb2 => &arm::PLAIN,
            Backend::Thumb2Dsp => &arm::DSP,
            Backend::Helium => &arm::HELIUM,
        }
    }
}

impl<R: Real> Kernels<R> {
    /// The reference with what only floats have.
    pub(crate) const SCALAR_FLOAT: Self = Self {
        whole_map: Some(WholeMap {
            measure: whole_map::measure,
            norm_row: whole_map::norm_row,
            attention_row: whole_map::attention_row,
        }),
        ..Self::SCALAR
    };
}

/// What a row of a convolution looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvShape {
    /// Points of a window.
    pub(crate) kernel: Kernel,
    /// Columns from a window to the next.
    pub(crate) stride: u8,
    /// Channels of the input.
    pub(crate) in_channels: u16,
    /// Points of the output.
    pub(crate) width: u32,
}

impl ConvShape {
    /// Elements of a window in one row.
    pub(crate) fn run(&self) -> usize {
        usize::from(self.kernel.width) * usize::from(self.in_channels)
    }

    /// Elements from a window to the next in one row.
    pub(crate) fn step(&self) -> usize {
        usize::from(self.stride) * usize::from(self.in_channels)
    }

    /// Columns under all windows.
    pub(crate) fn columns(&self) -> usize {
        self.width.saturating_sub(1) as usize * usize::from(self.stride)
            + usize::from(self.kernel.width)
    }
}

/// One row of a convolution: point x of the output is made of the elements
/// `rows[..][x * step..][..run]`, which lie behind each other as the weights do.
#[derive(Debug)]
pub(crate) struct ConvRow<'a, E: Arithmetic> {
    /// What it looks like.
    pub(crate) shape: ConvShape,
    /// The rows under the kernel, from the first window's first element on.
    pub(crate) rows: &'a [&'a [E]],
    /// Weights \[channels\]\[rows\]\[run\].
    pub(crate) weights: &'a [E::Stored],
    /// Parameters of `channels` channels.
    pub(crate) params: Params<'a>,
    /// Channels of the output.
    pub(crate) channels: usize,
    /// Elements from a point of the output to the next, at least `channels`.
    pub(crate) out_step: usize,
    /// How results are stored.
    pub(crate) output: Output,
}

/// One row of an addition.
#[derive(Debug)]
pub(crate) struct AddRow<'a, E> {
    /// The one summand.
    pub(crate) a: &'a [E],
    /// The other summand.
    pub(crate) b: &'a [E],
    /// Zero points and factors.
    pub(crate) scale: AddScale,
}

/// A group normalisation.
#[derive(Debug)]
pub(crate) struct Norm<'a> {
    /// Groups of channels.
    pub(crate) groups: usize,
    /// Added to the variance.
    pub(crate) eps: f32,
    /// Whether SiLU follows.
    pub(crate) silu: bool,
    /// f32\[channels\], little-endian.
    pub(crate) gain: &'a [u8],
    /// f32\[channels\], little-endian.
    pub(crate) bias: &'a [u8],
}

/// Attention from the points of one row to all points of a map.
#[derive(Debug)]
pub(crate) struct Attend<'a, E> {
    /// Heads; divides the channels of keys and values.
    pub(crate) heads: usize,
    /// A row of queries, of as many channels as the keys.
    pub(crate) queries: &'a [E],
    /// The whole map of keys.
    pub(crate) keys: Rows<'a, E>,
    /// The whole map of values.
    pub(crate) values: Rows<'a, E>,
}
