#!/usr/bin/env bash
# Runs vq-core's own tests, which compare every kernel with the reference, on processors that this machine is not:
# AArch64 with dotprod and without under QEMU, WebAssembly with vectors under Node.js. Needs rustup.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/bare_metal.sh

if ! command -v rustup >/dev/null; then
    echo "vq-core on AArch64 and WebAssembly; to get it: rustup has their libraries (https://rustup.rs)" |
        tee -a "${VQ_LEFT_OUT:-/dev/null}" >&2
    exit 0
fi
for target in $foreign_targets; do
    rustup_has "$target" || { echo "error: no compiler for $target: run tests/setup.sh" >&2; exit 1; }
done

test_core() {   # CARGO-ARGUMENTS...
    cargo test --quiet --package vq-core --lib --target-dir target/foreign "$@"
}

# An emulated processor takes its time: fewer drawn rows.
export VQ_FEWER=10

for cpu in max cortex-a53; do
    echo "vq-core on AArch64, $cpu"
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu $cpu" \
        test_core --target aarch64-unknown-linux-gnu --features std
done
echo "vq-core on WebAssembly"
# The tests' rows lie on the stack for a moment.
CARGO_TARGET_WASM32_WASIP1_RUNNER="node --no-warnings $PWD/tests/wasi.mjs" \
RUSTFLAGS="-Ctarget-feature=+simd128 -Clink-arg=-zstack-size=8388608" \
    test_core --target wasm32-wasip1
