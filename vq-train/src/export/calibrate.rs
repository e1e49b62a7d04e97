//! Which range of real numbers each activation spans, seen on pictures.
//!
//! The f32 export runs in the core itself, with a probe that keeps a sample of every value. The
//! range that is kept is not the whole one: of some shrunken ranges, the one with the least squared
//! error, rounding inside and cutting outside together.

use crate::codec::{Codec, CodecError};
use crate::picture::Picture;
use vq_core::Probe;

/// At most this many numbers of each value are kept.
const SAMPLES: usize = 1 << 16;
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

/// A range for each value of a graph, the input included.
pub(super) type Ranges = Vec<Range>;

/// Ranges of the encoder's and of the decoder's values.
pub(super) fn ranges(codec: &Codec, pictures: &[Picture]) -> Result<[Ranges; 2], CodecError> {
    let mut seen = [Seen::new(pictures.len()), Seen::new(pictures.len())];
    for picture in pictures {
        let codes = codec.encode_with::<f32>(&mut seen[0], picture)?;
        codec.decode_with::<f32>(&mut seen[1], &codes, picture.size())?;
    }
    Ok(seen.map(|s| s.values.iter().map(Samples::range).collect()))
}

/// Keeps samples of all values of a graph.
struct Seen {
    pictures: usize,
    values: Vec<Samples>,
}

#[derive(Clone, Default)]
struct Samples {
    kept: Vec<f32>,
    low: f32,
    high: f32,
}

impl Seen {
    fn new(pictures: usize) -> Seen {
        Seen {
            pictures,
            values: Vec::new(),
        }
    }
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
        // A prime stride visits all channels in turn.
        let most = (SAMPLES / self.pictures).max(1024);
        let stride = if row.len() > most / 32 { 37 } else { 1 };
        if samples.kept.len() < SAMPLES {
            samples.kept.extend(row.iter().step_by(stride));
        }
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
