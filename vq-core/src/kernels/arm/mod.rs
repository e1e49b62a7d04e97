//! Cortex-M3 and above: what all Thumb-2 processors do in the same way. What differs is how they multiply:
//! `dsp` two products at once, `plain` one. Cortex-M0, which has little of Thumb-2, is in `thumb1` alone.
//!
//! On other processors the same rows are laid out in the same way and convolved by plain loops, for tests.

#![allow(unsafe_code)]

#[cfg(thumb2)]
mod add;
mod dsp;
mod helium;
#[cfg(any(backend = "thumb2", backend = "thumb2-dsp"))]
mod pairs;
mod plain;
mod thumb1;

use super::columns::{self, Columns};
use super::{AddRow, Kernels, scalar};

/// Cortex-M0.
pub(super) static THUMB1: Kernels<i8> = Kernels {
    conv_room: thumb1::conv_room,
    conv_row: thumb1::conv_row,
    add_row: thumb1::add_row,
    ..Kernels::SCALAR
};

/// Cortex-M4, M7 and M33.
pub(super) static DSP: Kernels<i8> = kernels::<dsp::Dsp>();

/// Cortex-M3.
pub(super) static PLAIN: Kernels<i8> = kernels::<plain::Plain>();

/// Cortex-M55.
pub(super) static HELIUM: Kernels<i8> = Kernels {
    conv_row: helium::conv_row,
    add_row,
    ..Kernels::SCALAR
};

const fn kernels<C: Columns>() -> Kernels<i8> {
    Kernels {
        gathers: true,
        conv_room: columns::conv_room::<C>,
        conv_row: columns::conv_row::<C>,
        add_row,
        ..Kernels::SCALAR
    }
}

/// ```text
/// a[i] = saturate(zero + round(((a[i] - zero_a) * input + (b[i] - zero_b) * skip) / 2^shift))
/// ```
fn add_row(row: &AddRow<'_, i8>, a: &mut [i8]) {
    #[cfg(thumb2)]
    if let Some(terms) = add::Terms::new(row, a.len()) {
        return terms.add_row(row, a);
    }
    scalar::add_row(row, a);
}
