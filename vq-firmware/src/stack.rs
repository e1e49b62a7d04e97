//! The stack's deepest reach, measured by painting what is free of it and looking later at what is
//! left of the paint.

#[cfg(target_os = "none")]
mod bare {
    use core::arch::asm;

    /// A word that code hardly ever stores.
    const PAINT: u32 = 0xC5C5_C5C5;
    /// Bytes below the caller's stack pointer that stay unpainted: this function's own frame.
    const MARGIN: usize = 64;

    unsafe extern "C" {
        /// The end of the statics, given by the linker.
        static mut __sheap: u32;
        /// One past the end of the stack's memory, from where it grows down.
        static mut _stack_start: u32;
    }

    fn bottom() -> *mut u32 {
        &raw mut __sheap
    }

    fn top() -> usize {
        (&raw const _stack_start) as usize
    }

    fn pointer() -> usize {
        let sp: usize;
        // SAFETY: copies a register.
        #[cfg(target_arch = "arm")]
        unsafe {
            asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags))
        };
        // SAFETY: the same.
        #[cfg(target_arch = "riscv32")]
        unsafe {
            asm!("mv {}, sp", out(reg) sp, options(nomem, nostack))
        };
        sp
    }

    #[inline(never)]
    pub(super) fn paint() {
        let end = (pointer() - MARGIN) as *mut u32;
        let mut at = bottom();
        while at < end {
            // SAFETY: from the end of the statics to below the stack pointer no object lives; an
            // interrupt that comes meanwhile stays within its own frames.
            unsafe {
                at.write_volatile(PAINT);
                at = at.add(1);
            }
        }
    }

    #[inline(never)]
    pub(super) fn used() -> usize {
        let mut at = bottom();
        // SAFETY: the words are inside the RAM, and the loop ends at the latest at this frame.
        while (at as usize) < pointer() && unsafe { at.read_volatile() } == PAINT {
            // SAFETY: as above.
            at = unsafe { at.add(1) };
        }
        top() - at as usize
    }
}

/// Paints the free stack. What is in use now counts as used.
pub fn paint() {
    #[cfg(target_os = "none")]
    bare::paint();
}

/// Bytes from the stack's start to the deepest word that was written since [`paint`], interrupts
/// included; 0 on the host, which does not measure it.
pub fn used() -> usize {
    #[cfg(target_os = "none")]
    return bare::used();
    #[cfg(not(target_os = "none"))]
    0
}
