#!/usr/bin/env bash
# Sets up what is missing, then runs every check: format, lints, docs, all tests (the firmware under QEMU
# among them, the core's own also for AArch64 and WebAssembly, and under AddressSanitizer, valgrind and Miri), and builds
# of the core for other microcontrollers.
#
# VQ_LPIPS may name the LPIPS weights (AlexNet, safetensors); with it, LPIPS is also compared with its
# published values. Where Python has TensorBoard, its reader is shown our event files.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo >/dev/null || {
    echo "error: Rust is not installed: see https://rustup.rs" >&2
    exit 1
}
step() { printf '\n== %s\n' "$*"; }

step "set up"
bash tests/setup.sh
step "format"
cargo fmt --all --check
step "lints"
cargo clippy --quiet --workspace --all-targets -- -D warnings
step "docs"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps
step "vq-core for microcontrollers"
bash tests/cross.sh
step "what the firmware does not contain"
bash tests/absence.sh
step "vq-core on other processors"
bash tests/foreign.sh
step "tests"
cargo test --workspace
step "vq-core under tools that watch memory"
bash tests/sanitize.sh
if python3 -c "import tensorboard" 2>/dev/null; then
    step "TensorBoard reads our event files"
    python3 tests/oracle/events.py --check tests/oracle/events
fi
step "all checks passed"
