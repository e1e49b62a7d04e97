//! MNIST and Fashion-MNIST: idx files of pictures, plain or gzipped (LeCun's page of 1998).

use super::loaded::{DataError, Loaded};
use crate::picture::{Picture, Size};
use std::io::Read;
use std::path::Path;

/// The magic number of a three-dimensional array of bytes.
const MAGIC: [u8; 4] = [0, 0, 8, 3];

/// `train-images-idx3-ubyte` and `t10k-images-idx3-ubyte`, each with or without `.gz`.
pub(super) fn load(folder: &Path) -> Result<Loaded, DataError> {
    let train = pictures(folder, "train-images-idx3-ubyte")?;
    let validation = Some(pictures(folder, "t10k-images-idx3-ubyte")?);
    Ok(Loaded {
        train,
        validation,
        skipped: Vec::new(),
    })
}

fn pictures(folder: &Path, name: &str) -> Result<Vec<Picture>, DataError> {
    let plain = folder.join(name);
    let zipped = folder.join(format!("{name}.gz"));
    let path = if plain.exists() { plain } else { zipped };
    let read = |source| DataError::Read {
        path: path.to_owned(),
        source,
    };
    let raw = std::fs::read(&path).map_err(read)?;
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|e| e == "gz") {
        flate2::read::GzDecoder::new(&raw[..])
            .read_to_end(&mut bytes)
            .map_err(read)?;
    } else {
        bytes = raw;
    }
    parse(&bytes, &path)
}

fn parse(bytes: &[u8], path: &Path) -> Result<Vec<Picture>, DataError> {
    let wrong = |reason: &str| DataError::Format {
        path: path.to_owned(),
        reason: reason.into(),
    };
    if bytes.len() < 16 || bytes[..4] != MAGIC {
        return Err(wrong(
            "not an idx file of pictures (its first bytes are not 0 0 8 3)",
        ));
    }
    let dim = |i: usize| u32::from_be_bytes(bytes[i..i + 4].try_into().expect("4 bytes")) as usize;
    let (n, height, width) = (dim(4), dim(8), dim(12));
    let area = height
        .checked_mul(width)
        .filter(|&a| a > 0)
        .ok_or_else(|| wrong("empty pictures"))?;
    let data = &bytes[16..];
    if area.checked_mul(n) != Some(data.len()) {
        let have = data.len();
        return Err(wrong(&format!(
            "{n} pictures of {width}x{height} are named, {have} bytes follow"
        )));
    }
    let size = Size { width, height };
    Ok(data
        .chunks_exact(area)
        .map(|p| Picture::new(size, 1, p.to_vec()))
        .collect())
}
