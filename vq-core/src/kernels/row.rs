//! Rows as kernels see them: what goes in, and the numbers of what is done with it.

use crate::element::{AddScale, Arithmetic, Output};
use crate::shape::Kernel;
use crate::slices::Parts;
use crate::tensor::Params;

/// The kernel of each of the four phases of an upsampled map.
pub(crate) const PHASE: Kernel = Kernel {
    height: 2,
    width: 2,
};

/// What packed filters are aligned to, in bytes: a cache line of most processors.
pub(crate) const ALIGN: usize = 64;

/// What a row of a convolution looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvShape {
    /// Points of a window.
    pub(crate) kernel: Kernel,
    /// Columns from a window to the next.
    pub(crate) stride: u8,
    /// Channels of the input.
    pub(crate) in_channels: u16,
    /// Channels of the output.
    pub(crate) channels: usize,
    /// Points of the output.
    pub(crate) width: u32,
    /// Whether the channels are those of the four 2x2 phases of an upsampled map, in turn, each in its corner of a
    /// kernel of 3x3.
    pub(crate) phases: bool,
}

impl ConvShape {
    /// The kernel that a channel has weights for.
    pub(crate) fn own_kernel(&self) -> Kernel {
        if self.phases { PHASE } else { self.kernel }
    }

    /// Where in the kernel a channel's own lies: row and column.
    pub(crate) fn corner(&self, channel: usize) -> (usize, usize) {
        if !self.phases {
            return (0, 0);
        }
        let phase = channel / (self.channels / 4).max(1);
        (phase / 2, phase % 2)
    }

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

/// A convolution's numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter<'a, E: Arithmetic> {
    /// What its rows look like.
    pub(crate) shape: ConvShape,
    /// Weights \[channels\]\[height\]\[width\]\[input's channels\] of [`ConvShape::own_kernel`].
    pub(crate) weights: &'a [E::Stored],
    /// Parameters of the channels.
    pub(crate) params: Params<'a>,
    /// How results are stored.
    pub(crate) output: Output,
}

impl<'a, E: Arithmetic> Filter<'a, E> {
    /// A channel's weights.
    pub(crate) fn channel(&self, channel: usize) -> &'a [E::Stored] {
        let len = self.weights.len() / self.shape.channels.max(1);
        self.weights.part(channel * len, len)
    }

    /// A channel's weights in one row of the kernel, and how many zeros stand before them. Behind them there are zeros
    /// to the end of the run.
    pub(crate) fn row(&self, channel: usize, kh: usize) -> (usize, &'a [E::Stored]) {
        let weights = self.channel(channel);
        if !self.shape.phases {
            let run = self.shape.run();
            return (0, weights.part(kh * run, run));
        }
        let (py, px) = self.shape.corner(channel);
        let in_channels = usize::from(self.shape.in_channels);
        let run = usize::from(PHASE.width) * in_channels;
        match kh.checked_sub(py) {
            Some(row) if row < PHASE.height.into() => {
                (px * in_channels, weights.part(row * run, run))
            }
            _ => (0, &[]),
        }
    }
}

/// One row of a convolution: point x of the output is made of the elements
/// `rows[..][x * step..][..run]`, which lie behind each other as the weights do.
///
/// [`Kernels::im2col`](super::table::Kernels::im2col) tells whether columns of padding may be missing, and whether a ReLU
/// may be fused into the input.
#[derive(Debug)]
pub(crate) struct ConvRow<'a, E: Arithmetic> {
    /// What makes it.
    pub(crate) filter: Filter<'a, E>,
    /// What [`Kernels::pack`](super::table::Kernels::pack) has made of the filter.
    pub(crate) packed: &'a [E],
    /// The rows under the kernel, from the first window's first element on.
    pub(crate) rows: &'a [&'a [E]],
    /// Columns of padding that are missing in front of each row; those behind it are as many as the windows reach beyond it.
    pub(crate) left: usize,
    /// What padding consists of.
    pub(crate) zero: E,
    /// Whether elements count as at least `zero`.
    pub(crate) cut: bool,
    /// Elements from a point of the output to the next, at least the channels.
    pub(crate) out_step: usize,
}

/// One row of an addition: what is added to the first summand, whose place the sum takes.
#[derive(Debug)]
pub(crate) struct AddRow<'a, E> {
    /// The second summand.
    pub(crate) b: &'a [E],
    /// Zero points and factors.
    pub(crate) scale: AddScale,
}

/// Channels to pixels, as far as one row of pixels is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PixelRow {
    /// Pixels of a point, along each side.
    pub(crate) factor: usize,
    /// Channels of a pixel.
    pub(crate) channels: usize,
    /// Which of a point's rows of pixels.
    pub(crate) fy: usize,
}

impl PixelRow {
    /// Elements of a point.
    pub(crate) fn point(self) -> usize {
        self.channels * self.factor * self.factor
    }

    /// Elements that a point has in the row.
    pub(crate) fn pixels(self) -> usize {
        self.channels * self.factor
    }

    /// Which of a point's elements comes to stand at `i` of its pixels.
    #[cfg(any(target_arch = "x86_64", test, feature = "check-kernels"))]
    pub(crate) fn source(self, i: usize) -> usize {
        let channels = self.channels.max(1);
        let (fx, c) = (i / channels, i % channels);
        (c * self.factor + self.fy) * self.factor + fx
    }
}

/// All rows of a map, each in a slot of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MapRows<'a, E> {
    /// The slots, one behind the other.
    pub(crate) slots: &'a [E],
    /// Elements from a slot to the next.
    pub(crate) slot_len: usize,
    /// The slot of the map's first row; that of the next row is the next one, behind the last the first.
    pub(crate) first: usize,
    /// Elements of padding in front of a row.
    pub(crate) left: usize,
    /// Elements of a row: width * channels.
    pub(crate) row_len: usize,
    /// Rows of the map.
    pub(crate) height: usize,
    /// Channels of a point.
    pub(crate) channels: usize,
}

impl<'a, E> MapRows<'a, E> {
    /// The rows from above to below, w * c elements each.
    pub(crate) fn rows(self) -> impl Iterator<Item = &'a [E]> + Clone
    where
        E: Copy,
    {
        let count = self.slots.len() / self.slot_len.max(1);
        (self.first..self.first + self.height).map(move |slot| {
            let start = slot % count.max(1) * self.slot_len;
            self.slots.part(start + self.left, self.row_len)
        })
    }

    /// The points in the order of rows, c elements each.
    pub(crate) fn points(self) -> impl Iterator<Item = &'a [E]> + Clone
    where
        E: Copy,
    {
        self.rows()
            .flat_map(move |row| row.chunks_exact(self.channels.max(1)))
    }
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
    pub(crate) keys: MapRows<'a, E>,
    /// The whole map of values.
    pub(crate) values: MapRows<'a, E>,
}
