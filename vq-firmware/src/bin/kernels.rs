//! Compares the processor's kernels with the reference on 10,000 drawn rows of each kind.

#![cfg_attr(target_os = "none", no_std, no_main)]

use vq_core::Backend;
use vq_core::check::{Memory, additions, convolutions, single_rows};
use vq_firmware::session::fail;
use vq_firmware::text::line;

vq_firmware::entry!(run, Memory<i8>);

/// Rows of each kind to draw.
const DRAWS: u32 = 10_000;

fn run(memory: &mut Memory<i8>) {
    let backend = Backend::best();
    // Other rows than the host's test draws.
    convolutions(backend, DRAWS, DRAWS, memory)
        .and_then(|()| additions(backend, DRAWS, DRAWS, memory))
        .and_then(|()| single_rows(backend, DRAWS, DRAWS, memory))
        .unwrap_or_else(|mismatch| fail(&mismatch));
    line(format_args!(
        "kernels backend={} rows={DRAWS}",
        backend.name()
    ));
}
