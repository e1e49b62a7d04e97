//! What several commands need: reading inputs, writing outputs, printing figures.

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::{Path, PathBuf};
use vq_train::atomic;
use vq_train::picture::{Picture, Size, files};

/// Every command ends with this; what is printed is the error's own text.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Prints one JSON object on stdout.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
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

/// Where the output for `input` goes: `out` itself, or a file of the same stem in the folder `out`
/// when a whole folder is worked on.
pub(crate) fn output(input: &Path, out: &Path, whole_folder: bool, extension: &str) -> PathBuf {
    if !whole_folder {
        return out.to_owned();
    }
    let stem = input.file_stem().unwrap_or_default();
    out.join(stem).with_extension(extension)
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
