//! What a codec costs and gives over a set of pictures, next to its rivals: the library behind
//! `vq eval`.
//!
//! The codec is a closure from a picture to a [`Coded`] one, so nothing here depends on a model.
//! Every picture is coded, measured, and given to each rival at the setting nearest in bytes;
//! the figures are means over the pictures.

mod report;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use report::{CodeUse, Figures, Report, RivalFigures};
use report::{Measure, RivalMeasure, Row};

use crate::metrics::{Lpips, Scores};
use crate::picture::Picture;
use crate::rivals::{Rival, RivalError, RivalPicture};
use crate::sheet::{Cell, Sheet};

/// A picture that went through the codec and back.
#[derive(Clone, Debug)]
pub struct Coded {
    /// The decoded picture, of the original's size and channels.
    pub picture: Picture,
    /// All that has to be sent for it, headers included.
    pub bytes: usize,
    /// The codes of each stage; values outside of the codebook (missing codes) are not counted.
    pub codes: Vec<Vec<u16>>,
}

/// What to measure.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// The network for LPIPS, or none to leave it out.
    pub lpips: Option<&'a Lpips>,
    /// Whom to compare with.
    pub rivals: &'a [Rival],
    /// The number of codes in each stage's codebook.
    pub codebooks: &'a [usize],
    /// How many pictures, from the first, to keep for a contact sheet.
    pub samples: usize,
}

/// The outcome of [`evaluate`].
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The figures over all pictures.
    pub report: Report,
    /// The first pictures with what every codec made of them.
    pub samples: Vec<Sample>,
}

/// One picture with everything that was made of it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Where it came from.
    pub path: PathBuf,
    /// As it was.
    pub original: Picture,
    /// Ours first, then the rivals in the order of [`Setup::rivals`].
    pub attempts: Vec<Attempt>,
}

/// A decoded picture, its price and its quality.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The decoded picture.
    pub picture: Picture,
    /// Size of the file or of all packets.
    pub bytes: usize,
    /// Distances from the original.
    pub scores: Scores,
}

/// Runs `encode_decode` and the rivals over `pictures` in parallel; `done` is called after each.
///
/// The result does not depend on the number of threads.
///
/// # Errors
/// The first error of `encode_decode` or of a rival.
///
/// # Panics
/// When there are no pictures, or a decoded picture differs in size or channels.
pub fn evaluate<E: Send + From<RivalError>>(
    pictures: &[(PathBuf, Picture)],
    setup: Setup<'_>,
    encode_decode: impl Fn(&Picture) -> Result<Coded, E> + Sync,
    done: impl Fn() + Sync,
) -> Result<Evaluation, E> {
    assert!(!pictures.is_empty(), "there is nothing to evaluate");
    let outcomes = pictures
        .par_iter()
        .enumerate()
        .map(|(index, (path, original))| {
            let outcome = Outcome::of(original, setup, &encode_decode)?;
            done();
            Ok(outcome.keep_or_drop(path, original, index < setup.samples))
        })
        .collect::<Result<Vec<_>, E>>()?;
    let mut samples = Vec::new();
    let mut rows = Vec::with_capacity(outcomes.len());
    for (row, sample) in outcomes {
        rows.push(row);
        samples.extend(sample);
    }
    let report = Report::of(&rows, setup);
    Ok(Evaluation { report, samples })
}

/// All about one picture, pictures included.
struct Outcome {
    codes: Vec<Vec<u16>>,
    ours: Attempt,
    rivals: Vec<(RivalPicture, Scores)>,
}

impl Outcome {
    fn of<E: From<RivalError>>(
        original: &Picture,
        setup: Setup<'_>,
        encode_decode: impl Fn(&Picture) -> Result<Coded, E>,
    ) -> Result<Outcome, E> {
        let Coded {
            picture,
            bytes,
            codes,
        } = encode_decode(original)?;
        let scores = Scores::measure(original, &picture, setup.lpips);
        let rival = |&rival: &Rival| {
            let coded = rival.nearest(original, bytes)?;
            let scores = Scores::measure(original, &coded.picture, setup.lpips);
            Ok((coded, scores))
        };
        let rivals = setup
            .rivals
            .iter()
            .map(rival)
            .collect::<Result<_, RivalError>>()?;
        Ok(Outcome {
            codes,
            ours: Attempt {
                picture,
                bytes,
                scores,
            },
            rivals,
        })
    }

    fn keep_or_drop(self, path: &Path, original: &Picture, keep: bool) -> (Row, Option<Sample>) {
        let measure = |bytes, scores| Measure { bytes, scores };
        let row = Row {
            pixels: original.width * original.height,
            codes: self.codes,
            ours: measure(self.ours.bytes, self.ours.scores),
            rivals: self
                .rivals
                .iter()
                .map(|(coded, scores)| RivalMeasure {
                    measure: measure(coded.bytes, *scores),
                    quality: coded.quality,
                    too_large: coded.too_large,
                })
                .collect(),
        };
        let sample = keep.then(|| {
            let attempt = |(coded, scores): (RivalPicture, Scores)| Attempt {
                picture: coded.picture,
                bytes: coded.bytes,
                scores,
            };
            let rivals = self.rivals.into_iter().map(attempt);
            Sample {
                path: path.into(),
                original: original.clone(),
                attempts: std::iter::once(self.ours).chain(rivals).collect(),
            }
        });
        (row, sample)
    }
}

