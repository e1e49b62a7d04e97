//! Structural similarity, as scikit-image computes it by default.
//!
//! `skimage.metrics.structural_similarity(a, b, channel_axis=2, data_range=255)`: a uniform window
//! of 7x7, sample covariance (divided by 48), K1 = .01, K2 = .03, the mean over all whole windows
//! and then over the channels. It is not the Gaussian 11x11 window of Wang et al. 2004, whose
//! values are a little different; figures are only comparable within one definition.

use super::assert_comparable;
use crate::picture::Picture;

const WINDOW: usize = 7;
const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);

/// Mean structural similarity, at most 1; `None` where a side is shorter than the window of 7.
///
/// # Panics
/// When the pictures differ in size or channels.
pub fn ssim(a: &Picture, b: &Picture) -> Option<f64> {
    assert_comparable(a, b);
    let rows = (a.height + 1).checked_sub(WINDOW).filter(|&n| n > 0)?;
    let columns = (a.width + 1).checked_sub(WINDOW).filter(|&n| n > 0)?;
    let windows = rows * columns * a.channels;
    // Rows are added up in order, so the last bit does not depend on anything but the pictures.
    let total: f64 = (0..rows).map(|top| sum_of_row(a, b, top)).sum();
    Some(total / windows as f64)
}

/// The sums over one window that its statistics need; integers, hence exact.
#[derive(Clone, Copy, Default)]
struct Moments {
    a: u32,
    b: u32,
    aa: u32,
    bb: u32,
    ab: u32,
}

impl Moments {
    fn of(p: u8, q: u8) -> Moments {
        let (a, b) = (u32::from(p), u32::from(q));
        Moments {
            a,
            b,
            aa: a * a,
            bb: b * b,
            ab: a * b,
        }
    }

    fn plus(self, other: Moments) -> Moments {
        Moments {
            a: self.a + other.a,
            b: self.b + other.b,
            aa: self.aa + other.aa,
            bb: self.bb + other.bb,
            ab: self.ab + other.ab,
        }
    }

    /// Equation 13 of Wang et al. 2004, with sample covariance.
    fn ssim(self) -> f64 {
        const N: f64 = (WINDOW * WINDOW) as f64;
        let (ma, mb) = (f64::from(self.a) / N, f64::from(self.b) / N);
        let covariance = |products: u32, means: f64| (f64::from(products) - N * means) / (N - 1.0);
        let va = covariance(self.aa, ma * ma);
        let vb = covariance(self.bb, mb * mb);
        let vab = covariance(self.ab, ma * mb);
        (2.0 * ma * mb + C1) * (2.0 * vab + C2) / ((ma * ma + mb * mb + C1) * (va + vb + C2))
    }
}

/// The similarities of all windows, of all channels, whose upper row is `top`, added up.
///
/// Columns are summed over the window's rows first and shared by the windows that hold them.
fn sum_of_row(a: &Picture, b: &Picture, top: usize) -> f64 {
    let stride = a.width * a.channels;
    let columns: Vec<Moments> = (0..stride)
        .map(|i| {
            let sample = |y: usize| Moments::of(a.pixels[y * stride + i], b.pixels[y * stride + i]);
            (top..top + WINDOW)
                .map(sample)
                .fold(Moments::default(), Moments::plus)
        })
        .collect();
    (0..stride - (WINDOW - 1) * a.channels)
        .map(|i| {
            let window = columns[i..].iter().step_by(a.channels).take(WINDOW);
            window
                .fold(Moments::default(), |sum, &m| sum.plus(m))
                .ssim()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Size;

    #[test]
    fn identical_is_one_and_small_is_none() {
        let size = Size {
            width: 7,
            height: 9,
        };
        let picture = Picture::new(size, 1, (0..63).map(|i| i * 4).collect());
        assert_eq!(ssim(&picture, &picture), Some(1.0));
        let narrow = Picture::filled(
            Size {
                width: 6,
                height: 9,
            },
            &[0],
        );
        assert_eq!(ssim(&narrow, &narrow), None);
    }

    #[test]
    fn flat_pictures_compare_by_luminance_alone() {
        let size = Size {
            width: 8,
            height: 8,
        };
        let pair = [100, 50].map(|v| Picture::filled(size, &[v, v, v]));
        let expected = (2.0 * 100.0 * 50.0 + C1) / (100.0 * 100.0 + 50.0 * 50.0 + C1);
        assert!((ssim(&pair[0], &pair[1]).unwrap() - expected).abs() < 1e-12);
    }
}
