//! Arm MPS2+ AN505 (Cortex-M33) under QEMU.

use crate::qemu;

pub use crate::qemu::{UNIT, init};
pub use crate::semihosting::{exit, write};

/// Clock of SysTick.
const MEGAHERTZ: u64 = 20;

/// Instructions since [`init`], to 50.
pub fn now() -> u64 {
    qemu::instructions(MEGAHERTZ)
}
