#!/usr/bin/env bash
# Builds vq-core for microcontrollers: with and without compare-and-swap, Arm and RISC-V; the decoder of
# its documentation; and one that decodes 8-bit models alone.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/bare_metal.sh

for target in thumbv6m-none-eabi thumbv7m-none-eabi thumbv7em-none-eabihf riscv32imc-unknown-none-elf; do
    echo "vq-core for $target"
    bare_metal_cargo "$target" build --quiet --package vq-core --profile firmware
done
echo "the decoder in fifteen lines for thumbv7em-none-eabihf"
bare_metal_cargo thumbv7em-none-eabihf build --quiet --package vq-core --profile firmware --example display
echo "vq-core without floats and encoder for thumbv6m-none-eabi"
bare_metal_cargo thumbv6m-none-eabi build --quiet --package vq-core --profile firmware --no-default-features
