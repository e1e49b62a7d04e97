//! Softmax over rows: s = e^(x - max x) / sum e^(x - max x); backward dx = s (ds - sum s ds).

use super::lanes::{dot, maximum, sum};
use super::scalar::Scalar;
use super::simd::Loop;

/// In place on `[rows, columns]`.
pub(super) fn softmax<T: Scalar>(values: &mut [T], columns: usize) {
    Softmax { values, columns }.run_wide();
}

/// ds to dx in place, with s from [`softmax`]; both `[rows, columns]`.
pub(super) fn softmax_backward<T: Scalar>(s: &[T], ds: &mut [T], columns: usize) {
    Backward { s, ds, columns }.run_wide();
}

/// Rows of scores become ln p; `p`, of the same length, receives p = softmax of the scores, and `entropies`,
/// one for each row, H(p) in nats.
pub(crate) fn log_softmax<T: Scalar>(scores: &mut [T], p: &mut [T], entropies: &mut [T]) {
    LogSoftmax {
        scores,
        p,
        entropies,
    }
    .run_wide();
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
            let most = maximum(row);
            row.iter_mut().for_each(|v| *v = (*v - most).fast_exp());
            let share = T::one() / sum(row);
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
            let sum = dot(s, ds);
            for (ds, &s) in ds.iter_mut().zip(s) {
                *ds = s * (*ds - sum);
            }
        }
    }
}

struct LogSoftmax<'a, T> {
    scores: &'a mut [T],
    p: &'a mut [T],
    entropies: &'a mut [T],
}

impl<T: Scalar> Loop for LogSoftmax<'_, T> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        let columns = self.scores.len() / self.entropies.len().max(1);
        let rows = self.scores.chunks_exact_mut(columns.max(1));
        let rows = rows.zip(self.p.chunks_exact_mut(columns.max(1)));
        for ((scores, p), entropy) in rows.zip(self.entropies) {
            let most = maximum(scores);
            for (p, score) in p.iter_mut().zip(&mut *scores) {
                *score -= most;
                *p = score.fast_exp();
            }
            let sum = sum(p);
            let (log_sum, share) = (sum.ln(), T::one() / sum);
            for (p, log_p) in p.iter_mut().zip(&mut *scores) {
                *p *= share;
                *log_p -= log_sum;
            }
            *entropy = -dot(p, scores);
        }
    }
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

    #[test]
    fn logarithms_and_entropies_agree_with_the_plain_formula() {
        let row = [1.5, -0.3, 800.0, 799.0f64];
        let (mut log_p, mut p, mut entropies) = ([row, row].concat(), [0.0; 8], [0.0; 2]);
        log_softmax(&mut log_p, &mut p, &mut entropies);
        let q = 1.0 / (1.0 + (-1f64).exp());
        for (a, b) in p.iter().zip([0.0, 0.0, q, 1.0 - q].repeat(2)) {
            assert!((a - b).abs() < 1e-12, "{p:?}");
        }
        assert!((log_p[7] - (1.0 - q).ln()).abs() < 1e-12);
        let expected = -q * q.ln() - (1.0 - q) * (1.0 - q).ln();
        for entropy in entropies {
            assert!((entropy - expected).abs() < 1e-9, "{entropy} {expected}");
        }
    }
}
