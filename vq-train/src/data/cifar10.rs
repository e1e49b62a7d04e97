//! CIFAR-10's binary files: records of a label and three 32x32 planes (Krizhevsky 2009).

use super::loaded::{DataError, Loaded};
use crate::picture::{Picture, Size};
use std::path::Path;

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const RECORD: usize = 1 + 3 * PLANE;

/// Every `data_batch_*.bin` to train on, `test_batch.bin` to validate on.
pub(super) fn load(folder: &Path) -> Result<Loaded, DataError> {
    let mut train = Vec::new();
    for i in 1..=5 {
        let path = folder.join(format!("data_batch_{i}.bin"));
        if path.exists() {
            train.extend(pictures(&path)?);
        }
    }
    if train.is_empty() {
        let reason = "no data_batch_1.bin to data_batch_5.bin".into();
        return Err(DataError::Empty {
            path: folder.to_owned(),
            reason,
        });
    }
    let validation = Some(pictures(&folder.join("test_batch.bin"))?);
    Ok(Loaded {
        train,
        validation,
        skipped: Vec::new(),
    })
}

fn pictures(path: &Path) -> Result<Vec<Picture>, DataError> {
    let read = |source| DataError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = std::fs::read(path).map_err(read)?;
    if bytes.is_empty() || bytes.len() % RECORD != 0 {
        let reason = format!(
            "{} bytes are no whole number of {RECORD}-byte records",
            bytes.len()
        );
        return Err(DataError::Format {
            path: path.to_owned(),
            reason,
        });
    }
    Ok(bytes
        .chunks_exact(RECORD)
        .map(|record| interleaved(&record[1..]))
        .collect())
}

fn interleaved(planes: &[u8]) -> Picture {
    let pixels = (0..PLANE).flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]]);
    Picture::new(
        Size {
            width: SIDE,
            height: SIDE,
        },
        3,
        pixels.collect(),
    )
}
