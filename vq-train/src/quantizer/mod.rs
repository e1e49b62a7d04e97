//! Vector quantisation: from vectors to the nearest codes, and how the codes learn.

mod ema;
mod kmeans;

pub use ema::{Assignment, BatchStats, EmaQuantizer, EmaSettings};
pub use kmeans::kmeans;

/// exp of the entropy of a histogram: how many codes are in use, weighing each by its share.
///
/// 0 for an empty histogram.
pub fn perplexity(histogram: &[u64]) -> f64 {
    let total: u64 = histogram.iter().sum();
    if total == 0 {
        return 0.0;
    }
    let share = |&n: &u64| n as f64 / total as f64;
    let entropy: f64 = histogram
        .iter()
        .map(share)
        .filter(|&p| p > 0.0)
        .map(|p| -p * p.ln())
        .sum();
    entropy.exp()
}

/// The share of codes that occur at all.
pub fn usage(histogram: &[u64]) -> f64 {
    histogram.iter().filter(|&&n| n > 0).count() as f64 / histogram.len().max(1) as f64
}
