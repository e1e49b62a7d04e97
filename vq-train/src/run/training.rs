//! The training loop: batches in, better weights out.

use super::folder::RunFolder;
use crate::claim::Claim;
use crate::data::Dataset;
use crate::train::{StepReport, TrainError, Trainer, Validation};
use ndarray::Array4;
use serde::Serialize;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// Batches that are prepared ahead of the step that needs them.
const PREFETCH: usize = 2;
/// Steps between lines of the log.
const LOG_EVERY: u64 = 20;

/// Receives a run's figures as it goes on. Every method has a default, so that tests may receive nothing.
pub trait Observer {
    /// After each step. Break to save a checkpoint and stop.
    fn step(&mut self, _report: &StepReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// After each validation.
    fn validated(&mut self, _figures: &Validation) {}
    /// Something could not be written, and the run goes on without it.
    fn not_written(&mut self, _error: &TrainError) {}
}

impl Observer for () {}

/// Figures of a finished or stopped run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Summary {
    /// Steps done.
    pub steps: u64,
    /// Mean squared error of the last validation, over the training data's variance.
    pub nmse: f64,
    /// Mean PSNR of the last validation, in dB.
    pub psnr: f64,
    /// Perplexity of the last validation's codes.
    pub perplexity: f64,
    /// The share of codes that occur in the last validation.
    pub usage: f64,
    /// Pictures a second of this call's steps, validations left out.
    pub images_per_s: f64,
    /// Bytes that a step works in: maps, their caches, gradients of all chunks, packed weights.
    pub step_bytes: usize,
    /// Whether all steps are done.
    pub finished: bool,
}

/// Trains to the configuration's last step, or until the observer says to stop.
///
/// The claimed folder receives what [`RunFolder`] writes; without one nothing is written.
///
/// # Errors
/// What [`Trainer::train_step`] reports, a folder that cannot be opened, and a last checkpoint that cannot be
/// written; the one before stays good. Figures and checkpoints on the way that cannot be written, as on a disk that is
/// full for a while, end no run: the observer hears of them.
pub fn train(
    trainer: &mut Trainer,
    data: &Dataset,
    claim: Option<&Claim>,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let folder = claim.map(|c| RunFolder::open(c, trainer)).transpose()?;
    let config = trainer.config.train;
    let first = trainer.step;
    let mut run = Run {
        trainer,
        data,
        folder,
        observer,
        spent: Duration::ZERO,
    };
    std::thread::scope(|scope| {
        let (send, batches) = sync_channel(PREFETCH);
        scope.spawn(move || {
            let mut steps = first..config.steps;
            // A closed channel means that the run has stopped.
            steps.all(|step| send.send(data.batch(step, config.batch)).is_ok())
        });
        run.steps(batches)
    })?;
    run.save()?;
    let figures = run.validate();
    let trainer = &*run.trainer;
    let images = (trainer.step - first) * config.batch as u64;
    Ok(Summary {
        steps: trainer.step,
        nmse: figures.nmse,
        psnr: figures.psnr,
        perplexity: figures.perplexity,
        usage: figures.usage,
        images_per_s: images as f64 / run.spent.as_secs_f64().max(1e-9),
        step_bytes: trainer.step_bytes(),
        finished: trainer.step >= config.steps,
    })
}

/// A run at work.
struct Run<'a> {
    trainer: &'a mut Trainer,
    data: &'a Dataset,
    folder: Option<RunFolder>,
    observer: &'a mut dyn Observer,
    /// Time spent in steps.
    spent: Duration,
}

impl Run<'_> {
    fn steps(&mut self, batches: Receiver<Array4<f32>>) -> Result<(), TrainError> {
        let config = self.trainer.config.train;
        let mut last = Instant::now();
        for x in batches {
            let report = self.trainer.train_step(&x, self.data)?;
            self.spent += last.elapsed();
            let stop = self.observer.step(&report).is_break();
            let logged = self.log(&report);
            self.go_on(logged);
            if stop {
                return self.save();
            }
            if report.step % config.checkpoint_every == 0 {
                let saved = self.save();
                self.go_on(saved);
            }
            if report.step % config.validate_every == 0 && report.step < config.steps {
                self.validate();
            }
            last = Instant::now();
        }
        Ok(())
    }

    fn log(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let Some(folder) = &mut self.folder else {
            return Ok(());
        };
        if let Some(event) = report.event {
            folder.event(report.step, event)?;
        }
        if report.step.is_multiple_of(LOG_EVERY) {
            folder.step(report)?;
        }
        Ok(())
    }

    fn save(&self) -> Result<(), TrainError> {
        let folder = self.folder.as_ref();
        folder.map_or(Ok(()), |folder| folder.save(self.trainer))
    }

    fn validate(&mut self) -> Validation {
        let pictures = &self.data.validation;
        let (figures, samples) = self.trainer.validate(pictures);
        self.observer.validated(&figures);
        if let Some(folder) = &mut self.folder {
            let written = folder.validation(&figures, pictures, &samples);
            self.go_on(written);
        }
        figures
    }

    /// Goes on without what was not written.
    fn go_on(&mut self, written: Result<(), TrainError>) {
        if let Err(error) = written {
            self.observer.not_written(&error);
        }
    }
}
