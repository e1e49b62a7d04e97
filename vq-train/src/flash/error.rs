//! What can keep a model from running on a board; each says what to do.

use std::io;
use std::path::{Path, PathBuf};

use vq_core::FormatError;

use crate::codec::CodecError;

/// Why `vq flash` failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlashError {
    /// The program was moved to where the sources are not.
    #[error(
        "the firmware's sources are not in {}, where this program was built: run it from a clone of the \
         repository with `cargo run --release -- flash ...`",
        .0.display()
    )]
    Source(PathBuf),
    /// No board of this name.
    #[error("there is no board {name:?}; known boards: {known}")]
    Board {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A board's description cannot be used.
    #[error("{}: {what}", .path.display())]
    BoardFile {
        /// The description.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// No compiler for the board.
    #[error(
        "there is no Rust for {0}: run `rustup target add {0}`, or tests/setup.sh, which also knows what to \
         do where rustup cannot fetch it"
    )]
    Target(String),
    /// The compiler or the linker refused; the end of what it said.
    #[error("the firmware does not build:\n{0}")]
    Build(String),
    /// The board has too little memory.
    #[error(
        "the firmware with this model and picture is {bytes} bytes too large for the board's {region}: take a smaller \
         model or picture, or a board with more memory (--board)"
    )]
    TooLarge {
        /// The memory, as the board's description names it.
        region: String,
        /// How many bytes it lacks.
        bytes: u64,
    },
    /// The program that runs the firmware is not there.
    #[error("{program} is not installed: {hint}")]
    Missing {
        /// Its name.
        program: String,
        /// How to get it.
        hint: &'static str,
    },
    /// It did not end in time.
    #[error(
        "the firmware did not end within {0} s: allow more with --timeout, or use a smaller model"
    )]
    Timeout(u64),
    /// The firmware ended with a failure; what it or its runner said.
    #[error("the firmware failed: {0}")]
    Device(String),
    /// The firmware ended well, but what it said is not understood.
    #[error("the firmware's report lacks {0}: was it built from other sources than this program?")]
    Report(String),
    /// The model file is faulty.
    #[error(transparent)]
    Model(#[from] FormatError),
    /// This machine cannot decode the packets, so there is nothing to compare with.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A file cannot be read or written, or a program not be started.
    #[error("{what}: {source}")]
    Io {
        /// The path or the program.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl FlashError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            what: path.display().to_string(),
            source,
        }
    }
}
