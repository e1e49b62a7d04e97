//! Sums and maxima of slices in lanes, which compilers turn into vector instructions.
//!
//! The lanes are the same on every CPU, and so are the results.

use super::scalar::Scalar;

const LANES: usize = 16;

/// Sum of a b.
#[inline(always)]
pub(crate) fn dot<T: Scalar>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::zero(); LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for (sum, (&a, &b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    for (sum, (&a, &b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += a * b;
    }
    sums.iter().fold(T::zero(), |all, &sum| all + sum)
}

/// Sum of a.
#[inline(always)]
pub(crate) fn sum<T: Scalar>(a: &[T]) -> T {
    let mut sums = [T::zero(); LANES];
    let (rows, rest) = a.as_chunks::<LANES>();
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
    }
    sums.iter_mut().zip(rest).for_each(|(sum, &x)| *sum += x);
    sums.iter().fold(T::zero(), |all, &sum| all + sum)
}

/// The largest number; minus infinity where all are NaN.
#[inline(always)]
pub(crate) fn maximum<T: Scalar>(a: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let mut lanes = [T::neg_infinity(); LANES];
    let (rows, rest) = a.as_chunks::<LANES>();
    for row in rows {
        lanes
            .iter_mut()
            .zip(row)
            .for_each(|(lane, &x)| *lane = larger(*lane, x));
    }
    let all = lanes.iter().chain(rest);
    all.fold(T::neg_infinity(), |a, &b| larger(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agree_with_plain_loops() {
        for n in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f64> = (0..n).map(|i| f64::from(i * 7 % 13) - 9.0).collect();
            let b: Vec<f64> = (0..n).map(|i| f64::from(i * 5 % 11)).collect();
            let products = a.iter().zip(&b).map(|(a, b)| a * b);
            assert_eq!(dot(&a, &b), products.sum::<f64>());
            assert_eq!(sum(&a), a.iter().sum::<f64>());
            let plain = a.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            assert_eq!(maximum(&a), plain);
        }
        assert_eq!(maximum(&[f32::NAN, -3.0]), -3.0);
    }
}
