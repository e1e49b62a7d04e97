//! SSIMULACRA2 (Sneyers 2023), by the crate of that name.
//!
//! Structural similarity in six scales of the XYB colour space, with two measures of artefacts, weighted to
//! agree with the opinions of people: 30 is low quality, 50 medium, 70 high, 90 visually lossless. No loss of the
//! trainer contains it, so that it can judge between models that were trained by the others.

use super::assert_comparable;
use crate::picture::Picture;
use ssimulacra2::{ColorPrimaries, Rgb, TransferCharacteristic, compute_frame_ssimulacra2};

/// The shortest side that it is defined for.
const MIN_SIDE: usize = 8;

/// 100 for identical pictures, below zero for very bad ones; `None` where a side is shorter than 8. Grey pictures are
/// taken as RGB.
///
/// # Panics
/// When the pictures differ in size or channels.
pub fn ssimulacra2(a: &Picture, b: &Picture) -> Option<f64> {
    assert_comparable(a, b);
    (a.width.min(a.height) >= MIN_SIDE).then(|| {
        let [a, b] = [a, b].map(srgb);
        compute_frame_ssimulacra2(a, b).expect("sRGB pictures of one size, 8x8 at least")
    })
}

fn srgb(picture: &Picture) -> Rgb {
    let rgb = picture.with_channels(3);
    let (pixels, _) = rgb.pixels.as_chunks::<3>();
    let samples = pixels
        .iter()
        .map(|pixel| pixel.map(|v| f32::from(v) / 255.0));
    Rgb::new(
        samples.collect(),
        rgb.width,
        rgb.height,
        TransferCharacteristic::SRGB,
        ColorPrimaries::BT709,
    )
    .expect("as many pixels as the size says")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Size;

    /// A pattern, and noise of so many steps.
    fn picture(side: usize, channels: usize, noise: i32) -> Picture {
        let size = Size {
            width: side,
            height: side + 3,
        };
        let sample = |i: usize| {
            let (wave, hash) = (
                100.0 * (i as f64 / 50.0).sin(),
                (i * 7919 % 101) as i32 - 50,
            );
            (128 + wave as i32 + noise * hash / 50).clamp(0, 255) as u8
        };
        let samples = size.width * size.height * channels;
        Picture::new(size, channels, (0..samples).map(sample).collect())
    }

    #[test]
    fn more_noise_is_worse_and_none_is_a_hundred() {
        for channels in [1, 3] {
            let original = picture(40, channels, 0);
            let scores = [0, 4, 20, 80]
                .map(|noise| ssimulacra2(&original, &picture(40, channels, noise)).unwrap());
            assert!((scores[0] - 100.0).abs() < 1e-6, "{scores:?}");
            assert!(scores.is_sorted_by(|a, b| a > b), "{scores:?}");
        }
    }

    #[test]
    fn small_pictures_have_none() {
        let small = picture(7, 3, 0);
        assert_eq!(ssimulacra2(&small, &small), None);
        let enough = picture(8, 3, 0);
        assert!(ssimulacra2(&enough, &enough).is_some());
    }
}
