//! A folder of photographs, and random crops of them at many scales.

use super::loaded::{DataError, Loaded};
use crate::picture::files::load_folder;
use crate::picture::{Picture, Region, Size};
use rand::{Rng, RngExt};
use std::collections::BTreeMap;
use std::path::Path;

/// Loads every picture that is at least as large as a crop; of names that begin with a key of
/// `limit`, at most that many.
pub(super) fn load(
    path: &Path,
    limit: &BTreeMap<String, usize>,
    channels: usize,
    size: Size,
) -> Result<Loaded, DataError> {
    let folder = load_folder(path, |p| p.with_channels(channels))?;
    let mut skipped: Vec<String> = folder.skipped.iter().map(ToString::to_string).collect();
    let mut left = limit.clone();
    let mut train = Vec::new();
    for (file, picture) in folder.pictures {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if let Some((_, n)) = left
            .iter_mut()
            .find(|(key, _)| name.starts_with(key.as_str()))
        {
            if *n == 0 {
                continue;
            }
            *n -= 1;
        }
        if picture.width < size.width || picture.height < size.height {
            let (have, file) = (picture.size(), file.display());
            skipped.push(format!("{file}: {have} is smaller than a crop of {size}"));
            continue;
        }
        train.push(picture);
    }
    Ok(Loaded {
        train,
        validation: None,
        skipped,
    })
}

/// A crop with the proportions of `size`, mirrored half of the time.
///
/// A share `whole` of the crops spans 80 to 100 % of the photo, so that it looks like a thumbnail;
/// the others span anything from one pixel per pixel up, uniformly in the logarithm.
pub(super) fn crop(picture: &Picture, size: Size, whole: f64, rng: &mut impl Rng) -> Picture {
    let fits = |p: usize, s: usize| p as f64 / s as f64;
    let largest = fits(picture.width, size.width).min(fits(picture.height, size.height));
    let zoom = if rng.random::<f64>() < whole {
        largest * (0.8 + 0.2 * rng.random::<f64>())
    } else {
        largest.powf(rng.random::<f64>())
    };
    let zoom = zoom.clamp(1.0, largest);
    let (width, height) = (size.width as f64 * zoom, size.height as f64 * zoom);
    let left = rng.random::<f64>() * (picture.width as f64 - width).max(0.0);
    let top = rng.random::<f64>() * (picture.height as f64 - height).max(0.0);
    let crop = picture.resample(
        Region {
            left,
            top,
            width,
            height,
        },
        size,
    );
    if rng.random() { mirrored(crop) } else { crop }
}

/// Other light and another camera: white balance, saturation, contrast and brightness vary by `strength`, each
/// factor uniformly in the logarithm between exp(-strength) and exp(strength), and brightness by as large a share
/// of half the range.
pub(super) fn jittered(mut picture: Picture, strength: f64, rng: &mut impl Rng) -> Picture {
    let mut draw = || strength * (2.0 * rng.random::<f64>() - 1.0);
    let (saturation, contrast) = (draw().exp() as f32, draw().exp() as f32);
    let middle = 128.0 + 128.0 * draw() as f32;
    let gains: Vec<f32> = (0..picture.channels)
        .map(|_| (draw() / 2.0).exp() as f32)
        .collect();
    for pixel in picture.pixels.chunks_exact_mut(picture.channels) {
        let sum: f32 = pixel.iter().map(|&p| f32::from(p)).sum();
        let grey = sum / pixel.len() as f32;
        for (p, gain) in pixel.iter_mut().zip(&gains) {
            let coloured = gain * (grey + saturation * (f32::from(*p) - grey));
            *p = (middle + contrast * (coloured - 128.0)).round() as u8;
        }
    }
    picture
}

fn mirrored(mut picture: Picture) -> Picture {
    let c = picture.channels;
    for row in picture.pixels.chunks_exact_mut(picture.width * c) {
        let n = row.len() / c;
        for x in 0..n / 2 {
            for i in 0..c {
                row.swap(x * c + i, (n - 1 - x) * c + i);
            }
        }
    }
    picture
}
