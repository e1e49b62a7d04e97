#!/usr/bin/env bash
# Runs the tests of what reads foreign bytes and of what is unsafe under tools that watch every access to memory:
#   AddressSanitizer  vq-core's own tests, which compare every kernel with the reference, and those of sanitize/Cargo.toml
#   valgrind          vq-core's own tests; it knows no AVX-512, so AVX2 is the most that they find
#   Miri              the same comparison in integers (libm's floats ask CPUID, which Miri has not), interpreted: bounds of
#                     each slice, alignment, aliasing
# Draws fewer numbers than the tests do on their own, as these tools are 5 to 1,000 times slower. What is not
# installed is left out, and said.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
target=$PWD/target/sanitize
# The memory for drawn rows lies on the stack for a moment.
export RUST_MIN_STACK=16777216

left_out() {   # WHAT HOW-TO-GET-IT
    echo "$1; to get it: $2" | tee -a "${VQ_LEFT_OUT:-/dev/null}" >&2
}

has_nightly() {
    rustup run nightly rustc --version >/dev/null 2>&1
}

address_sanitizer() {   # CARGO-ARGUMENTS...
    RUSTFLAGS=-Zsanitizer=address cargo +nightly test --quiet --target "$host" --target-dir "$target/address" "$@"
}

# With AVX2, as it interprets what the program is compiled for.
miri() {
    local features
    features=$([[ $host != x86_64-* ]] || echo "-Ctarget-feature=+avx2,+fma,+f16c")
    VQ_FEWER=10000 MIRIFLAGS=-Zmiri-env-forward=VQ_FEWER RUSTFLAGS=$features \
        cargo +nightly miri test --quiet --package vq-core --lib --target-dir "$target/miri" -- \
        integers_of_the_reference model::
}

interpreter=
if ! has_nightly; then
    left_out "AddressSanitizer and Miri" "rustup toolchain install nightly --component miri --component rust-src"
else
    if cargo +nightly miri --version >/dev/null 2>&1; then
        # Beside the others, as it has but one thread.
        mkdir -p "$target"
        miri >"$target/miri.log" 2>&1 &
        interpreter=$!
    else
        left_out Miri "rustup +nightly component add miri rust-src"
    fi
    echo "vq-core under AddressSanitizer"
    VQ_FEWER=10 address_sanitizer --package vq-core --lib
    echo "foreign bytes, and whole pictures, under AddressSanitizer"
    # One test has a limit of time, which is none of this tool's.
    PROPTEST_CASES=64 address_sanitizer --manifest-path tests/sanitize/Cargo.toml -- --skip planned_in_time
fi

if command -v valgrind >/dev/null; then
    echo "vq-core under valgrind"
    # The program that the workspace's tests are, rather than one more build.
    program=$(cargo test --quiet --workspace --no-run --message-format=json 2>/dev/null |
        sed -n 's/.*"name":"vq_core".*"test":true.*"executable":"\([^"]*\)".*/\1/p' | head -1)
    [ -n "$program" ] || { echo "error: the workspace's tests of vq-core do not build" >&2; exit 1; }
    VQ_FEWER=50 valgrind --quiet --error-exitcode=1 "$program" --quiet
else
    left_out valgrind "tests/setup.sh, or the system's package valgrind"
fi

if [ -n "$interpreter" ]; then
    echo "vq-core under Miri"
    wait "$interpreter" || failed=$?
    cat "$target/miri.log"
    exit "${failed:-0}"
fi
