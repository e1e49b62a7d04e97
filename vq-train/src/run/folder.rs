//! A run's folder: its checkpoint, and figures to watch meanwhile.
//!
//! ```text
//! checkpoint.vqck         everything needed to go on
//! config.toml             the configuration
//! log.jsonl               figures, one JSON object a line
//! events.out.tfevents.*   the same figures, sheets and the use of codes, for TensorBoard
//! reconstructions/        a sheet a validation
//! ```

use crate::atomic;
use crate::checkpoint::FILE_NAME;
use crate::claim::Claim;
use crate::health::Event;
use crate::picture::Picture;
use crate::sheet::Sheet;
use crate::tensorboard::EventWriter;
use crate::train::{StepReport, TrainError, Trainer, Validation, ValidationSamples};
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The configuration's name in a run's folder.
pub const CONFIG_NAME: &str = "config.toml";

/// Figures that are no measurements, and make no curve.
const NO_CURVES: [&str; 2] = ["step", "images"];

/// A folder that one training run writes into.
#[derive(Debug)]
pub struct RunFolder {
    folder: PathBuf,
    log: File,
    events: EventWriter,
}

impl RunFolder {
    /// Opens the claimed folder's files; a resumed run's figures are cut back to the checkpoint's step.
    pub fn open(claim: &Claim, trainer: &Trainer) -> Result<RunFolder, TrainError> {
        let folder = claim.folder();
        let sheets = folder.join("reconstructions");
        std::fs::create_dir_all(&sheets).map_err(io(&sheets))?;
        for folder in [folder, &sheets] {
            atomic::remove_leftovers(folder).map_err(io(folder))?;
        }
        let config = folder.join(CONFIG_NAME);
        atomic::write(&config, trainer.config.to_toml().as_bytes()).map_err(io(&config))?;
        Ok(RunFolder {
            folder: folder.to_owned(),
            log: open_log(&folder.join("log.jsonl"), trainer.step)?,
            events: EventWriter::open(folder, trainer.step)?,
        })
    }

    /// Saves the checkpoint.
    pub fn save(&self, trainer: &Trainer) -> Result<(), TrainError> {
        Ok(trainer.checkpoint().save(&self.folder.join(FILE_NAME))?)
    }

    /// Logs a step's figures.
    pub fn step(&mut self, report: &StepReport) -> Result<(), TrainError> {
        self.log("step", report)?;
        self.curves("train", report.step, report)?;
        Ok(self.events.flush()?)
    }

    /// Logs an event, in words too.
    pub fn event(&mut self, step: u64, event: Event) -> Result<(), TrainError> {
        let text = event.to_string();
        self.log(
            "event",
            &serde_json::json!({ "step": step, "event": event, "text": text }),
        )
    }

    /// Logs a validation of `originals` and keeps its sheet.
    pub fn validation(
        &mut self,
        figures: &Validation,
        originals: &[Picture],
        samples: &ValidationSamples,
    ) -> Result<(), TrainError> {
        let step = figures.step;
        self.log("validation", figures)?;
        self.curves("validation", step, figures)?;
        self.events
            .histogram("validation/codes", step, &samples.counts)?;
        if !samples.reconstructions.is_empty() {
            self.sheet(step, originals, &samples.reconstructions)?;
        }
        Ok(self.events.flush()?)
    }

    fn log(&mut self, kind: &str, figures: &impl Serialize) -> Result<(), TrainError> {
        let mut value = json(figures);
        value["kind"] = kind.into();
        // In one piece, so that a full disk does not leave many beginnings of lines.
        let line = format!("{value}\n");
        self.log
            .write_all(line.as_bytes())
            .map_err(io(&self.folder.join("log.jsonl")))
    }

    /// A point for each figure, 0 or 1 for what is false or true. NaN, which JSON has as null, makes none.
    fn curves(
        &mut self,
        group: &str,
        step: u64,
        figures: &impl Serialize,
    ) -> Result<(), TrainError> {
        let figures = json(figures);
        for (name, value) in figures.as_object().into_iter().flatten() {
            if let Some(value) = value.as_f64().or(value.as_bool().map(f64::from))
                && !NO_CURVES.contains(&name.as_str())
            {
                self.events
                    .scalar(&format!("{group}/{name}"), step, value)?;
            }
        }
        Ok(())
    }

    fn sheet(
        &mut self,
        step: u64,
        originals: &[Picture],
        decoded: &[Picture],
    ) -> Result<(), TrainError> {
        let path = self.folder.join(format!("reconstructions/{step:07}.png"));
        let title = format!("step {step}");
        let sheet = Sheet::of_pairs(&title, originals.iter().zip(decoded)).render();
        self.events
            .image("validation/reconstructions", step, &sheet)?;
        atomic::write(&path, &sheet.to_png()).map_err(io(&path))
    }
}

fn json(figures: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(figures).expect("figures have a JSON form")
}

/// Opens the log behind its last line that is not beyond `step`.
fn open_log(path: &Path, step: u64) -> Result<File, TrainError> {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let past = |line: &&str| {
        let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
        value.is_some_and(|v| v["step"].as_u64().is_some_and(|s| s <= step))
    };
    let kept: String = old.lines().filter(past).map(|l| format!("{l}\n")).collect();
    atomic::write(path, kept.as_bytes()).map_err(io(path))?;
    File::options().append(true).open(path).map_err(io(path))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> TrainError + use<> {
    let path = path.to_owned();
    move |source| TrainError::Io { path, source }
}
