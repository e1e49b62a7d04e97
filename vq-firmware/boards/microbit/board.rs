//! BBC micro:bit (Nordic nRF51822, Cortex-M0) under QEMU.

use crate::qemu;

pub use crate::qemu::{UNIT, init};
pub use crate::semihosting::{exit, write};

/// Clock of SysTick.
const MEGAHERTZ: u64 = 16;

/// Instructions since [`init`], to 63.
pub fn now() -> u64 {
    qemu::instructions(MEGAHERTZ)
}
