//! Cortex-M: what the processors do in the same way, and what differs, which is how they multiply. M0 and M3 (`thumb1`
//! and `thumb2`) hold two products in one, by `halves`; M4 (`dsp`) has an instruction for two, M55 (`helium`) for
//! sixteen.
//!
//! On other processors the same rows are laid out in the same way and convolved by plain loops, for tests, where those are
//! built: [`EMULATED`].

#![allow(unsafe_code)]

/// Asserts that fields lie behind each other in this order, each of so many words, as instructions load and store them.
#[cfg(any(thumb2, backend = "thumb1"))]
macro_rules! assert_order {
    ($type:ty { $first:ident: $words:literal $(, $field:ident: $more:literal)* $(,)? }) => {
        const _: () = {
            let mut end = core::mem::offset_of!($type, $first) + 4 * $words;
            $(
                assert!(core::mem::offset_of!($type, $field) == end);
                end += 4 * $more;
            )*
            let _ = end;
        };
    };
}

/// Asserts that a label stands so many bytes behind another, right behind it: the assembler goes to where it should be,
/// and then to where it is, but never back. (Of `.if` it wants to know the outcome before it has laid out the code.)
#[cfg(any(backend = "thumb1", backend = "thumb2", backend = "helium"))]
macro_rules! assert_distance {
    ($first:literal, $label:literal, $bytes:literal) => {
        concat!(".org ", $first, " + ", $bytes, "\n.org ", $label)
    };
}

#[cfg(thumb2)]
mod add;
mod channel;
mod dsp;
mod halves;
mod helium;
mod thumb1;
mod thumb2;

#[cfg(not(thumb2))]
use super::add_i32::add_row;
use super::scalar;
use super::table::{ConvolveRow, EMULATED, Kernels};
#[cfg(thumb2)]
use add::add_row;

/// A processor's own function, unless this is neither such a processor nor a build with emulations.
const fn emulated(own: ConvolveRow<i8>) -> ConvolveRow<i8> {
    if EMULATED { own } else { scalar::any_conv_row }
}

/// Cortex-M0.
pub(super) static THUMB1: Kernels<i8> = Kernels {
    im2col: true,
    conv_workspace: halves::conv_workspace::<{ thumb1::PAIR }>,
    conv_row: emulated(halves::conv_row::<thumb1::Thumb1, { thumb1::PAIR }>),
    add_row: if EMULATED {
        thumb1::add_row
    } else {
        super::add_i32::add_row
    },
    ..Kernels::SCALAR
};

/// Cortex-M4, M7 and M33.
pub(super) static DSP: Kernels<i8> = Kernels {
    im2col: true,
    conv_workspace: dsp::conv_workspace,
    conv_row: emulated(dsp::conv_row),
    add_row,
    ..Kernels::SCALAR
};

/// Cortex-M3.
pub(super) static THUMB2: Kernels<i8> = Kernels {
    im2col: true,
    conv_workspace: halves::conv_workspace::<{ thumb2::CHANNELS }>,
    conv_row: emulated(halves::conv_row::<thumb2::Thumb2, { thumb2::CHANNELS }>),
    add_row,
    ..Kernels::SCALAR
};

/// Cortex-M55.
pub(super) static HELIUM: Kernels<i8> = Kernels {
    conv_row: emulated(helium::conv_row),
    add_row,
    ..Kernels::SCALAR
};
