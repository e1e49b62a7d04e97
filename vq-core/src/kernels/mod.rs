//! The inner loops, behind one table of row functions. What rows mean is not known here.
//!
//! `scalar` is the readable reference, always built; any other backend must give the same numbers.

mod scalar;

use crate::element::{AddScale, Arithmetic, Element, Output};
use crate::format::Params;

/// The row functions of one backend.
#[derive(Debug)]
pub struct Kernels<E: Arithmetic> {
    /// Convolves one row.
    pub(crate) conv_row: fn(&ConvRow<'_, E>, &mut [E]),
    /// Adds two rows.
    pub(crate) add_row: fn(&AddRow<'_, E>, &mut [E]),
    /// Cuts a row off at zero.
    pub(crate) relu_row: fn(&[E], E, &mut [E]),
    /// Bends a row.
    pub(crate) activation_row: for<'c> fn(&[E], E::Curve<'c>, &mut [E]),
    /// Index of the table's entry nearest to a vector; the lowest of equals.
    pub(crate) nearest: fn(&[E], &[E::Stored]) -> usize,
}

impl<E: Element> Kernels<E> {
    /// The reference.
    pub(crate) const SCALAR: Self = Self {
        conv_row: scalar::conv_row,
        add_row: scalar::add_row,
        relu_row: scalar::relu_row,
        activation_row: scalar::activation_row,
        nearest: scalar::nearest,
    };
}

/// One row of a convolution: point x of the output is made of the elements
/// `rows[..][x * step..][..run]`, which lie behind each other as the weights do.
#[derive(Debug)]
pub(crate) struct ConvRow<'a, E: Arithmetic> {
    /// The rows under the kernel, from the first window's first element on.
    pub(crate) rows: &'a [&'a [E]],
    /// Elements of a window in each row: kernel width * input channels.
    pub(crate) run: usize,
    /// Elements from a window to the next: stride * input channels.
    pub(crate) step: usize,
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
