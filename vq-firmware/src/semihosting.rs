//! Output and the end of the run through the debugger or QEMU (semihosting, by Arm, which RISC-V has taken over): for every board
//! that has one of them attached. Only the three calls that are needed, so there is no crate for it.

use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const SYS_OPEN: usize = 0x01;
const SYS_WRITE: usize = 0x05;
const SYS_EXIT: usize = 0x18;

/// `SYS_OPEN`'s mode "w", which together with the name ":tt" means standard output.
const WRITE_TEXT: usize = 4;
/// `SYS_EXIT`'s reasons: the application ended, or failed at run time.
const APPLICATION_EXIT: usize = 0x20026;
const RUN_TIME_ERROR: usize = 0x20023;

/// The handle of standard output, opened by the first write.
static STDOUT: AtomicUsize = AtomicUsize::new(UNOPENED);
const UNOPENED: usize = usize::MAX;

/// # Safety
/// `argument` is what `operation` expects: often the address of a block of words, alive until the
/// call returns, whose own pointers are alive too.
unsafe fn call(operation: usize, argument: usize) -> usize {
    let result;
    // SAFETY: the debugger reads what the caller vouches for and changes the result's register alone; no call of
    // this module lets it write to memory.
    #[cfg(target_arch = "arm")]
    unsafe {
        asm!("bkpt 0xab", inlateout("r0") operation => result, in("r1") argument,
            options(nostack, preserves_flags));
    }
    // SAFETY: the same. It knows the call by the two instructions around it, none of them compressed.
    #[cfg(target_arch = "riscv32")]
    unsafe {
        asm!(".balign 16", ".option push", ".option norvc", "slli zero, zero, 0x1f", "ebreak", "srai zero, zero, 7",
            ".option pop", inlateout("a0") operation => result, in("a1") argument, options(nostack));
    }
    result
}

fn stdout() -> usize {
    let handle = STDOUT.load(Relaxed);
    if handle != UNOPENED {
        return handle;
    }
    let name = b":tt\0";
    let block = [name.as_ptr() as usize, WRITE_TEXT, name.len() - 1];
    // SAFETY: SYS_OPEN takes a terminated name, a mode and the name's length.
    let handle = unsafe { call(SYS_OPEN, block.as_ptr() as usize) };
    STDOUT.store(handle, Relaxed);
    handle
}

/// Writes all bytes to the host's standard output; ends the run where the host does not take them.
pub fn write(bytes: &[u8]) {
    let block = [stdout(), bytes.as_ptr() as usize, bytes.len()];
    // SAFETY: SYS_WRITE takes a handle, an address and a length.
    let left = unsafe { call(SYS_WRITE, block.as_ptr() as usize) };
    if left != 0 {
        exit(false);
    }
}

/// Ends the run and tells the host how it went.
pub fn exit(good: bool) -> ! {
    let reason = if good {
        APPLICATION_EXIT
    } else {
        RUN_TIME_ERROR
    };
    loop {
        // SAFETY: on 32 bits SYS_EXIT takes the reason itself.
        unsafe { call(SYS_EXIT, reason) };
    }
}
