//! The decoder on a microcontroller: what its binaries share.
//!
//! `vq flash` builds a binary with a model and packets in its flash, runs it, and reads what it
//! prints. On a laptop the same binaries build and run too, with the [`board`] that stands for the
//! host, so that everything but the bare metal is checked by every `cargo clippy`.
//!
//! In reading order: `payload` (model and packets in flash), [`board`] (clock and output: one small file
//! a board), `counter` (instructions or cycles), [`stack`] (its deepest reach, by painting), [`text`] (the
//! lines that the host reads), [`session`] (from the payload to a picture ready to be decoded).
//!
//! What is absent on purpose: a heap, an operating system, and floating point where the model is `i8`.

#![cfg_attr(target_os = "none", no_std)]

pub mod payload;

pub mod board;
#[cfg(all(target_arch = "arm", target_os = "none"))]
mod counter;
#[cfg(target_os = "none")]
mod fault;
#[cfg(all(target_arch = "arm", target_os = "none"))]
mod qemu;
#[cfg(all(target_arch = "riscv32", target_os = "none"))]
mod riscv;
#[cfg(target_os = "none")]
pub mod semihosting;
pub mod stack;
pub mod text;

pub mod session;

/// Makes `$body` the binary's entry, on bare metal and on the host alike. It is called once, with the
/// only reference to a static `$memory`.
#[macro_export]
macro_rules! entry {
    ($body:path, $memory:ty) => {
        static mut MEMORY: $memory = <$memory>::NEW;

        #[cfg_attr(all(target_arch = "arm", target_os = "none"), cortex_m_rt::entry)]
        #[cfg_attr(
            all(target_arch = "riscv32", target_os = "none"),
            unsafe(export_name = "vq_main")
        )]
        fn main() -> ! {
            $crate::board::init();
            // SAFETY: `main` is entered once, so this is the only reference.
            $body(unsafe { &mut *(&raw mut MEMORY) });
            $crate::board::exit(true)
        }
    };
}
