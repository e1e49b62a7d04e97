//! The inner loops, behind one table of row functions. What rows mean is not known here.
//!
//! `scalar` is the readable reference, always built; any other backend must give the same numbers.

mod arm;
mod backend;
mod cpu;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
pub(crate) mod nearest;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
mod tiles;
mod whole_map;
mod add_i32;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::element::{AddScale, Arithmetic, Element, Output, Real};
use crate::shape::Kernel;
use crate::slices::Parts;
use crate::tensor::Params;
pub use backend::Backend;
use core::fmt;
use half::f16;
use nearest::NearestCodes;

/// The kernel of each of the four phases of an upsampled map.
pub(crate) const PHASE: Kernel = Kernel {
    height: 2,
    width: 2,
};

/// What packed filters are aligned to, in bytes: a cache line of most processors.
pub(crate) const ALIGN: usize = 64;

/// Whether kernels of other processors are built, as plain loops that do the same in the same order. Where they are not, a
/// foreign backend tells how much memory it wants, and its rows are computed by the reference. A bare-metal target has only
/// kernels of its own.
pub(crate) const EMULATED: bool = cfg!(any(feature = "emulate", target_os = "none"));

/// Convolves one row: the row, the workspace, and where the results go.
pub(crate) type ConvolveRow<E> = fn(&ConvRow<'_, E>, &mut [E], &mut [E]);

/// The row functions of one backend.
pub struct Kernels<E: Arithmetic> {
    /// Output channels of a vector; the last vector may be partly unused.
    pub(crate) lanes: usize,
    /// Whether [`Self::conv_row`] copies its input rows (im2col), and so can pad them at the sides and apply a fused ReLU.
    pub(crate) im2col: bool,
    /// Elements of workspace that [`Self::conv_row`] wants.
    pub(crate) conv_workspace: fn(&ConvShape) -> usize,
    /// Elements that [`Self::pack`] fills: a multiple of [`ALIGN`] bytes.
    pub(crate) packed_len: fn(&ConvShape) -> usize,
    /// Lays out a filter as [`Self::conv_row`] wants it; the elements start at a multiple of [`ALIGN`] bytes.
    pub(crate) pack: fn(&Filter<'_, E>, &mut [E]),
    /// Convolves one row.
    pub(crate) conv_row: ConvolveRow<E>,
    /// Adds a row to the one in the slice.
    pub(crate) add_row: fn(&AddRow<'_, E>, &mut [E]),
    /// Applies ReLU to a row.
    pub(crate) relu_row: fn(&[E], E, &mut [E]),
    /// Applies an activation to a row.
    pub(crate) activation_row: for<'c> fn(&[E], E::Curve<'c>, &mut [E]),
    /// Moves the channels of a row's points over one row of an upsampled map.
    pub(crate) depth_to_space_row: fn(&[E], PixelRow, &mut [E]),
    /// Finds the entries of a codebook nearest to vectors.
    pub(crate) nearest: NearestCodes<E>,
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
    pub(crate) measure: fn(MapRows<'_, E>, &Norm<'_>, &mut [E]),
    /// Normalises one row by the statistics.
    pub(crate) norm_row: fn(&[E], &Norm<'_>, &[E], &mut [E]),
    /// Attends from one row; the elements between are the workspace, for scores.
    pub(crate) attention_row: fn(&Attend<'_, E>, &mut [E], &mut [E]),
}

impl<E: Element> Kernels<E> {
    /// The reference.
    pub(crate) const SCALAR: Self = Self {
        lanes: 1,
        im2col: false,
        conv_workspace: |_| 0,
        packed_len: |_| 0,
        pack: |_, _| {},
        conv_row: scalar::conv_row,
        add_row: scalar::add_row,
        relu_row: scalar::relu_row,
        activation_row: scalar::activation_row,
        depth_to_space_row: scalar::depth_to_space_row,
        nearest: NearestCodes::SCALAR,
        whole_map: None,
    };
}

impl<E: Element> Kernels<E> {
    /// Convolves one row.
    pub(crate) fn convolve(&self, row: &ConvRow<'_, E>, workspace: &mut [E], out: &mut [E]) {
        (self.conv_row)(row, workspace, out);
        #[cfg(feature = "check-kernels")]
        for (x, point) in out.chunks(row.out_step).enumerate() {
            for (channel, &found) in point[..row.filter.shape.channels].iter().enumerate() {
                let expected = row.element(x, channel);
                assert!(found == expected, "point {x}, channel {channel} of {row:?}");
            }
        }
    }

    /// Applies ReLU to a row.
    pub(crate) fn relu(&self, x: &[E], zero: E, out: &mut [E]) {
        (self.relu_row)(x, zero, out);
        #[cfg(feature = "check-kernels")]
        for (i, (&found, x)) in out.iter().zip(x).enumerate() {
            assert!(found == x.at_least(zero), "element {i} of {x:?}");
        }
    }

    /// Moves the channels of a row's points over one row of an upsampled map.
    pub(crate) fn depth_to_space(&self, points: &[E], shape: PixelRow, out: &mut [E]) {
        (self.depth_to_space_row)(points, shape, out);
        #[cfg(feature = "check-kernels")]
        for (i, &found) in out.iter().enumerate() {
            let (point, i) = (i / shape.pixels(), i % shape.pixels());
            let expected = points[point * shape.point() + shape.source(i)];
            assert!(found == expected, "element {i} of point {point}: {shape:?}");
        }
    }
}

/// An element type for which every backend has kernels: the types of models. It can be named, but not implemented elsewhere.
pub trait HasKernels: Element {
    /// The row functions of a backend.
    #[doc(hidden)]
    fn kernels(backend: Backend) -> &'static Kernels<Self>;
}

impl HasKernels for i8 {
    fn kernels(backend: Backend) -> &'static Kernels<Self> {
        Kernels::<i8>::of(backend)
    }
}

#[cfg(feature = "f16")]
impl HasKernels for f16 {
    fn kernels(backend: Backend) -> &'static Kernels<Self> {
        Kernels::of_halves(backend)
    }
}

#[cfg(feature = "f32")]
impl HasKernels for f32 {
    fn kernels(backend: Backend) -> &'static Kernels<Self> {
        Kernels::of_singles(backend)
    }
}

impl Kernels<i8> {
    /// Those of a backend, in plain loops where the processor lacks its instructions. A device has only its own: the
    /// others would lie in its flash for nothing.
    pub(crate) fn of(backend: Backend) -> &'static Self {
        let own = if cfg!(target_os = "none") {
            Backend::best()
        } else {
            backend
        };
        match own {
            Backend::Scalar => &Self::SCALAR,
            Backend::Thumb1 => &arm::THUMB1,
            Backend::Thumb2 => &arm::THUMB2,
            Backend::Thumb2Dsp => &arm::DSP,
            Backend::Helium => &arm::HELIUM,
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Backend::Simd128 => &simd128::SIMD128,
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Backend::Simd128 => &tiles::SIMD128,
            #[cfg(target_arch = "aarch64")]
            Backend::Neon => &neon::NEON,
            #[cfg(not(target_arch = "aarch64"))]
            Backend::Neon => &tiles::NEON,
            #[cfg(target_arch = "aarch64")]
            Backend::NeonDot if own.is_native() => &neon::DOT,
            Backend::NeonDot => &tiles::NEON_DOT,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 if own.is_native() => &x86::AVX2,
            Backend::Avx2 => &tiles::AVX2,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 if own.is_native() => &x86::AVX512,
            Backend::Avx512 => &tiles::AVX512,
        }
    }
}

