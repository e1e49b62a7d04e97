//! What several commands need to read their arguments and inputs.

use crate::messages::note;
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::path::{Path, PathBuf};
use vq_core::bitstream::{Header, Stream};
use vq_core::format::container::MAGIC;
use vq_train::codec::{Codec, CodecError};
use vq_train::config::Source;
use vq_train::packets::{Fault, Frame, Sorted, frames};
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

/// The packets in the bytes of the .vqc file `path`, and what is damaged between them; at least one.
pub(crate) fn packets<'f>(path: &Path, file: &'f [u8]) -> Result<Vec<Frame<'f>>> {
    let frames: Vec<_> = frames(file).collect();
    let good = |frame: &Frame<'_>| frame.packet.and_then(Header::read).is_ok();
    let fault = frames.iter().find_map(|frame| frame.packet.err());
    let why = match fault {
        _ if file.is_empty() => "it is empty".to_owned(),
        _ if file.starts_with(&MAGIC) => "it is a model".to_owned(),
        // Other bytes than packets hardly lead from one length to the next up to their end.
        Some(fault) if !frames.iter().any(good) => fault.to_string(),
        _ => return Ok(frames),
    };
    Err(format!("{} is no file of packets: {why}", path.display()).into())
}

/// The good packets of the .vqc file `path`, by picture. What could not be used is named.
pub(crate) fn sorted<'f>(path: &Path, file: &'f [u8], stream: &Stream) -> Result<Sorted<'f>> {
    let frames = packets(path, file)?;
    let frames = frames.iter().map(|frame| (frame.at, frame.packet));
    let sorted = Sorted::new(stream, frames);
    let path = path.display();
    for Fault { at, error } in &sorted.faults {
        note!("{path}: refused at byte {at}: {error}");
    }
    for number in sorted.shared_numbers() {
        note!("{path}: several pictures have the number {number}, and may be mixed");
    }
    match sorted.faults.first() {
        Some(fault) if sorted.pictures.is_empty() => {
            Err(format!("{path}: {}", CodecError::Nothing(fault.error)).into())
        }
        _ => Ok(sorted),
    }
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
