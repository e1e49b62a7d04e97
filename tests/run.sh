#!/usr/bin/env bash
# Sets up what is missing, then runs every check: format, lints, docs, all tests (the firmware under QEMU
# among them, the core's own also for AArch64 and WebAssembly, and under AddressSanitizer, valgrind and Miri), and builds
# of the core for other microcontrollers.
#
# Two lanes run side by side, since compilers and emulators each keep one core busy for minutes: the workspace on this
# machine, and the core for others. What the second prints follows the first's; what a missing tool leaves out is said at
# the end.
#
# VQ_LPIPS may name the LPIPS weights (AlexNet, safetensors); with it, LPIPS is also compared with its
# published values. Where Python has TensorBoard, its reader is shown our event files.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo >/dev/null || {
    echo "error: Rust is not installed: see https://rustup.rs" >&2
    exit 1
}
logs=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$logs"' EXIT
export VQ_LEFT_OUT=$logs/left-out
: >"$VQ_LEFT_OUT"

step() {   # WHAT COMMAND...
    printf '\n== %s (%s)\n' "$1" "$(date +%H:%M:%S)"
    "${@:2}"
}

others() {
    step "vq-core for microcontrollers" bash tests/cross.sh
    step "what the firmware does not contain" bash tests/absence.sh
    step "vq-core on other processors" bash tests/foreign.sh
    step "vq-core under tools that watch memory" bash tests/sanitize.sh
}

tensorboard() {
    python3 -c "import tensorboard" 2>/dev/null || {
        echo "TensorBoard's reader of our event files; to get it: pip install tensorboard" >>"$VQ_LEFT_OUT"
        return
    }
    step "TensorBoard reads our event files" python3 tests/oracle/events.py --check tests/oracle/events
}

step "set up" bash tests/setup.sh
step "format" cargo fmt --all --check
others >"$logs/others" 2>&1 &
lane=$!
step "lints" cargo clippy --quiet --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" step "docs" cargo doc --quiet --workspace --no-deps
step "tests" cargo test --workspace
tensorboard
failed=0
wait "$lane" || failed=$?
cat "$logs/others"
if [ -s "$VQ_LEFT_OUT" ]; then
    printf '\nleft out:\n'
    sed 's/^/  /' "$VQ_LEFT_OUT"
fi
[ "$failed" = 0 ] || exit "$failed"
step "all checks passed" true
