//! Finds a compiler for a target without an operating system, and makes the `cargo` call for it.
//!
//! rustup's prebuilt core is the normal way. Where rustup cannot fetch it, Debian's own compiler builds
//! core from source. `tests/bare_metal.sh` decides in the same order.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Board, FlashError};

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_CORE: &str = "/usr/lib/rustlib/src/rust/library";

/// Settings of the surrounding build that are wrong for another target, or name another compiler.
const FOREIGN: [&str; 7] = [
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
];

/// A compiler that can build for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toolchain {
    /// `cargo` in the PATH, with the target's prebuilt core.
    Rustup,
    /// Debian's `rustc-web`, `cargo-web`, `rust-web-src` and `lld`, building core from source.
    Debian,
}

impl Toolchain {
    /// # Errors
    /// [`FlashError::Target`] when there is none.
    pub(super) fn find(target: &str) -> Result<Self, FlashError> {
        if rustup_has(target) {
            Ok(Self::Rustup)
        } else if debian_has() {
            Ok(Self::Debian)
        } else {
            Err(FlashError::Target(target.to_owned()))
        }
    }

    /// A folder of its own for each: they cannot use each other's results.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Rustup => "rustup",
            Self::Debian => "debian",
        }
    }

    /// `cargo build --target TARGET` for a board, ready for more arguments.
    pub(super) fn build(self, board: &Board) -> Command {
        let target = &board.target;
        let mut cargo = match self {
            Self::Rustup => Command::new("cargo"),
            Self::Debian => Command::new(DEBIAN_CARGO),
        };
        FOREIGN.iter().for_each(|name| {
            cargo.env_remove(name);
        });
        cargo.args(["build", "--target", target]);
        // Dots in a target's name become underscores, too.
        let name = target.replace(['-', '.'], "_").to_uppercase();
        if let Some(cpu) = &board.cpu {
            let flags = format!("-Ctarget-cpu={cpu}");
            cargo.env(format!("CARGO_TARGET_{name}_RUSTFLAGS"), flags);
        }
        if self == Self::Debian {
            let linker = format!("CARGO_TARGET_{name}_LINKER");
            cargo.arg("-Zbuild-std=core").env("RUSTC", DEBIAN_RUSTC);
            cargo.env("RUSTC_BOOTSTRAP", "1").env(linker, "ld.lld");
        }
        cargo
    }
}

fn rustup_has(target: &str) -> bool {
    let answer = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .stderr(Stdio::null())
        .output();
    answer.is_ok_and(|answer| {
        let folder = String::from_utf8_lossy(&answer.stdout);
        answer.status.success() && Path::new(folder.trim()).is_dir()
    })
}

fn debian_has() -> bool {
    let linker = Command::new("ld.lld").arg("--version").output();
    [DEBIAN_RUSTC, DEBIAN_CARGO, DEBIAN_CORE]
        .iter()
        .all(|path| Path::new(path).exists())
        && linker.is_ok_and(|answer| answer.status.success())
}
