//! e^x and tanh in f32, for loops that the compiler vectorises.

/// e^x with a relative error below 1e-7; x counts as -87 below that, and as 88 above.
///
/// x = n ln 2 + r with |r| at most half of ln 2: e^r by a polynomial fitted for the least relative
/// error, 2^n by its bits. ln 2 is split in two so that n times its first part is exact.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.0;
    const HIGHEST: f32 = 88.0;
    /// Adding it rounds to whole numbers, which then are the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const ONE: u32 = 1.0f32.to_bits();
    // NaN fails both comparisons and stays.
    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > HIGHEST { HIGHEST } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let p = 0.001_381_446_7;
    let p = p * r + 0.008_368_781;
    let p = p * r + 0.041_668_393;
    let p = p * r + 0.166_665_2;
    let p = p * r + 0.499_999_94;
    let fraction = (p * (r * r) + r) + 1.0;
    fraction * f32::from_bits((rounded.to_bits() << 23).wrapping_add(ONE))
}

/// tanh with a relative error below 4e-7: its series where 1 - e^-2x would cancel.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    /// Up to here the series' next term, 1382/155925 x^11, is below 1e-8 of the whole.
    const NEAR: f32 = 0.25;
    let square = x * x;
    let p = 62.0 / 2835.0;
    let p = p * square - 17.0 / 315.0;
    let p = p * square + 2.0 / 15.0;
    let p = p * square - 1.0 / 3.0;
    let near = x + x * square * p;
    let e = exp(-2.0 * x.abs());
    let far = ((1.0 - e) / (1.0 + e)).copysign(x);
    if x.abs() < NEAR { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::scalar::sigmoid;
    use crate::nn::simd::Loop;

    /// The largest relative error over -range ..= range.
    fn error(range: f64, ours: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        let points = (-200_000..=200_000).map(|i| (range * f64::from(i) / 200_000.0) as f32);
        let errors = points.filter(|&x| x != 0.0).map(|x| {
            let exact = exact(f64::from(x));
            ((f64::from(ours(x)) - exact) / exact).abs()
        });
        errors.fold(0.0, f64::max)
    }

    #[test]
    fn curves_are_accurate() {
        assert!(error(87.0, exp, f64::exp) < 1e-7);
        assert!(error(1e-3, exp, f64::exp) < 1e-7);
        assert!(error(10.0, tanh, f64::tanh) < 4e-7);
        assert!(error(0.3, tanh, f64::tanh) < 4e-7);
        let exact = |x: f64| 1.0 / (1.0 + (-x).exp());
        assert!(error(80.0, sigmoid, exact) < 3e-7);
    }

    struct Exponentials<'v>(&'v mut [f32]);

    impl Loop for Exponentials<'_> {
        type Float = f32;

        #[inline(always)]
        fn run(self) {
            self.0.iter_mut().for_each(|v| *v = exp(*v));
        }
    }

    #[test]
    fn wide_registers_give_the_same_bits() {
        let plain = |i: i32| (i - 500) as f32 * 0.19;
        let mut plain: Vec<f32> = (0..1003).map(plain).collect();
        let mut wide = plain.clone();
        Exponentials(&mut plain).run();
        Exponentials(&mut wide).run_wide();
        assert_eq!(plain, wide);
    }

    #[test]
    fn ends_stay_finite_and_nan_stays_nan() {
        assert!(exp(1e30).is_finite() && exp(f32::INFINITY).is_finite());
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
        assert_eq!(sigmoid(-1e30f32), 1.0 / (1.0 + exp(1e30)));
        assert_eq!((tanh(1e30), tanh(-1e30)), (1.0, -1.0));
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
        assert_eq!((exp(0.0), tanh(0.0), sigmoid(0.0f32)), (1.0, 0.0, 0.5));
    }
}
