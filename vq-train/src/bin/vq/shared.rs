//! What several commands need to read their arguments and inputs.

use crate::messages::note;
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::path::{Path, PathBuf};
use vq_core::format::container::MAGIC;
use vq_train::codec::{Codec, split};
use vq_train::data::Source;
use vq_train::picture::{Picture, Size, files};

/// Every command ends with this; what is printed is the error's own text.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Reads a percentage from the command line.
pub(crate) fn percent(text: &str) -> std::result::Result<f64, &'static str> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|p| (0.0..=100.0).contains(p))
        .ok_or("must be 0 to 100")
}

/// Reads a folder of data from the command line; its name may be any that the system allows.
pub(crate) fn source() -> impl TypedValueParser<Value = Source> {
    OsStringValueParser::new().try_map(|text| Source::read(&text))
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
        note!("skipped: {error}");
    }
    if folder.pictures.is_empty() {
        return Err(format!("{}: no readable pictures", input.display()).into());
    }
    Ok(folder.pictures)
}
