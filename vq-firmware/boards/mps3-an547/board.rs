//! Arm MPS3 AN547 (Cortex-M55) under QEMU.

use crate::counter;

pub use crate::semihosting::{exit, write};

/// QEMU has no model of cycles; it counts instructions.
pub const UNIT: &str = "instructions";

/// With `-icount shift=0` an instruction takes one nanosecond, and SysTick runs at 32 MHz: four ticks
/// are 125 instructions, exactly.
const INSTRUCTIONS_IN_FOUR_TICKS: u64 = 125;

/// QEMU starts with the clocks running; only the counter is left to do.
pub fn init() {
    counter::start();
}

/// Instructions since [`init`], to 32.
pub fn now() -> u64 {
    counter::ticks() * INSTRUCTIONS_IN_FOUR_TICKS / 4
}
