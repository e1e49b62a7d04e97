//! How many of their codes quantisers use.

/// How often each code of all stages occurs, stage behind stage, `[sum of K]`.
pub fn histogram(codes: &[u16], stages: &[usize]) -> Vec<u64> {
    let per_stage = codes.len() / stages.len();
    let mut counts = Vec::new();
    for (stage, &k) in stages.iter().enumerate() {
        let first = counts.len();
        counts.resize(first + k, 0);
        for &code in &codes[stage * per_stage..(stage + 1) * per_stage] {
            counts[first + usize::from(code)] += 1;
        }
    }
    counts
}

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
