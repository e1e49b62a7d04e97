//! What a codec costs and gives over a set of pictures, next to its rivals: the library behind
//! `vq eval`.
//!
//! A codec is a closure from a picture to a [`Coded`] one, so nothing here depends on a model.
//! Every picture is coded by one or more of them, measured, and given to each rival at the setting nearest in
//! bytes to the first; the figures are means over the pictures.

mod setup;
mod report;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use report::{CodeUse, Figures, ModelFigures, Report, RivalFigures};
use report::{Measure, ModelMeasure, RivalMeasure, Row};
pub use setup::{Contestant, Setup};

use crate::metrics::Scores;
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
    /// Those of the models in the order of [`Setup::models`], then the rivals' in that of [`Setup::rivals`].
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

/// Runs the models and the rivals over `pictures` in parallel; `done` is called after each.
///
/// `encode_decode` is given the place of a model in [`Setup::models`].
///
/// The result does not depend on the number of threads.
///
/// # Errors
/// The first error of `encode_decode` or of a rival.
///
/// # Panics
/// When there are no pictures or no models, or a decoded picture differs in size or channels.
pub fn evaluate<E: Send + From<RivalError>>(
    pictures: &[(PathBuf, Picture)],
    setup: Setup<'_>,
    encode_decode: impl Fn(usize, &Picture) -> Result<Coded, E> + Sync,
    done: impl Fn() + Sync,
) -> Result<Evaluation, E> {
    assert!(!pictures.is_empty(), "there is nothing to evaluate");
    assert!(!setup.models.is_empty(), "there is no model to evaluate");
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
    models: Vec<(Attempt, Vec<Vec<u16>>)>,
    rivals: Vec<(RivalPicture, Scores)>,
}

impl Outcome {
    fn of<E: From<RivalError>>(
        original: &Picture,
        setup: Setup<'_>,
        encode_decode: impl Fn(usize, &Picture) -> Result<Coded, E>,
    ) -> Result<Outcome, E> {
        let model = |index| {
            let coded = encode_decode(index, original)?;
            let attempt = Attempt {
                scores: Scores::measure(original, &coded.picture, setup.lpips),
                picture: coded.picture,
                bytes: coded.bytes,
            };
            Ok((attempt, coded.codes))
        };
        let models = (0..setup.models.len()).map(model);
        let models: Vec<_> = models.collect::<Result<_, E>>()?;
        let bytes = models[0].0.bytes;
        let rival = |&rival: &Rival| {
            let coded = rival.nearest(original, bytes)?;
            let scores = Scores::measure(original, &coded.picture, setup.lpips);
            Ok((coded, scores))
        };
        let rivals = setup.rivals.iter().map(rival);
        let rivals = rivals.collect::<Result<_, RivalError>>()?;
        Ok(Outcome { models, rivals })
    }

    fn keep_or_drop(self, path: &Path, original: &Picture, keep: bool) -> (Row, Option<Sample>) {
        let (ours, codes): (Vec<Attempt>, Vec<_>) = self.models.into_iter().unzip();
        let measure = |bytes, scores| Measure { bytes, scores };
        let row = Row {
            pixels: original.width * original.height,
            models: ours
                .iter()
                .zip(codes)
                .map(|(attempt, codes)| ModelMeasure {
                    measure: measure(attempt.bytes, attempt.scores),
                    codes,
                })
                .collect(),
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
                attempts: ours.into_iter().chain(rivals).collect(),
            }
        });
        (row, sample)
    }
}

