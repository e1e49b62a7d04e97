//! Arm MPS2+ AN500 (Cortex-M7) under QEMU: the board that every machine can run.

use crate::counter;

pub use crate::semihosting::{exit, write};

/// QEMU has no model of cycles; it counts instructions.
pub const UNIT: &str = "instructions";

/// With `-icount shift=0` an instruction takes one nanosecond, and SysTick runs at 25 MHz: one tick
/// is 40 instructions, exactly.
const INSTRUCTIONS_PER_TICK: u64 = 40;

/// QEMU starts with the clocks running; only the counter is left to do.
pub fn init() {
    counter::start();
}

/// Instructions since [`init`], to 40.
pub fn now() -> u64 {
    counter::ticks() * INSTRUCTIONS_PER_TICK
}
