//! How many of their codes quantisers use.

use super::quantize::Stage;

/// How often each code of all stages occurs, stage behind stage, `[sum of K]`.
///
/// `codes` are those of any number of whole maps, stage behind stage.
pub fn histogram(codes: &[u16], stages: &[Stage]) -> Vec<u64> {
    // In squares of the coarsest stage.
    let area = stages.first().map_or(1, |first| first.side * first.side);
    let codes_of_square: usize = stages.iter().map(|stage| stage.of(area)).sum();
    let squares = codes.len() / codes_of_square.max(1);
    let mut counts = Vec::new();
    let mut rest = codes;
    for stage in stages {
        let (own, behind) = rest.split_at(squares * stage.of(area));
        rest = behind;
        let first = counts.len();
        counts.resize(first + stage.codes, 0);
        for &code in own {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_codes_for_its_squares() {
        let stages = [(2, 2), (3, 1)].map(|(codes, side)| Stage { codes, side });
        let codes = [0, 1, 2, 2, 2, 2, 1, 1, 1, 1];
        assert_eq!(histogram(&codes, &stages), [1, 1, 0, 4, 4]);
        assert_eq!(histogram(&[], &stages), [0; 5]);
    }
}