impl Evaluation {
    /// The kept pictures as a contact sheet: original, models, rivals, with bytes and PSNR.
    pub fn sheet(&self, title: &str, rivals: &[Rival]) -> Sheet {
        let models = self.report.models.iter().map(|model| model.name.clone());
        let columns = models.chain(rivals.iter().map(Rival::to_string));
        let mut sheet = Sheet::new(title, ["original".into()].into_iter().chain(columns));
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
    fn brighter(_: usize, picture: &Picture) -> Result<Coded, RivalError> {
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

    /// So many models of one codebook of four.
    fn models(names: &[&str]) -> Vec<Contestant> {
        let model = |name: &&str| Contestant {
            name: name.to_string(),
            codebooks: vec![4],
        };
        names.iter().map(model).collect()
    }

    fn setup(models: &[Contestant]) -> Setup<'_> {
        Setup {
            lpips: None,
            models,
            rivals: &Rival::ALL,
            samples: 2,
        }
    }

    #[test]
    fn figures_are_means_over_the_pictures() {
        let pictures = pictures();
        let counted = std::sync::atomic::AtomicUsize::new(0);
        let done = || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let Evaluation { report, samples } =
            evaluate(&pictures, setup(&models(&["vq"])), brighter, done).unwrap();
        assert_eq!(counted.into_inner(), 4);
        assert_eq!((report.images, report.ours.figures.bytes_mean), (4, 20.0));
        let pixels = 16 * (9 + 10 + 11 + 12);
        assert_eq!(report.ours.figures.bpp, 640.0 / pixels as f64);
        let expected = pictures
            .iter()
            .map(|(_, p)| Scores::measure(p, &brighter(0, p).unwrap().picture, None).psnr / 4.0);
        assert!((report.ours.figures.psnr - expected.sum::<f64>()).abs() < 1e-9);
        assert!(report.ours.figures.ssim.is_some() && report.ours.figures.lpips.is_none());
        assert_eq!((samples.len(), samples[1].attempts.len()), (2, 3));
        assert!(report.rivals.values().all(|rival| rival.too_large == 4));
    }

    #[test]
    fn code_use_counts_known_codes_only() {
        let report = evaluate(&pictures(), setup(&models(&["vq"])), brighter, || ())
            .unwrap()
            .report;
        // Two thirds and one third: exp(H) = 3 / 2^(2/3).
        assert!((report.ours.perplexity - 3.0 / 4f64.cbrt()).abs() < 1e-12);
        assert_eq!(report.ours.usage, 0.5);
        let even = CodeUse::of(&[7; 8]);
        assert!((even.perplexity - 8.0).abs() < 1e-12 && even.usage == 1.0);
    }

    #[test]
    fn json_and_table_hold_the_figures() {
        let report = evaluate(&pictures(), setup(&models(&["vq"])), brighter, || ())
            .unwrap()
            .report;
        let json = serde_json::to_value(&report).unwrap();
        for key in [
            "images",
            "bytes_mean",
            "bpp",
            "psnr",
            "ssim",
            "ssimulacra2",
            "perplexity",
            "usage",
        ] {
            assert!(json[key].is_number(), "{key} in {json}");
        }
        assert!(json["lpips"].is_null());
        assert!(json["rivals"]["webp"]["ssimulacra2"].is_number());
        assert_eq!(json["models"][0]["psnr"], json["psnr"]);
        let table = report.to_string();
        let columns: Vec<_> = table.lines().take(2).map(str::len).collect();
        assert_eq!(columns[0], columns[1], "{table}");
        assert!(table.contains("never as small for 4 of 4"), "{table}");
    }

    #[test]
    fn several_models_stand_side_by_side_and_the_first_sets_the_bytes() {
        // The second needs ten times the bytes, and uses one code.
        let either = |model: usize, picture: &Picture| {
            let coded = brighter(model, picture)?;
            Ok(match model {
                0 => coded,
                _ => Coded {
                    bytes: 200,
                    codes: vec![vec![3, 3]],
                    picture: picture.clone(),
                },
            })
        };
        let run = |names: &[&str]| {
            evaluate::<RivalError>(&pictures(), setup(&models(names)), either, || ()).unwrap()
        };
        let (one, both) = (run(&["a"]), run(&["a", "a longer name"]));
        assert_eq!(one.report.models, both.report.models[..1]);
        assert_eq!(one.report.ours, both.report.ours);
        assert_eq!(one.report.rivals, both.report.rivals);
        let second = &both.report.models[1];
        assert_eq!((second.figures.bytes_mean, second.usage), (200.0, 0.25));
        assert_eq!(second.figures.ms_ssim, None, "8 rows are too few");
        let sheet = both.sheet("", &Rival::ALL);
        let columns = ["original", "a", "a longer name", "jpeg", "webp"];
        assert_eq!(sheet.columns, columns);
        assert!(sheet.rows.iter().all(|row| row.len() == columns.len()));
        let table = both.report.to_string();
        let ends = |line: &str| line.find('.').unwrap();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(ends(lines[1]), ends(lines[2]), "{table}");
        assert!(
            table.contains("a longer name, stage 0: 4 codes, 25.0 % used"),
            "{table}"
        );
    }

    #[test]
    fn an_error_of_the_codec_comes_through() {
        let refuse = |_, picture: &Picture| match picture.height {
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
            _ => brighter(0, picture),
        };
        let error = evaluate(&pictures(), setup(&models(&["vq"])), refuse, || ()).unwrap_err();
        assert!(error.to_string().contains("20000x1"));
    }
}
