//! Everything that a run needs to go on as if nothing had happened, in one file.
//!
//! Magic, format version, length and CRC-32, then one postcard message. A file is replaced as a whole
//! (temporary file, fsync, rename): a killed process leaves the old one or the new one.

use crate::atomic;
use crate::config::Config;
use crate::gan::AdversaryState;
use crate::health::Health;
use crate::input;
use crate::optim::Adam;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 4] = *b"VQCK";
const VERSION: u32 = 5;
const HEADER: usize = 20;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// The checkpoint's name in a run's folder.
pub const FILE_NAME: &str = "checkpoint.vqck";

/// The state of a training run between two steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The run's configuration as TOML.
    pub config: String,
    /// Steps done.
    pub step: u64,
    /// Variance or standard deviation of the data, by which the loss is divided.
    pub scale: f64,
    /// The flat parameter vector, the quantiser's state included.
    pub params: Vec<f32>,
    /// Their moving average, with `optimizer.ema`.
    pub averaged: Option<Vec<f32>>,
    /// The optimiser's moments.
    pub adam: Adam,
    /// Whether the codes have been placed, so that latents are quantised.
    pub placed: bool,
    /// The discriminator, in adversarial training.
    pub adversary: Option<AdversaryState>,
    /// Steps that failed.
    pub health: Health,
}

/// Why a checkpoint cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system failed to read or write.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The bytes are no checkpoint of ours, or not whole.
    #[error("{path}: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Checkpoint {
    /// The checkpoint of a run that has just placed its codes, with these parameters; `scale` divides its pixel loss.
    pub fn of_params(config: &Config, params: Vec<f32>, scale: f64) -> Checkpoint {
        Checkpoint {
            config: config.to_toml(),
            step: config.quantizer.start + 1,
            scale,
            averaged: (config.optimizer.ema > 0.0).then(|| params.clone()),
            adam: Adam::new(params.len()),
            params,
            placed: true,
            adversary: None,
            health: Health::default(),
        }
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    /// What the system reports; the file that was there before is then untouched.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let body = postcard::to_stdvec(self).expect("plain data serialises");
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((body.len() as u64).to_le_bytes());
        bytes.extend(CRC.checksum(&body).to_le_bytes());
        bytes.extend(body);
        let io = |source| CheckpointError::Io {
            path: path.to_owned(),
            source,
        };
        atomic::write(path, &bytes).map_err(io)
    }

    /// Reads a file, or the checkpoint of a run's folder.
    ///
    /// # Errors
    /// An unreadable file, and any file that `save` did not write in this version.
    pub fn load(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let path = if path.is_dir() {
            path.join(FILE_NAME)
        } else {
            path.to_owned()
        };
        let io = |source| CheckpointError::Io {
            path: path.clone(),
            source,
        };
        let bytes = input::read(&path).map_err(io)?;
        parse(&bytes).map_err(|reason| CheckpointError::Format { path, reason })
    }
}

fn parse(bytes: &[u8]) -> Result<Checkpoint, &'static str> {
    let (header, body) = bytes
        .split_at_checked(HEADER)
        .ok_or("too short for a checkpoint")?;
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    if header[..4] != MAGIC {
        return Err("not a checkpoint (its first bytes are not VQCK)");
    }
    if word(4) != VERSION {
        return Err("a checkpoint of another version of vq");
    }
    let length = u64::from_le_bytes(header[8..16].try_into().expect("8 bytes"));
    if length != body.len() as u64 {
        return Err("the checkpoint is cut short");
    }
    if word(16) != CRC.checksum(body) {
        return Err("the checkpoint is damaged (its CRC does not match)");
    }
    postcard::from_bytes(body).map_err(|_| "the checkpoint is damaged (it does not parse)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        Checkpoint {
            config: "name = \"t\"".into(),
            step: 7,
            scale: 0.25,
            params: vec![1.0, -2.5],
            averaged: Some(vec![0.5, -1.5]),
            adam: Adam::new(2),
            placed: true,
            adversary: None,
            health: Health::default(),
        }
    }

    #[test]
    fn round_trip_by_file_and_by_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        sample().save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap(), sample());
        assert_eq!(Checkpoint::load(dir.path()).unwrap(), sample());
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        sample().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for n in 0..bytes.len() {
            assert!(parse(&bytes[..n]).is_err(), "cut to {n}");
            let mut flipped = bytes.clone();
            flipped[n] ^= 0x10;
            assert!(parse(&flipped).is_err(), "flipped at {n}");
        }
    }
}
