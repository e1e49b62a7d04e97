//! Training data: from files to batches.
//!
//! Which pictures make up step `t`, how they are cropped and how they are flipped follows from the
//! seed and `t` alone. So a resumed run needs no generator's state, and no thread count changes it.

mod loaded;
mod photos;
mod mnist;
mod cifar10;
mod mix;

pub use loaded::DataError;

use crate::config::{Config, DataConfig, DataKind, Source};
use crate::picture::{Picture, Size};
use crate::random::{Purpose, generator};
use loaded::Loaded;
use mix::Mix;
use ndarray::Array4;
use rand::Rng;
use rayon::prelude::*;
use std::path::Path;

/// Pictures to train on and pictures to validate on.
#[derive(Debug)]
pub struct Dataset {
    train: Mix,
    /// Held out, already at the training size.
    pub validation: Vec<Picture>,
    /// Files that could not be used, one message each.
    pub skipped: Vec<String>,
    size: Size,
    kind: DataKind,
    whole: f64,
    jitter: f64,
    seed: u64,
}

impl Dataset {
    /// Loads the folders `sources`, or, when that is empty, those that the configuration names;
    /// `validation` replaces their held-out shares by the pictures of another folder.
    pub fn load(
        config: &Config,
        sources: &[Source],
        validation: Option<&Path>,
    ) -> Result<Dataset, DataError> {
        let data = &config.data;
        let named = data.sources();
        let sources = if sources.is_empty() { &named } else { sources };
        if sources.is_empty() {
            return Err(DataError::NoPath);
        }
        let channels = config.model.channels;
        let size = training_size(config);
        let (mut train, mut held, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for Source { path, weight } in sources {
            let loaded = load(data, path, channels, size)?;
            let (some, rest) = match (validation, loaded.validation) {
                (Some(_), _) => (loaded.train, Vec::new()),
                (None, Some(own)) => (loaded.train, own),
                (None, None) => hold_out(loaded.train, data.holdout),
            };
            if some.is_empty() {
                return Err(nothing_in(path, &loaded.skipped));
            }
            train.push((some, *weight));
            held.extend(rest);
            skipped.extend(loaded.skipped);
        }
        if let Some(folder) = validation {
            let other = photos::load(folder, &Default::default(), channels, size)?;
            held = other.train;
            skipped.extend(other.skipped);
        }
        Ok(Dataset {
            train: Mix::new(train),
            validation: held.par_iter().map(|p| p.fit(size)).collect(),
            skipped,
            size,
            kind: data.kind,
            whole: data.whole,
            jitter: data.jitter,
            seed: config.seed,
        })
    }

    /// A dataset of photos that are in memory already, for demonstrations and tests.
    pub fn from_pictures(
        config: &Config,
        train: Vec<Picture>,
        validation: Vec<Picture>,
    ) -> Dataset {
        let size = training_size(config);
        Dataset {
            train: Mix::new(vec![(train, 1.0)]),
            validation: validation.iter().map(|p| p.fit(size)).collect(),
            skipped: Vec::new(),
            size,
            kind: DataKind::Photos,
            whole: config.data.whole,
            jitter: config.data.jitter,
            seed: config.seed,
        }
    }

    /// Number of training pictures.
    pub fn len(&self) -> usize {
        self.train.len()
    }

    /// Whether there is nothing to train on; a loaded dataset never is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch of a step, `[batch, h, w, channels]`.
    pub fn batch(&self, step: u64, batch: usize) -> Array4<f32> {
        let first = step * batch as u64;
        let pictures: Vec<&Picture> = (0..batch as u64)
            .map(|i| self.train.picture(self.seed, first + i))
            .collect();
        let crops: Vec<Picture> = pictures
            .into_par_iter()
            .enumerate()
            .map(|(i, picture)| {
                let mut rng = generator(self.seed, Purpose::Crop, first + i as u64);
                self.crop(picture, &mut rng)
            })
            .collect();
        to_batch(&crops)
    }

    /// The variance of all values over a fixed sample of training crops, in the network's units.
    pub fn variance(&self) -> f64 {
        const SAMPLE: usize = 256;
        let x = self.batch(0, SAMPLE.min(4 * self.len()));
        let n = x.len() as f64;
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = x
            .iter()
            .map(|&v| (f64::from(v) - mean).powi(2))
            .sum::<f64>()
            / n;
        variance.max(1e-6)
    }

    fn crop(&self, picture: &Picture, rng: &mut impl Rng) -> Picture {
        match self.kind {
            DataKind::Photos => {
                let crop = photos::crop(picture, self.size, self.whole, rng);
                if self.jitter > 0.0 {
                    photos::jittered(crop, self.jitter, rng)
                } else {
                    crop
                }
            }
            DataKind::Mnist | DataKind::Cifar10 => picture.clone(),
        }
    }
}

fn training_size(config: &Config) -> Size {
    let [width, height] = config.data.size;
    Size { width, height }
}

fn nothing_in(path: &Path, skipped: &[String]) -> DataError {
    let first = skipped.first().map_or("", String::as_str);
    DataError::Empty {
        path: path.to_owned(),
        reason: format!("{} files skipped; {first}", skipped.len()),
    }
}

fn load(data: &DataConfig, path: &Path, channels: usize, size: Size) -> Result<Loaded, DataError> {
    let fit = |pictures: Vec<Picture>| -> Vec<Picture> {
        pictures
            .into_par_iter()
            .map(|p| pad_to(&p.with_channels(channels), size))
            .collect()
    };
    let mut loaded = match data.kind {
        DataKind::Photos => return photos::load(path, &data.limit, channels, size),
        DataKind::Mnist => mnist::load(path)?,
        DataKind::Cifar10 => cifar10::load(path)?,
    };
    loaded.train = fit(loaded.train);
    loaded.validation = loaded.validation.map(fit);
    Ok(loaded)
}

/// Centres a picture on black where the training size is larger; resamples where it is smaller.
fn pad_to(picture: &Picture, size: Size) -> Picture {
    if picture.width > size.width || picture.height > size.height {
        return picture.fit(size);
    }
    let c = picture.channels;
    let mut out = Picture::filled(size, &vec![0; c]);
    let (left, top) = (
        (size.width - picture.width) / 2,
        (size.height - picture.height) / 2,
    );
    for (y, row) in picture.pixels.chunks_exact(picture.width * c).enumerate() {
        let at = ((top + y) * size.width + left) * c;
        out.pixels[at..at + row.len()].copy_from_slice(row);
    }
    out
}

/// Every so-many-th picture is held out, at least one where a share is asked for.
fn hold_out(pictures: Vec<Picture>, share: f64) -> (Vec<Picture>, Vec<Picture>) {
    if share <= 0.0 || pictures.len() < 2 {
        return (pictures, Vec::new());
    }
    let every = ((1.0 / share).round() as usize).clamp(2, pictures.len());
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for (i, picture) in pictures.into_iter().enumerate() {
        let side = if i % every == every - 1 {
            &mut validation
        } else {
            &mut train
        };
        side.push(picture);
    }
    (train, validation)
}

/// Pictures of one size as the network sees them: (p - 128) / 128, `[n, h, w, channels]`.
pub fn to_batch(pictures: &[Picture]) -> Array4<f32> {
    let first = &pictures[0];
    let shape = (pictures.len(), first.height, first.width, first.channels);
    let value = |&p: &u8| (f32::from(p) - 128.0) / 128.0;
    let values = pictures
        .iter()
        .flat_map(|p| p.pixels.iter().map(value))
        .collect();
    Array4::from_shape_vec(shape, values).expect("pictures agree in size")
}

/// The network's outputs as pictures: round(clamp(128 x + 128, 0, 255)).
pub fn to_pictures(batch: &Array4<f32>) -> Vec<Picture> {
    let (_, height, width, channels) = batch.dim();
    let byte = |&x: &f32| (128.0 * x + 128.0).clamp(0.0, 255.0).round() as u8;
    let picture = |map: ndarray::ArrayView3<'_, f32>| {
        Picture::new(
            Size { width, height },
            channels,
            map.iter().map(byte).collect(),
        )
    };
    batch.outer_iter().map(picture).collect()
}

#[cfg(test)]
mod tests;
