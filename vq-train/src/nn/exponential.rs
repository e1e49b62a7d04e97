//! e^x in a form that compilers turn into vector instructions.

/// 1.5 * 2^23: adding it leaves a float's whole number in its last bits.
const WHOLE: f32 = 12_582_912.0;
/// What is beyond is taken for this: all numbers stay normal.
const MOST: f32 = 87.0;
/// ln 2 in two parts: the first of so few bits that n times it is exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;

/// With n = round(x / ln 2) and r = x - n ln 2: e^x = 2^n (1 + r + r^2 / 2! + ... + r^7 / 7!).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Not a number fails both comparisons and stays.
    let x = if x > MOST { MOST } else { x };
    let x = if x < -MOST { -MOST } else { x };
    let shifted = x * std::f32::consts::LOG2_E + WHOLE;
    let n = shifted - WHOLE;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut sum = 1.0 / 5040.0;
    for factor in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = sum * r + factor;
    }
    sum * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_within_two_units_of_the_last_place() {
        for i in -8700..=8700 {
            let x = i as f32 / 100.0;
            let error = (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs();
            assert!(error < 2.4e-7, "{x}: {error}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1000.0) < 2e-38 && exp(1000.0).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }
}
