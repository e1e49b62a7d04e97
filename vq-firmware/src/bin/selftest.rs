//! Proves the instruments on loops and frames of known size, so that what `decode` and `bench` report
//! can be believed. The host's test reads the lines.

#![cfg_attr(target_os = "none", no_std, no_main)]

use core::hint::black_box;

use vq_firmware::{board, stack, text::line};

vq_firmware::entry!(run, Nothing);

/// It needs no static memory.
struct Nothing;

impl Nothing {
    const NEW: Self = Self;
}

fn run(_: &mut Nothing) {
    // 2 instructions a turn. The last count goes past SysTick's 24 bits (671 million instructions).
    for turns in [1_000, 1_000_000, 400_000_000] {
        let before = board::now();
        spin(turns);
        line(format_args!(
            "loop turns={turns} {}={}",
            board::UNIT,
            board::now() - before
        ));
    }
    for bytes in [0, 512, 4096] {
        stack::paint();
        match bytes {
            0 => {}
            512 => touch::<512>(),
            _ => touch::<4096>(),
        }
        line(format_args!("stack frame={bytes} used={}", stack::used()));
    }
}

/// A loop of exactly two instructions a turn.
fn spin(turns: u32) {
    #[cfg(all(target_arch = "arm", target_os = "none"))]
    // SAFETY: counts a register down.
    unsafe {
        core::arch::asm!("2: subs {0}, {0}, #1", "bne 2b", inout(reg) turns => _, options(nomem, nostack));
    }
    #[cfg(all(target_arch = "riscv32", target_os = "none"))]
    // SAFETY: the same.
    unsafe {
        core::arch::asm!("2: addi {0}, {0}, -1", "bnez {0}, 2b", inout(reg) turns => _, options(nomem, nostack));
    }
    #[cfg(not(target_os = "none"))]
    for turn in 0..turns {
        black_box(turn);
    }
}

/// Takes N bytes of stack and writes them.
#[inline(never)]
fn touch<const N: usize>() {
    black_box([0x55_u8; N]);
}
