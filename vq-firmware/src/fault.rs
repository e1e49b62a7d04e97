//! Where a run goes that cannot go on: a panic or a processor fault becomes a line and a failure.

use core::panic::PanicInfo;

use crate::board;
use crate::text::line;

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    // One line, for the host reads lines.
    match info.location() {
        Some(at) => line(format_args!("panic {at}: {}", info.message())),
        None => line(format_args!("panic {}", info.message())),
    }
    board::exit(false)
}

#[cfg(target_arch = "arm")]
#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    line(format_args!(
        "panic processor fault at {:#010x}",
        frame.pc()
    ));
    board::exit(false)
}