impl Evaluation {
    /// The kept pictures as a contact sheet: original, ours, rivals, with bytes and PSNR.
    pub fn sheet(&self, title: &str, rivals: &[Rival]) -> Sheet {
        let rivals = rivals.iter().map(Rival::to_string);
        let columns = ["original".into(), "vq".into()].into_iter().chain(rivals);
        let mut sheet = Sheet::new(title, columns);
        for sample in &self.samples {
            let name = sample
                .path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy();
            let mut cells = vec![Cell::new(&sample.original, &name, "")];
            cells.extend(sample.attempts.iter().map(Attempt::cell));
            sheet.rows.push(cells);
        }
        sheet
    }
}

impl Attempt {
    /// The picture with its bytes and PSNR beneath.
    pub fn cell(&self) -> Cell {
        let psnr = format!("{:.2} dB", self.scores.psnr);
        Cell::new(&self.picture, &format!("{} B", self.bytes), &psnr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Size;

    fn pictures() -> Vec<(PathBuf, Picture)> {
        let picture = |i: u8| {
            let size = Size {
                width: 16,
                height: 8 + usize::from(i),
            };
            let pixels = (0..size.width * size.height * 3).map(|p| (p as u8).wrapping_mul(i));
            (
                PathBuf::from(format!("{i}.png")),
                Picture::new(size, 3, pixels.collect()),
            )
        };
        (1..=4).map(picture).collect()
    }

    /// Adds 1 to the samples below 255, and pretends to use codes 0, 0, 1 and a missing one.
    fn brighter(picture: &Picture) -> Result<Coded, RivalError> {
        let pixels = picture
            .pixels
            .iter()
            .map(|&v| v.saturating_add(1))
            .collect();
        let picture = Picture::new(picture.size(), 3, pixels);
        Ok(Coded {
            picture,
            bytes: 20,
            codes: vec![vec![0, 0, 1, u16::MAX]],
        })
    }

    const SETUP: Setup<'static> = Setup {
        lpips: None,
        rivals: &Rival::ALL,
        codebooks: &[4],
        samples: 2,
    };

    #[test]
    fn figures_are_means_over_the_pictures() {
        let pictures = pictures();
        let counted = std::sync::atomic::AtomicUsize::new(0);
        let done = || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let Evaluation { report, samples } = evaluate(&pictures, SETUP, brighter, done).unwrap();
        assert_eq!(counted.into_inner(), 4);
        assert_eq!((report.images, report.ours.bytes_mean), (4, 20.0));
        let pixels = 16 * (9 + 10 + 11 + 12);
        assert_eq!(report.ours.bpp, 640.0 / pixels as f64);
        let expected = pictures
            .iter()
            .map(|(_, p)| Scores::measure(p, &brighter(p).unwrap().picture, None).psnr / 4.0);
        assert!((report.ours.psnr - expected.sum::<f64>()).abs() < 1e-9);
        assert!(report.ours.ssim.is_some() && report.ours.lpips.is_none());
        assert_eq!((samples.len(), samples[1].attempts.len()), (2, 3));
        assert!(report.rivals.values().all(|rival| rival.too_large == 4));
    }

    #[test]
    fn code_use_counts_known_codes_only() {
        let report = evaluate(&pictures(), SETUP, brighter, || ())
            .unwrap()
            .report;
        // Two thirds and one third: exp(H) = 3 / 2^(2/3).
        assert!((report.perplexity - 3.0 / 4f64.cbrt()).abs() < 1e-12);
        assert_eq!(report.usage, 0.5);
        let even = CodeUse::of(&[7; 8]);
        assert!((even.perplexity - 8.0).abs() < 1e-12 && even.usage == 1.0);
    }

    #[test]
    fn json_and_table_hold_the_figures() {
        let report = evaluate(&pictures(), SETUP, brighter, || ())
            .unwrap()
            .report;
        let json = serde_json::to_value(&report).unwrap();
        for key in [
            "images",
            "bytes_mean",
            "bpp",
            "psnr",
            "ssim",
            "perplexity",
            "usage",
        ] {
            assert!(json[key].is_number(), "{key} in {json}");
        }
        assert!(json["lpips"].is_null());
        assert!(json["rivals"]["webp"]["psnr"].is_number());
        let table = report.to_string();
        let columns: Vec<_> = table.lines().take(2).map(str::len).collect();
        assert_eq!(columns[0], columns[1], "{table}");
        assert!(table.contains("never as small for 4 of 4"), "{table}");
    }

    #[test]
    fn an_error_of_the_codec_comes_through() {
        let refuse = |picture: &Picture| match picture.height {
            11 => Rival::WebP
                .nearest(
                    &Picture::filled(
                        Size {
                            width: 20_000,
                            height: 1,
                        },
                        &[0],
                    ),
                    1,
                )
                .map(|_| unreachable!()),
            _ => brighter(picture),
        };
        let error = evaluate(&pictures(), SETUP, refuse, || ()).unwrap_err();
        assert!(error.to_string().contains("20000x1"));
    }
}
