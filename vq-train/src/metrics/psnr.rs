//! Peak signal-to-noise ratio of 8-bit pictures.

use super::assert_comparable;
use crate::picture::Picture;

/// What [`psnr`] says of identical pictures, in dB, and the most that it says of any.
///
/// The true value is infinite, which would swallow every mean and is no number in JSON.
pub const PSNR_OF_IDENTICAL: f64 = 100.0;

/// `10 log10(255^2 / MSE)` in dB, the mean squared error being taken over all samples of all
/// channels. For a set of pictures it is usual to average these values, not the errors.
///
/// # Panics
/// When the pictures differ in size or channels.
pub fn psnr(a: &Picture, b: &Picture) -> f64 {
    let mse = mean_squared_error(a, b);
    (10.0 * (255.0 * 255.0 / mse).log10()).min(PSNR_OF_IDENTICAL)
}

/// The mean squared error over all samples of all channels, in squared steps of a byte.
///
/// # Panics
/// When the pictures differ in size or channels.
pub fn mean_squared_error(a: &Picture, b: &Picture) -> f64 {
    assert_comparable(a, b);
    let squares = a
        .pixels
        .iter()
        .zip(&b.pixels)
        .map(|(&p, &q)| u64::from(p.abs_diff(q)).pow(2));
    squares.sum::<u64>() as f64 / a.pixels.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Size;

    #[test]
    fn known_values() {
        let size = Size {
            width: 4,
            height: 2,
        };
        let black = Picture::filled(size, &[0, 0, 0]);
        assert_eq!(psnr(&black, &Picture::filled(size, &[255, 255, 255])), 0.0);
        assert_eq!(psnr(&black, &black), PSNR_OF_IDENTICAL);
        // An error of 5 in one of three channels: MSE = 25 / 3.
        let off = psnr(&black, &Picture::filled(size, &[0, 5, 0]));
        assert!((off - 38.922_616).abs() < 1e-6, "{off}");
    }
}
