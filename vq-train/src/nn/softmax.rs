//! Softmax over rows: s = e^(x - max x) / sum e^(x - max x); backward dx = s (ds - sum s ds).
//!
//! Maxima and sums go over a row in lanes, whose order is fixed.

use super::{Loop, Scalar};

/// Partial results of a row.
const LANES: usize = 16;

/// In place on `[rows, columns]`.
pub(super) fn softmax<T: Scalar>(values: &mut [T], columns: usize) {
    Softmax { values, columns }.run_wide();
}

/// ds to dx in place, with s from [`softmax`]; both `[rows, columns]`.
pub(super) fn softmax_backward<T: Scalar>(s: &[T], ds: &mut [T], columns: usize) {
    Backward { s, ds, columns }.run_wide();
}

struct Softmax<'a, T> {
    values: &'a mut [T],
    columns: usize,
}

impl<T: Scalar> Loop for Softmax<'_, T> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        for row in self.values.chunks_exact_mut(self.columns) {
            let larger = |a, b| if a > b { a } else { b };
            let most = reduce(row.len(), row[0], |i| row[i], larger);
            row.iter_mut().for_each(|v| *v = (*v - most).fast_exp());
            let sum = reduce(row.len(), T::zero(), |i| row[i], |a, b| a + b);
            let share = T::one() / sum;
            row.iter_mut().for_each(|v| *v *= share);
        }
    }
}

struct Backward<'a, T> {
    s: &'a [T],
    ds: &'a mut [T],
    columns: usize,
}

impl<T: Scalar> Loop for Backward<'_, T> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        let columns = self.columns;
        let rows = self.s.chunks_exact(columns);
        for (s, ds) in rows.zip(self.ds.chunks_exact_mut(columns)) {
            let (s, ds) = (&s[..columns], &mut ds[..columns]);
            let sum = reduce(columns, T::zero(), |i| s[i] * ds[i], |a, b| a + b);
            for (ds, &s) in ds.iter_mut().zip(s) {
                *ds = s * (*ds - sum);
            }
        }
    }
}

/// Joins the values 0..len in lanes, then the lanes; `start` changes nothing, or is one of the values.
#[inline(always)]
fn reduce<T: Scalar>(
    len: usize,
    start: T,
    value: impl Fn(usize) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    let mut lanes = [start; LANES];
    for first in (0..len / LANES * LANES).step_by(LANES) {
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = join(*lane, value(first + i));
        }
    }
    let rest = (len / LANES * LANES..len).fold(start, |a, i| join(a, value(i)));
    lanes.into_iter().fold(rest, join)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(columns: usize) -> Vec<f64> {
        let value = |i: usize| (i * 37 % 101) as f64 / 25.0 - 2.0;
        (0..3 * columns).map(value).collect()
    }

    #[test]
    fn rows_add_up_to_one_and_agree_with_the_formula() {
        for columns in [1, 5, 16, 50] {
            let x = rows(columns);
            let mut s: Vec<f32> = x.iter().map(|&v| v as f32 + 500.0).collect();
            softmax(&mut s, columns);
            for (x, s) in x.chunks(columns).zip(s.chunks(columns)) {
                let sum: f64 = x.iter().map(|v| v.exp()).sum();
                for (x, &s) in x.iter().zip(s) {
                    // 500 costs the sixteen bits that it takes of x.
                    assert!((x.exp() / sum / f64::from(s) - 1.0).abs() < 1e-4);
                }
                assert!((s.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn gradient_matches_finite_differences() {
        for columns in [1, 7, 35] {
            let x = rows(columns);
            let probe: Vec<f64> = x.iter().rev().map(|v| v * 0.7 + 0.1).collect();
            let mut s = x.clone();
            softmax(&mut s, columns);
            let mut dx = probe.clone();
            softmax_backward(&s, &mut dx, columns);
            let loss = |i: usize, step: f64| {
                let mut s = x.clone();
                s[i] += step;
                softmax(&mut s, columns);
                s.iter().zip(&probe).map(|(a, b)| a * b).sum::<f64>()
            };
            for (i, dx) in dx.into_iter().enumerate() {
                let numeric = (loss(i, 1e-6) - loss(i, -1e-6)) / 2e-6;
                assert!((dx - numeric).abs() < 1e-8, "{i}: {dx} {numeric}");
            }
        }
    }

    #[test]
    fn nan_stays_visible() {
        let mut row = [1.0f32, f32::NAN, 2.0];
        softmax(&mut row, 3);
        assert!(row.iter().all(|v| v.is_nan()));
    }
}
