//! Arm MPS2+ AN386 (Cortex-M4) under QEMU: the board that every machine can run.

use crate::qemu;

pub use crate::qemu::{UNIT, init};
pub use crate::semihosting::{exit, write};

/// Clock of SysTick.
const MEGAHERTZ: u64 = 25;

/// Instructions since [`init`], to 40.
pub fn now() -> u64 {
    qemu::instructions(MEGAHERTZ)
}
