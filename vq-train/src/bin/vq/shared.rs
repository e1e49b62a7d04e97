//! What several commands need: reading inputs, writing outputs, printing figures.

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use vq_core::format::container::MAGIC;
use vq_train::atomic;
use vq_train::codec::{Codec, split};
use vq_train::picture::{Picture, Size, files};

/// Every command ends with this; what is printed is the error's own text.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Prints a line on stdout. A reader that has gone away (`| head`) is no error; a full disk is.
pub(crate) fn print(line: impl Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {e}").into())
        }
        _ => Ok(()),
    }
}

/// Prints one JSON value on stdout.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(serde_json::to_string(value)?)
}

/// Reads a percentage from the command line.
pub(crate) fn percent(text: &str) -> std::result::Result<f64, &'static str> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|p| (0.0..=100.0).contains(p))
        .ok_or("must be 0 to 100")
}

/// A model that can encode.
pub(crate) fn encoder(path: &Path) -> Result<Codec> {
    let codec = Codec::load(path)?;
    if codec.model().encoder().is_none() {
        let path = path.display();
        return Err(format!("{path} has no encoder: it was exported --without-encoder").into());
    }
    Ok(codec)
}

/// The packets in the bytes of a .vqc file; at least one.
pub(crate) fn packets(file: &[u8]) -> Result<Vec<&[u8]>> {
    if file.starts_with(&MAGIC) {
        return Err("it is a model".into());
    }
    if file.is_empty() {
        return Err("it is empty".into());
    }
    Ok(split(file)?)
}

/// Pictures of a file or a folder; with `size`, cropped and resampled. Unreadable ones in a folder
/// are named on stderr and passed over.
pub(crate) fn pictures(input: &Path, size: Option<Size>) -> Result<Vec<(PathBuf, Picture)>> {
    let fit = |p: Picture| size.map_or(p.clone(), |size| p.fit(size));
    if !input.is_dir() {
        return Ok(vec![(input.to_owned(), fit(Picture::load(input)?))]);
    }
    let folder = files::load_folder(input, fit)?;
    for error in &folder.skipped {
        eprintln!("skipped: {error}");
    }
    if folder.pictures.is_empty() {
        return Err(format!("{}: no readable pictures", input.display()).into());
    }
    Ok(folder.pictures)
}

/// Where the outputs for `files` go: `out` itself, or, when `input` is a folder, the same places
/// below the folder `out`, with another extension. No two may meet.
pub(crate) fn outputs<'p>(
    input: &Path,
    files: impl Iterator<Item = &'p Path>,
    out: &Path,
    extension: &str,
) -> Result<Vec<PathBuf>> {
    let mut taken = BTreeMap::new();
    let mut outputs = Vec::new();
    for file in files {
        let output = match file.strip_prefix(input) {
            Ok(inside) if input.is_dir() => out.join(inside).with_extension(extension),
            _ => out.to_owned(),
        };
        if let Some(other) = taken.insert(output.clone(), file) {
            let (a, b, both) = (other.display(), file.display(), output.display());
            return Err(format!("{a} and {b} would both become {both}: rename one").into());
        }
        outputs.push(output);
    }
    Ok(outputs)
}

/// Writes a file whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let named = |e: std::io::Error| format!("cannot write {}: {e}", path.display());
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(named)?;
    }
    Ok(atomic::write(path, bytes).map_err(named)?)
}

/// A progress bar on stderr that shows nothing when stderr is no terminal.
pub(crate) fn progress(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("a template of this program");
    ProgressBar::new(length).with_style(style.progress_chars("=> "))
}
