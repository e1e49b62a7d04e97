//! The `[loss]` of a configuration: what a reconstruction is compared by.

use super::error::{ConfigError, require};
use serde::{Deserialize, Serialize};

/// The losses of reconstructions and their weights; the quantiser adds terms of its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// Distance between picture and reconstruction, pixel by pixel.
    pub kind: PixelLossKind,
    /// Weight of that distance; 0 leaves it out.
    pub pixels: f64,
    /// Weight of LPIPS (AlexNet), for which `vq train --lpips` names the network's file; 0 leaves it out. LPIPS is
    /// taken of pictures without their first 0 to 3 rows and columns, of which each step draws the numbers.
    pub lpips: f64,
    /// Weight of 1 - MS-SSIM; 0 leaves it out.
    pub ms_ssim: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        LossConfig {
            kind: PixelLossKind::default(),
            pixels: 1.0,
            lpips: 0.0,
            ms_ssim: 0.0,
        }
    }
}

impl LossConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (field, weight) in [
            ("loss.pixels", self.pixels),
            ("loss.lpips", self.lpips),
            ("loss.ms_ssim", self.ms_ssim),
        ] {
            let finite = weight >= 0.0 && weight.is_finite();
            require(finite, field, "must be at least 0 and finite")?;
        }
        let some = self.pixels + self.lpips + self.ms_ssim > 0.0;
        let reason = "with lpips and ms_ssim at 0 too, nothing says what a reconstruction is";
        require(some, "loss.pixels", reason)
    }
}

/// Distances between pictures, pixel by pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum PixelLossKind {
    /// Mean squared error over the data's variance.
    #[default]
    Mse,
    /// Mean absolute error over the data's standard deviation.
    L1,
    /// Absolute error, smooth at zero: mean sqrt(e^2 + 1e-6) over the data's standard deviation.
    Charbonnier,
}