#[cfg_attr(
    not(feature = "f32"),
    expect(dead_code, reason = "no model asks for it without the feature")
)]
impl Kernels<f32> {
    /// Those of a backend; the reference where it has none of its own, or the processor lacks its instructions.
    pub(crate) fn of_singles(backend: Backend) -> &'static Self {
        match backend {
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Backend::Simd128 => &simd128::SINGLE,
            #[cfg(target_arch = "aarch64")]
            Backend::Neon | Backend::NeonDot => &neon::SINGLE,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 if backend.is_native() => &x86::AVX2_SINGLE,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 if backend.is_native() => &x86::AVX512_SINGLE,
            _ => &Self::SCALAR_FLOAT,
        }
    }
}

#[cfg_attr(
    not(feature = "f16"),
    expect(dead_code, reason = "no model asks for it without the feature")
)]
impl Kernels<f16> {
    /// Those of a backend; the reference where it has none of its own, or the processor lacks its instructions.
    pub(crate) fn of_halves(backend: Backend) -> &'static Self {
        match backend {
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Backend::Simd128 => &simd128::HALF,
            #[cfg(target_arch = "aarch64")]
            Backend::Neon | Backend::NeonDot => &neon::HALF,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 if backend.is_native() => &x86::AVX2_HALF,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 if backend.is_native() => &x86::AVX512_HALF,
            _ => &Self::SCALAR_FLOAT,
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
/// [`Kernels::im2col`] tells whether columns of padding may be missing, and whether a ReLU may be fused into the input.
#[derive(Debug)]
pub(crate) struct ConvRow<'a, E: Arithmetic> {
    /// What makes it.
    pub(crate) filter: Filter<'a, E>,
    /// What [`Kernels::pack`] has made of the filter.
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
