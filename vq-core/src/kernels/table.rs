//! The table of row functions that each backend fills.

use super::entries::{Entries, Shape};
#[cfg(doc)]
use super::row::ALIGN;
use super::row::{AddRow, Attend, ConvRow, ConvShape, Filter, MapRows, Norm, PixelRow};
use super::{scalar, whole_map};
use crate::element::{Arithmetic, Element, Real};
use core::fmt;

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
    #[cfg_attr(
        not(feature = "encoder"),
        expect(dead_code, reason = "nothing searches without the encoder")
    )]
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

/// How a backend searches.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(feature = "encoder"),
    expect(dead_code, reason = "nothing searches without the encoder")
)]
pub(crate) struct NearestCodes<E: Arithmetic> {
    /// Elements that [`Self::pack`] fills.
    pub(crate) packed_len: fn(Shape) -> usize,
    /// Lays out the entries as [`Self::nearest`] wants them; the elements start at a multiple of [`ALIGN`]
    /// bytes.
    pub(crate) pack: fn(Entries<'_, E>, &mut [E]),
    /// Index of the entry nearest to each of the vectors, the lowest of equals; 0 where no distance is finite.
    pub(crate) nearest: Nearest<E>,
}

/// The entries, packed too; the vectors and a place for each one's code.
pub(crate) type Nearest<E> = fn(Entries<'_, E>, &[E], &[E], &mut [u16]);

impl<E: Arithmetic> fmt::Debug for NearestCodes<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NearestCodes")
    }
}

impl<E: Element> NearestCodes<E> {
    /// The reference.
    pub(crate) const SCALAR: Self = Self {
        packed_len: |_| 0,
        pack: |_, _| {},
        nearest: |entries, _, vectors, codes| {
            if cfg!(feature = "encoder") {
                scalar::nearest(entries, vectors, codes);
            }
        },
    };
}
