//! Which range of real numbers each activation spans, seen on pictures.
//!
//! The f32 export runs in the core itself, with a probe that keeps a sample of every value. The
//! range that is kept is not the whole one: of some shrunken ranges, the one with the least squared
//! error, rounding inside and cutting outside together.

use crate::codec::{Codec, CodecError};
use crate::picture::Picture;
use vq_core::Probe;

/// About this many numbers of each row are kept.
const PER_ROW: usize = 64;
/// Shares of the whole range that are tried.
const SHRINK: [f32; 12] = [
    1.0, 0.96, 0.92, 0.88, 0.84, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5,
];

/// The smallest and the largest number to be told apart; they include 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Range {
    /// All numbers.
    pub(super) const EVERYTHING: Self = Self {
        low: f32::NEG_INFINITY,
        high: f32::INFINITY,
    };
}

/// A range for each value of a graph, the input included.
pub(super) type Ranges = Vec<Range>;

/// Ranges of the encoder's and of the decoder's values.
pub(super) fn ranges(codec: &Codec, pictures: &[Picture]) -> Result<[Ranges; 2], CodecError> {
    let mut seen = [Seen::default(), Seen::default()];
    for picture in pictures {
        let codes = codec.encode_with::<f32>(&mut seen[0], picture)?;
        codec.decode_with::<f32>(&mut seen[1], &codes, picture.size())?;
    }
    Ok(seen.map(|s| s.values.iter().map(Samples::range).collect()))
}

/// Keeps samples of all values of a graph.
#[derive(Default)]
struct Seen {
    values: Vec<Samples>,
}

#[derive(Clone, Default)]
struct Samples {
    kept: Vec<f32>,
    low: f32,
    high: f32,
    /// Numbers to pass over before the next one that is kept.
    skip: usize,
}

impl Probe<f32> for Seen {
    fn after(&mut self, value: usize, _y: u32, row: &[f32]) {
        if self.values.len() <= value {
            self.values.resize(value + 1, Samples::default());
        }
        let samples = &mut self.values[value];
        for &x in row {
            samples.low = samples.low.min(x);
            samples.high = samples.high.max(x);
        }
        // The stride is odd and goes on from row to row, so that it visits every channel.
        let stride = (row.len() / PER_ROW) | 1;
        let first = samples.skip.min(row.len());
        samples.kept.extend(row[first..].iter().step_by(stride));
        let behind = (row.len() - first) % stride;
        samples.skip = (samples.skip - first) + if behind == 0 { 0 } else { stride - behind };
    }
}

impl Samples {
    fn range(&self) -> Range {
        let whole = Range {
            low: self.low.min(0.0),
            high: self.high.max(0.0),
        };
        if whole.low == whole.high {
            return Range {
                low: 0.0,
                high: 1.0,
            };
        }
        let candidates = SHRINK.map(|s| Range {
            low: whole.low * s,
            high: whole.high * s,
        });
        let errors = candidates.map(|r| self.error(r));
        let best = (0..SHRINK.len()).min_by(|&a, &b| errors[a].total_cmp(&errors[b]));
        candidates[best.unwrap_or(0)]
    }

    fn error(&self, range: Range) -> f64 {
        let step = (range.high - range.low) / 255.0;
        let square = |&x: &f32| {
            let stored = (x.clamp(range.low, range.high) / step).round() * step;
            f64::from(x - stored).powi(2)
        };
        self.kept.iter().map(square).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_from_every_channel() {
        let mut seen = Seen::default();
        let (columns, channels) = (16, 32);
        for y in 0..64 {
            let row: Vec<f32> = (0..columns * channels)
                .map(|i| (i % channels) as f32)
                .collect();
            seen.after(0, y, &row);
        }
        let kept = &seen.values[0].kept;
        for channel in 0..channels {
            let share = kept.iter().filter(|&&v| v == channel as f32).count() as f64;
            let even = kept.len() as f64 / channels as f64;
            assert!(
                (share / even - 1.0).abs() < 0.2,
                "channel {channel}: {share} of {even}"
            );
        }
    }

    #[test]
    fn outliers_are_cut_only_where_that_lowers_the_error() {
        let even = |n: usize| (0..n).map(move |i| i as f32 / n as f32);
        let samples = |kept: Vec<f32>| {
            let (low, high) = (0.0, kept.iter().fold(0.0f32, |a, &b| a.max(b)));
            Samples {
                kept,
                low,
                high,
                skip: 0,
            }
        };
        assert_eq!(
            samples(even(5000).collect()).range(),
            Range {
                low: 0.0,
                high: 4999.0 / 5000.0
            }
        );
        let tail = samples(even(500_000).chain([2.0]).collect()).range();
        assert!(tail.high < 1.5, "{tail:?}");
    }
}
