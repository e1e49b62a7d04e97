#!/usr/bin/env bash
# Shows of the firmware's program `decode`, built for its sample of an 8-bit model, what it does not contain: a path to a
# panic, an allocator, an instruction or a function that computes in floating point; and of those for Cortex-M that no
# path through their calls takes more stack than this. The model is data, so that the program is the same for any of
# 8 bits.
most_stack=4096
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/bare_metal.sh

value() {   # KEY FILE
    sed -n "s/^$1 = \"\(.*\)\"/\1/p" "$2"
}

check() {   # BOARD
    local board=$1 target cpu program
    target=$(value target "vq-firmware/boards/$board/board.toml")
    cpu=$(value cpu "vq-firmware/boards/$board/board.toml")
    echo "decode for $board"
    program=$(
        export VQ_BOARD=$board
        [ -z "$cpu" ] || export CARGO_ENCODED_RUSTFLAGS="-Ctarget-cpu=$cpu"
        bare_metal_cargo "$target" build --quiet --package vq-firmware --bin decode --profile firmware \
            --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
    )
    # What the linker has kept, by name.
    arm-none-eabi-nm "$program" >"$lines"
    grep -q vq_core.*kernels "$lines" || { echo "error: $program has no names to look for" >&2; exit 1; }
    absent "panics" 'panicking|unwrap_failed|expect_failed|index_fail|rust_begin_unwind'
    absent "allocates" '__rust_alloc|__rdl_alloc| malloc$'
    absent "computes in floating point" ' __aeabi_([fd]|[uil]+2[fd])| __[a-z]+[sd]f[0-9a-z]*$'
    case $target in thumb*) ;; *) return ;; esac
    # Loads, stores, moves and choices of floating-point registers only carry bits.
    arm-none-eabi-objdump --disassemble --no-show-raw-insn "$program" >"$lines"
    absent "computes in floating point" '\tv(?!mov|sel|ldr|str|ldm|stm|push|pop)[a-z]+[a-z0-9.]*\.f(16|32|64)'
    arm-none-eabi-objdump --disassemble --full-contents --no-show-raw-insn -j .text -j .rodata -j .data "$program" |
        cargo run --quiet --package vq-tests --bin stack-bound -- "$most_stack" | cut -d : -f 1
}

absent() {   # WHAT PATTERN
    if grep -P "$2" "$lines"; then
        echo "error: decode for $board $1: see above" >&2
        exit 1
    fi
}

lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
for board in cortex-m0 mps2-an385 mps2-an386 mps2-an505 mps3-an547 riscv-virt; do
    check "$board"
done
