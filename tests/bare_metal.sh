# How to build for a target without an operating system on this machine. Sourced by setup.sh, cross.sh and foreign.sh.
#
# rustup's prebuilt core is the normal way. Where rustup cannot fetch it, Debian's own compiler builds core
# from source. `vq flash` (vq-train/src/flash/toolchain.rs) decides in the same order.

# Targets with a system, on which foreign.sh runs the core's own tests.
foreign_targets="aarch64-unknown-linux-gnu wasm32-wasip1"

rustup_has() {   # TARGET
    [ -d "$(rustc --print target-libdir --target "$1" 2>/dev/null)" ]
}

debian_has() {   # the same for every target
    [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && [ -d /usr/lib/rustlib/src/rust/library ] &&
        command -v ld.lld >/dev/null
}

# Runs `cargo ARGUMENTS --target TARGET` with a toolchain that has the target.
bare_metal_cargo() {   # TARGET ARGUMENTS...
    local target=$1
    shift
    if rustup_has "$target"; then
        cargo "$@" --target "$target" --target-dir target/firmware/rustup
    elif debian_has; then
        RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 /usr/bin/cargo "$@" -Zbuild-std=core --target "$target" \
            --target-dir target/firmware/debian
    else
        echo "no compiler for $target: run tests/setup.sh" >&2
        return 1
    fi
}
