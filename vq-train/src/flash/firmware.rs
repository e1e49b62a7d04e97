//! Builds a firmware binary with a payload in its flash. What the binary does is not known here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use vq_core::Model;
use vq_core::format::Dtype;

use super::board::{Board, workspace};
use super::elf::{self, Footprint};
use super::error::FlashError;
use super::toolchain::Toolchain;
use crate::codec::CodecError;

/// What goes into the flash beside the program.
#[derive(Clone, Debug)]
pub struct Payload {
    /// A `.vqm` file.
    pub model: Vec<u8>,
    /// A `.vqc` file.
    pub codes: Vec<u8>,
}

/// A firmware image in a file of its own.
#[derive(Debug)]
pub(super) struct Firmware {
    folder: TempDir,
    /// What it takes of flash and RAM.
    pub(super) footprint: Footprint,
}

impl Firmware {
    /// Builds the binary `bin` for `board` with `payload` in its flash.
    ///
    /// # Errors
    /// What is missing or refused.
    pub(super) fn build(board: &Board, bin: &str, payload: &Payload) -> Result<Self, FlashError> {
        let features = features(bin, payload)?;
        let toolchain = Toolchain::find(&board.target)?;
        let workspace = workspace()?;
        let target = workspace.join("target/firmware").join(toolchain.folder());
        fs::create_dir_all(&target).map_err(|e| FlashError::io(&target, e))?;
        // Payload and image lie at fixed places, so that cargo sees what has not changed: one build at
        // a time, until the image has been copied away.
        let lock = target.join("vq-flash.lock");
        let _held = File::create(&lock)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|e| FlashError::io(&lock, e))?;
        let mut cargo = toolchain.build(board);
        cargo
            .current_dir(&workspace)
            .arg("--target-dir")
            .arg(&target);
        cargo.args([
            "--locked",
            "--quiet",
            "--package",
            "vq-firmware",
            "--bin",
            bin,
            "--features",
            features,
        ]);
        cargo
            .args(["--profile", "firmware"])
            .env("VQ_BOARD", &board.name);
        cargo.env("VQ_MODEL", place(&target, "model.vqm", &payload.model)?);
        cargo.env("VQ_CODES", place(&target, "codes.vqc", &payload.codes)?);
        finish(cargo)?;
        Self::take(&target.join(&board.target).join("firmware").join(bin))
    }

    fn take(built: &Path) -> Result<Self, FlashError> {
        let image = fs::read(built).map_err(|e| FlashError::io(built, e))?;
        let footprint = elf::footprint(&image)
            .ok_or_else(|| FlashError::Build(format!("{} is no ELF file", built.display())))?;
        let folder = tempfile::tempdir().map_err(|e| FlashError::io(&std::env::temp_dir(), e))?;
        let firmware = Self { folder, footprint };
        let elf = firmware.elf();
        fs::write(&elf, image).map_err(|e| FlashError::io(&elf, e))?;
        Ok(firmware)
    }

    /// The image's file, there as long as `self` is.
    pub(super) fn elf(&self) -> PathBuf {
        self.folder.path().join("firmware.elf")
    }
}

/// The features of the firmware that a binary and its payload need.
fn features(bin: &str, payload: &Payload) -> Result<&'static str, FlashError> {
    if bin == "kernels" {
        return Ok("check-kernels");
    }
    let model = Model::parse(&payload.model).map_err(CodecError::Format)?;
    Ok(match model.dtype() {
        Dtype::I8 => "",
        Dtype::F16 => "f16",
        Dtype::F32 => "f32",
    })
}

/// Puts a file for the build in place; leaves it alone where it is there already.
fn place(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, FlashError> {
    let path = folder.join(name);
    if fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(path);
    }
    fs::write(&path, bytes).map_err(|e| FlashError::io(&path, e))?;
    Ok(path)
}

fn finish(mut cargo: Command) -> Result<(), FlashError> {
    let Output { status, stderr, .. } = cargo
        .stdin(Stdio::null())
        .output()
        .map_err(|e| FlashError::io(Path::new("cargo"), e))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&stderr);
    if let Some((region, bytes)) = overflow(&said) {
        return Err(FlashError::TooLarge { region, bytes });
    }
    let lines: Vec<&str> = said.lines().collect();
    Err(FlashError::Build(
        lines[lines.len().saturating_sub(40)..].join("\n"),
    ))
}

/// The memory that the linker has found too small, and the bytes that it lacks in all.
fn overflow(said: &str) -> Option<(String, u64)> {
    let overflows = said.lines().filter_map(|line| {
        let (region, rest) = line
            .split_once(" will not fit in region '")?
            .1
            .split_once('\'')?;
        let bytes = rest
            .strip_prefix(": overflowed by ")?
            .strip_suffix(" bytes")?;
        Some((region.to_owned(), bytes.parse().ok()?))
    });
    overflows.max_by_key(|&(_, bytes)| bytes)
}
