//! RISC-V: from power-on to the binary's entry, processor faults, and the counter of instructions. So little that it
//! needs no crate.

use core::arch::{asm, naked_asm};

use crate::board;
use crate::text::line;

/// Where the processor starts: sets up stack and statics, and goes to the entry that [`crate::entry`] has made.
///
/// # Safety
/// For the processor alone; nothing is as it was before.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".init")]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        ".option push",
        ".option norelax",
        "la gp, __global_pointer$",
        ".option pop",
        "la sp, _stack_start",
        "la t0, {trapped}",
        "csrw mtvec, t0",
        "la a0, __sdata",
        "la a1, __edata",
        "la a2, __sidata",
        "j 3f",
        "2:",
        "lw t0, 0(a2)",
        "sw t0, 0(a0)",
        "addi a0, a0, 4",
        "addi a2, a2, 4",
        "3:",
        "bltu a0, a1, 2b",
        "la a0, __sbss",
        "la a1, __ebss",
        "j 5f",
        "4:",
        "sw zero, 0(a0)",
        "addi a0, a0, 4",
        "5:",
        "bltu a0, a1, 4b",
        "j vq_main",
        trapped = sym trapped,
    )
}

/// Where the processor goes with a fault. Its address has to be a multiple of 4.
#[unsafe(naked)]
unsafe extern "C" fn trapped() -> ! {
    naked_asm!(".balign 4", "csrr a0, mepc", "j {fault}", fault = sym fault)
}

extern "C" fn fault(pc: usize) -> ! {
    line(format_args!("panic processor fault at {pc:#010x}"));
    board::exit(false)
}

/// Instructions since power-on.
pub fn instructions() -> u64 {
    loop {
        let (before, low, after): (u32, u32, u32);
        // SAFETY: reads a counter.
        unsafe {
            asm!("csrr {}, minstreth", "csrr {}, minstret", "csrr {}, minstreth",
                out(reg) before, out(reg) low, out(reg) after, options(nomem, nostack));
        }
        if before == after {
            return u64::from(after) << 32 | u64::from(low);
        }
    }
}
