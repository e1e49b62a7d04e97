#!/usr/bin/env bash
# Sets up what `vq flash` and the tests need beside stable Rust: a compiler for microcontrollers, and QEMU.
# Looks first, installs only what is missing, and says what to do by hand where it cannot.
# Quick when everything is there.
set -uo pipefail
cd "$(dirname "$0")/.."
. tests/bare_metal.sh

targets="thumbv7em-none-eabihf thumbv7m-none-eabi thumbv8m.main-none-eabihf thumbv6m-none-eabi riscv32imc-unknown-none-elf"
compiler_packages="rustc-web cargo-web rust-web-src lld"

missing_targets() {
    debian_has && return
    for target in $targets; do
        rustup_has "$target" || echo "$target"
    done
}

debian_install() {   # PACKAGES...
    command -v apt-get >/dev/null || return 1
    local root=
    [ "$(id -u)" = 0 ] || root="sudo -n"
    echo "installing $* with apt-get" >&2
    export DEBIAN_FRONTEND=noninteractive
    # Another apt may be at work: wait for it. An old package list is refreshed only when it is in the way.
    local install="$root apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends"
    $install "$@" >&2 || { $root apt-get update -q >&2 && $install "$@" >&2; }
}

set_up_compiler() {
    local missing
    missing=$(missing_targets)
    [ -z "$missing" ] && return
    if command -v rustup >/dev/null; then
        echo "adding with rustup:" $missing >&2
        timeout 300 rustup target add $missing >&2
        missing=$(missing_targets)
        [ -z "$missing" ] && return
    fi
    debian_install $compiler_packages
    [ -z "$(missing_targets)" ] && return
    cat >&2 <<-EOF
	error: there is no compiler for: $(echo $missing)
	Install it by hand, in one of two ways:
	  rustup target add $(echo $targets)
	  apt-get install $compiler_packages     (Debian bookworm or later, as root)
	EOF
    return 1
}

set_up_binutils() {
    command -v arm-none-eabi-nm >/dev/null && return
    debian_install binutils-arm-none-eabi
    command -v arm-none-eabi-nm >/dev/null && return
    cat >&2 <<-EOF
	error: arm-none-eabi-nm is not installed, which shows what the firmware contains.
	Install it by hand: apt-get install binutils-arm-none-eabi (Debian, Ubuntu), dnf install arm-none-eabi-binutils-cs
	(Fedora), brew install arm-none-eabi-binutils (macOS).
	EOF
    return 1
}

has_qemu() {
    command -v qemu-system-arm >/dev/null && command -v qemu-system-riscv32 >/dev/null
}

set_up_qemu() {
    has_qemu && return
    debian_install qemu-system-arm qemu-system-misc
    has_qemu && return
    cat >&2 <<-EOF
	error: qemu-system-arm and qemu-system-riscv32, which run the firmware, are not both installed.
	Install them by hand: apt-get install qemu-system-arm qemu-system-misc (Debian, Ubuntu),
	dnf install qemu-system-arm qemu-system-riscv (Fedora), brew install qemu (macOS).
	EOF
    return 1
}

# What foreign.sh needs; without rustup it is left out.
set_up_foreign() {
    command -v rustup >/dev/null || return 0
    local target missing=
    for target in $foreign_targets; do
        rustup_has "$target" || missing+=" $target"
    done
    [ -z "$missing" ] || timeout 300 rustup target add $missing >&2 || return 1
    command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64 >/dev/null && command -v node >/dev/null &&
        return
    debian_install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user nodejs && return
    cat >&2 <<-EOF
	error: to test the kernels of AArch64 and WebAssembly, a compiler for AArch64 (gcc-aarch64-linux-gnu), QEMU
	(qemu-user) and Node.js are needed. Install them by hand: apt-get install gcc-aarch64-linux-gnu qemu-user nodejs
	EOF
    return 1
}

# What sanitize.sh takes from the system; a nightly compiler it takes where there is one.
set_up_valgrind() {
    command -v valgrind >/dev/null || debian_install valgrind ||
        echo "valgrind is not installed: sanitize.sh will leave it out" >&2
}

failed=0
set_up_compiler || failed=1
set_up_foreign || failed=1
set_up_qemu || failed=1
set_up_binutils || failed=1
set_up_valgrind
exit $failed
