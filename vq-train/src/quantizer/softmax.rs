//! Probabilities from scores, a row of codes at a time.

use super::lanes::{dot, maximum, sum};
use crate::nn::Scalar;

/// Scores become ln p; `p`, of the same length, receives p = softmax of the scores. Returns H(p) in nats.
pub(super) fn softmax<T: Scalar>(scores: &mut [T], p: &mut [T]) -> T {
    let largest = maximum(scores);
    for (p, score) in p.iter_mut().zip(&mut *scores) {
        *score -= largest;
        *p = score.fast_exp();
    }
    let sum = sum(p);
    let (log_sum, inverse) = (sum.ln(), T::one() / sum);
    for (p, log_p) in p.iter_mut().zip(&mut *scores) {
        *p *= inverse;
        *log_p -= log_sum;
    }
    -dot(p, scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_plain_formula() {
        let scores = [1.5, -0.3, 800.0, 799.0f64];
        let (mut log_p, mut p) = (scores, [0.0; 4]);
        let entropy = softmax(&mut log_p, &mut p);
        let q = 1.0 / (1.0 + (-1f64).exp());
        for (a, b) in p.iter().zip([0.0, 0.0, q, 1.0 - q]) {
            assert!((a - b).abs() < 1e-12, "{p:?}");
        }
        assert!((log_p[3] - (1.0 - q).ln()).abs() < 1e-12);
        let expected = -q * q.ln() - (1.0 - q) * (1.0 - q).ln();
        assert!((entropy - expected).abs() < 1e-9, "{entropy} {expected}");
    }
}
