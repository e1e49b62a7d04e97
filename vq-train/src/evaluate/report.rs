//! The means over all pictures, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Setup;
use crate::metrics::Scores;
use crate::quantizer;

/// Figures over all pictures; serialises to the object that `vq eval --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Number of pictures.
    pub images: usize,
    /// The codec's own figures.
    #[serde(flatten)]
    pub ours: Figures,
    /// Mean over the stages of [`CodeUse::perplexity`].
    pub perplexity: f64,
    /// Part of all codes of all stages that was used at least once, 0 to 1.
    pub usage: f64,
    /// The use of each stage's codebook.
    pub stages: Vec<CodeUse>,
    /// The rivals by name, each at the setting nearest in bytes.
    pub rivals: BTreeMap<String, RivalFigures>,
}

/// The means of one codec.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Bytes a picture.
    pub bytes_mean: f64,
    /// All bits over all pixels.
    pub bpp: f64,
    /// Mean of the pictures' PSNR in dB.
    pub psnr: f64,
    /// Mean SSIM; absent when a picture is too small for it.
    pub ssim: Option<f64>,
    /// Mean LPIPS; absent without weights or when a picture is too small for it.
    pub lpips: Option<f64>,
}

/// The means of a rival codec.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RivalFigures {
    /// As for ours.
    #[serde(flatten)]
    pub figures: Figures,
    /// Mean quality setting.
    pub quality_mean: f64,
    /// For how many pictures no setting gives a file as small as ours.
    pub too_large: usize,
}

/// How evenly a codebook is used over the whole set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CodeUse {
    /// Size of the codebook.
    pub codes: usize,
    /// `exp` of the entropy of the codes: their number, were they equally frequent.
    pub perplexity: f64,
    /// Part of the codes that was used at least once, 0 to 1.
    pub usage: f64,
}

/// What the means need to know of one picture.
pub(super) struct Row {
    pub(super) pixels: usize,
    pub(super) codes: Vec<Vec<u16>>,
    pub(super) ours: Measure,
    pub(super) rivals: Vec<RivalMeasure>,
}

#[derive(Clone, Copy)]
pub(super) struct Measure {
    pub(super) bytes: usize,
    pub(super) scores: Scores,
}

#[derive(Clone, Copy)]
pub(super) struct RivalMeasure {
    pub(super) measure: Measure,
    pub(super) quality: u8,
    pub(super) too_large: bool,
}

impl Report {
    pub(super) fn of(rows: &[Row], setup: Setup<'_>) -> Report {
        let stages: Vec<CodeUse> = setup
            .codebooks
            .iter()
            .enumerate()
            .map(|(stage, &codes)| CodeUse::of(&histogram(rows, stage, codes)))
            .collect();
        let all = |f: fn(&CodeUse) -> f64| stages.iter().map(f).sum::<f64>();
        Report {
            images: rows.len(),
            ours: Figures::of(rows, |row| row.ours),
            perplexity: all(|s| s.perplexity) / stages.len() as f64,
            usage: all(|s| s.usage * s.codes as f64) / all(|s| s.codes as f64),
            rivals: setup
                .rivals
                .iter()
                .enumerate()
                .map(|(index, rival)| (rival.to_string(), RivalFigures::of(rows, index)))
                .collect(),
            stages,
        }
    }
}

impl Figures {
    fn of(rows: &[Row], measure: impl Fn(&Row) -> Measure) -> Figures {
        let bytes: usize = rows.iter().map(|row| measure(row).bytes).sum();
        let pixels: usize = rows.iter().map(|row| row.pixels).sum();
        let mean = |score: fn(Scores) -> Option<f64>| {
            let sum: Option<f64> = rows.iter().map(|row| score(measure(row).scores)).sum();
            sum.map(|sum| sum / rows.len() as f64)
        };
        Figures {
            bytes_mean: bytes as f64 / rows.len() as f64,
            bpp: (bytes * 8) as f64 / pixels as f64,
            psnr: mean(|s| Some(s.psnr)).expect("every picture has a PSNR"),
            ssim: mean(|s| s.ssim),
            lpips: mean(|s| s.lpips),
        }
    }
}

impl RivalFigures {
    fn of(rows: &[Row], index: usize) -> RivalFigures {
        let quality: u32 = rows
            .iter()
            .map(|row| u32::from(row.rivals[index].quality))
            .sum();
        RivalFigures {
            figures: Figures::of(rows, |row| row.rivals[index].measure),
            quality_mean: f64::from(quality) / rows.len() as f64,
            too_large: rows
                .iter()
                .filter(|row| row.rivals[index].too_large)
                .count(),
        }
    }
}

impl CodeUse {
    /// From the number of times each code was used.
    pub fn of(counts: &[u64]) -> CodeUse {
        CodeUse {
            codes: counts.len(),
            perplexity: quantizer::perplexity(counts),
            usage: quantizer::usage(counts),
        }
    }
}

fn histogram(rows: &[Row], stage: usize, codes: usize) -> Vec<u64> {
    let mut counts = vec![0; codes];
    for code in rows.iter().filter_map(|row| row.codes.get(stage)).flatten() {
        if let Some(count) = counts.get_mut(usize::from(*code)) {
            *count += 1;
        }
    }
    counts
}

impl fmt::Display for Report {
    /// An aligned table for a terminal, without a final newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["bytes", "bpp", "PSNR dB", "SSIM", "LPIPS"];
        write!(f, "{:<6}", "")?;
        head.iter().try_for_each(|name| write!(f, " {name:>8}"))?;
        write!(f, "\n{:<6}{}", "vq", self.ours)?;
        for (name, rival) in &self.rivals {
            write!(
                f,
                "\n{name:<6}{}  quality {:.1}",
                rival.figures, rival.quality_mean
            )?;
            if rival.too_large > 0 {
                write!(
                    f,
                    ", never as small for {} of {}",
                    rival.too_large, self.images
                )?;
            }
        }
        write!(f, "\n{} pictures", self.images)?;
        for (index, stage) in self.stages.iter().enumerate() {
            let CodeUse {
                codes,
                perplexity,
                usage,
            } = stage;
            let used = usage * 100.0;
            write!(
                f,
                "\nstage {index}: {codes} codes, {used:.1} % used, perplexity {perplexity:.1}"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            " {:>8.1} {:>8.3} {:>8.2}",
            self.bytes_mean, self.bpp, self.psnr
        )?;
        [self.ssim, self.lpips]
            .into_iter()
            .try_for_each(|figure| match figure {
                Some(value) => write!(f, " {value:>8.3}"),
                None => write!(f, " {:>8}", "-"),
            })
    }
}
