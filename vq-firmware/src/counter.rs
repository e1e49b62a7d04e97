//! SysTick, the counter that every Cortex-M has, extended from 24 bits to 56 by its interrupt.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use cortex_m_rt::exception;

/// Control and status: bit 0 counts, bit 1 interrupts at zero, bit 2 takes the processor's clock.
const SYST_CSR: *mut u32 = 0xE000_E010 as *mut u32;
/// The value that follows zero.
const SYST_RVR: *mut u32 = 0xE000_E014 as *mut u32;
/// The current value; it counts down.
const SYST_CVR: *mut u32 = 0xE000_E018 as *mut u32;

const PERIOD: u64 = 1 << 24;

/// How often the counter has reached zero. Only the interrupt writes it, so a plain load and store
/// do, which even a Cortex-M0 has.
static ZEROS: AtomicU32 = AtomicU32::new(0);

/// Starts at zero ticks.
pub(crate) fn start() {
    // SAFETY: the three registers are at these addresses in every ARMv6-M, v7-M and v8-M processor,
    // are always accessible to privileged code, and nothing else here uses them.
    unsafe {
        SYST_RVR.write_volatile((PERIOD - 1) as u32);
        SYST_CVR.write_volatile(0);
        SYST_CSR.write_volatile(0b111);
    }
}

/// Ticks of the processor's clock since [`start`].
pub(crate) fn ticks() -> u64 {
    loop {
        let zeros = ZEROS.load(Relaxed);
        // SAFETY: as in `start`; reading has no side effect but on a flag that is not used.
        let value = unsafe { SYST_CVR.read_volatile() };
        // Equal before and after: no interrupt came between, the two parts belong together.
        if zeros == ZEROS.load(Relaxed) {
            // At zero the interrupt has already counted this period as over.
            return u64::from(zeros) * PERIOD + (PERIOD - u64::from(value)) % PERIOD;
        }
    }
}

#[exception]
fn SysTick() {
    ZEROS.store(ZEROS.load(Relaxed).wrapping_add(1), Relaxed);
}
