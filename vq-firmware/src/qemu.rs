//! What QEMU's boards have in common: they count instructions.

use crate::counter;

/// QEMU has no model of cycles.
pub const UNIT: &str = "instructions";

/// QEMU starts with the clocks running; only the counter is left to do.
pub fn init() {
    counter::start();
}

/// Instructions since [`init`]. With `-icount shift=0` one takes a nanosecond, so a tick of 1000 / `megahertz`.
pub(crate) fn instructions(megahertz: u64) -> u64 {
    counter::ticks() * 1000 / megahertz
}
