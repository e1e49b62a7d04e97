//! Arm MPS3 AN547 (Cortex-M55) under QEMU.

use crate::qemu;

pub use crate::qemu::{UNIT, init};
pub use crate::semihosting::{exit, write};

/// Clock of SysTick.
const MEGAHERTZ: u64 = 32;

/// Instructions since [`init`], to 32.
pub fn now() -> u64 {
    qemu::instructions(MEGAHERTZ)
}
