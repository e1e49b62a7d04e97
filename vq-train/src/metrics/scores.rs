//! All metrics of one picture.

use super::ms_ssim::ms_ssim;
use super::psnr::psnr;
use super::ssim::ssim;
use super::ssimulacra2::ssimulacra2;
use crate::loss::Lpips;
use crate::picture::Picture;

/// The distances of one decoded picture from its original.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Peak signal-to-noise ratio in dB; higher is better.
    pub psnr: f64,
    /// Structural similarity, at most 1; absent where a side is shorter than its window of 7.
    pub ssim: Option<f64>,
    /// Structural similarity in up to five scales, at most 1; absent where a side is shorter than its window of 11.
    pub ms_ssim: Option<f64>,
    /// Perceptual distance, 0 for identical pictures; absent without weights or where a side is
    /// shorter than [`Lpips::MIN_SIDE`].
    pub lpips: Option<f64>,
    /// At most 100, higher is better; absent where a side is shorter than 8.
    pub ssimulacra2: Option<f64>,
}

impl Scores {
    /// Measures `decoded` against `original`.
    ///
    /// # Panics
    /// When the two differ in size or channels.
    pub fn measure(original: &Picture, decoded: &Picture, lpips: Option<&Lpips>) -> Scores {
        Scores {
            psnr: psnr(original, decoded),
            ssim: ssim(original, decoded),
            ms_ssim: ms_ssim(original, decoded),
            lpips: lpips.and_then(|network| network.distance(original, decoded)),
            ssimulacra2: ssimulacra2(original, decoded),
        }
    }
}
