//! The means over all pictures, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::setup::{Contestant, Setup};
use crate::metrics::Scores;
use crate::quantizer;

/// Figures over all pictures; serialises to the object that `vq eval --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Number of pictures.
    pub images: usize,
    /// The first model's figures, whose fields stand beside `images`.
    #[serde(flatten)]
    pub ours: ModelFigures,
    /// Every model's figures, the first one's too.
    pub models: Vec<ModelFigures>,
    /// The rivals by name, each at the setting nearest in bytes to the first model.
    pub rivals: BTreeMap<String, RivalFigures>,
}

/// The means of one model, and the use of its codes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelFigures {
    /// As in [`Contestant::name`](super::Contestant::name).
    pub name: String,
    /// As for every codec.
    #[serde(flatten)]
    pub figures: Figures,
    /// Mean over the stages of [`CodeUse::perplexity`].
    pub perplexity: f64,
    /// Part of all codes of all stages that was used at least once, 0 to 1.
    pub usage: f64,
    /// The use of each stage's codebook.
    pub stages: Vec<CodeUse>,
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
    /// Mean MS-SSIM; absent when a picture is too small for it.
    pub ms_ssim: Option<f64>,
    /// Mean LPIPS; absent without weights or when a picture is too small for it.
    pub lpips: Option<f64>,
    /// Mean SSIMULACRA2; absent when a picture is too small for it.
    pub ssimulacra2: Option<f64>,
}

/// The means of a rival codec.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RivalFigures {
    /// As for every codec.
    #[serde(flatten)]
    pub figures: Figures,
    /// Mean quality setting.
    pub quality_mean: f64,
    /// For how many pictures no setting gives a file as small as the first model's.
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
    pub(super) models: Vec<ModelMeasure>,
    pub(super) rivals: Vec<RivalMeasure>,
}

pub(super) struct ModelMeasure {
    pub(super) measure: Measure,
    pub(super) codes: Vec<Vec<u16>>,
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
        let contestants = setup.models.iter().enumerate();
        let models: Vec<_> = contestants
            .map(|(index, model)| ModelFigures::of(rows, index, model))
            .collect();
        let rivals = setup.rivals.iter().enumerate();
        Report {
            images: rows.len(),
            ours: models[0].clone(),
            models,
            rivals: rivals
                .map(|(index, rival)| (rival.to_string(), RivalFigures::of(rows, index)))
                .collect(),
        }
    }
}

impl ModelFigures {
    fn of(rows: &[Row], index: usize, model: &Contestant) -> ModelFigures {
        let codebooks = model.codebooks.iter().enumerate();
        let stages: Vec<CodeUse> = codebooks
            .map(|(stage, &codes)| CodeUse::of(&histogram(rows, index, stage, codes)))
            .collect();
        let all = |f: fn(&CodeUse) -> f64| stages.iter().map(f).sum::<f64>();
        ModelFigures {
            name: model.name.clone(),
            figures: Figures::of(rows, |row| row.models[index].measure),
            perplexity: all(|s| s.perplexity) / stages.len() as f64,
            usage: all(|s| s.usage * s.codes as f64) / all(|s| s.codes as f64),
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
            ms_ssim: mean(|s| s.ms_ssim),
            lpips: mean(|s| s.lpips),
            ssimulacra2: mean(|s| s.ssimulacra2),
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

fn histogram(rows: &[Row], model: usize, stage: usize, codes: usize) -> Vec<u64> {
    let mut counts = vec![0; codes];
    let codes = rows.iter().map(|row| &row.models[model].codes);
    for code in codes.filter_map(|codes| codes.get(stage)).flatten() {
        if let Some(count) = counts.get_mut(usize::from(*code)) {
            *count += 1;
        }
    }
    counts
}

/// Headings of the table, and decimals of the figures beneath.
const COLUMNS: [(&str, usize); 7] = [
    ("bytes", 1),
    ("bpp", 3),
    ("PSNR dB", 2),
    ("SSIM", 3),
    ("MS-SSIM", 3),
    ("LPIPS", 3),
    ("SSIMULACRA2", 1),
];

impl fmt::Display for Report {
    /// An aligned table for a terminal, without a final newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.models.iter().map(|model| &model.name);
        let widths = names.chain(self.rivals.keys()).map(|n| n.chars().count());
        let width = widths.max().unwrap_or(0).max(6);
        write!(f, "{:<width$}", "")?;
        let mut headings = COLUMNS.iter();
        headings.try_for_each(|(name, _)| write!(f, " {name:>8}"))?;
        for ModelFigures { name, figures, .. } in &self.models {
            write!(f, "\n{name:<width$}{figures}")?;
        }
        for (name, rival) in &self.rivals {
            let RivalFigures {
                figures,
                quality_mean,
                too_large,
            } = rival;
            write!(f, "\n{name:<width$}{figures}  quality {quality_mean:.1}")?;
            if *too_large > 0 {
                write!(f, ", never as small for {too_large} of {}", self.images)?;
            }
        }
        write!(f, "\n{} pictures", self.images)?;
        self.models
            .iter()
            .try_for_each(|model| model.write_codes(f, self.models.len() > 1))
    }
}

impl ModelFigures {
    /// A line about each stage's codes; it begins with the model's name where there are others.
    fn write_codes(&self, f: &mut fmt::Formatter<'_>, among_others: bool) -> fmt::Result {
        for (index, stage) in self.stages.iter().enumerate() {
            let CodeUse {
                codes,
                perplexity,
                usage,
            } = stage;
            let used = usage * 100.0;
            f.write_str("\n")?;
            if among_others {
                write!(f, "{}, ", self.name)?;
            }
            write!(
                f,
                "stage {index}: {codes} codes, {used:.1} % used, perplexity {perplexity:.1}"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = [
            Some(self.bytes_mean),
            Some(self.bpp),
            Some(self.psnr),
            self.ssim,
            self.ms_ssim,
            self.lpips,
            self.ssimulacra2,
        ];
        let mut cells = figures.into_iter().zip(COLUMNS);
        cells.try_for_each(|(figure, (name, decimals))| {
            let width = name.len().max(8);
            match figure {
                Some(value) => write!(f, " {value:>width$.decimals$}"),
                None => write!(f, " {:>width$}", "-"),
            }
        })
    }
}
