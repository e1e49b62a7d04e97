//! A Cortex-M0 with more memory than the micro:bit, under QEMU: for models and pictures that a larger part has room for.

use crate::qemu;

pub use crate::qemu::{UNIT, init};
pub use crate::semihosting::{exit, write};

/// Clock of SysTick.
const MEGAHERTZ: u64 = 16;

/// Instructions since [`init`], to 63.
pub fn now() -> u64 {
    qemu::instructions(MEGAHERTZ)
}
