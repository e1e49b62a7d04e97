//! The training loop: batches in, better weights out, and what people watch meanwhile.

mod grade;
mod health;
mod report;

pub use grade::Parts;
pub use health::{Event, Health};
pub use report::{Seen, StageUse, StepReport, Summary, Validation};

use self::grade::{Grader, Opponent};
use self::report::stage_uses;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::claim::Claim;
use crate::config::{Config, ConfigError, OptimizerConfig};
use crate::data::{Dataset, Purpose, generator, to_batch, to_pictures};
use crate::gan::Adversary;
use crate::loss::{Lpips, LpipsError};
use crate::metrics;
use crate::model::{Pixels, StepOutput, VqVae, Workspace};
use crate::nn::{ParamInfo, Tape, Weights, flat, flat_mut};
use crate::optim::{self, Adam};
use crate::picture::Picture;
use crate::quantizer::{Bridge, SquareOrder, Table, histogram, perplexity, usage};
use crate::run::Run;
use crate::tensorboard::EventError;
use ndarray::Array4;
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// The codes are placed by at most this many batches.
const PLACED_BY: u64 = 1024;
/// Batches that are prepared ahead of the step that needs them.
const PREFETCH: usize = 2;
/// Pictures on the sheet of a validation.
const SHEET: usize = 8;

/// Why training stopped before its last step.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run's folder.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// TensorBoard's events.
    #[error(transparent)]
    Events(#[from] EventError),
    /// The weights of a perceptual loss.
    #[error("loss.lpips: {0}")]
    Lpips(#[from] LpipsError),
    /// A value became NaN or infinite.
    #[error(
        "step {step}: {place} is not finite; the last checkpoint is good: start from it with --from, a lower \
         optimizer.lr or optimizer.clip, and another --out"
    )]
    NotFinite {
        /// Steps done before.
        step: u64,
        /// The first layer or parameter with a value that is not finite.
        place: String,
    },
    /// A checkpoint that belongs to another model.
    #[error("the checkpoint does not fit its configuration: {0}")]
    Mismatch(&'static str),
    /// Weights of a model with other layers.
    #[error("the run to start from has other layers: {0}")]
    Foreign(String),
}

/// Who watches a run. Every method has a default, so that tests may watch nothing.
pub trait Observer {
    /// After each step. Break to save a checkpoint and stop.
    fn step(&mut self, _report: &StepReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// After each validation.
    fn validated(&mut self, _figures: &Validation) {}
}

impl Observer for () {}

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    /// What it was made from.
    pub config: Config,
    /// Its layers.
    pub model: VqVae,
    /// Steps done.
    pub step: u64,
    /// The flat parameter vector, as the next step begins with it.
    pub params: Vec<f32>,
    /// Its moving average, with `optimizer.ema`.
    pub averaged: Option<Vec<f32>>,
    adam: Adam,
    space: Workspace<f32>,
    scale: f64,
    /// Whether the codes have been placed, so that latents are quantised.
    placed: bool,
    lpips: Option<Lpips>,
    tapes: Vec<Tape<f32>>,
    adversary: Option<Adversary>,
    health: Health,
}

impl Trainer {
    /// A model with fresh weights for these pictures.
    pub fn new(config: Config, data: &Dataset) -> Result<Trainer, TrainError> {
        let model = VqVae::build(&config)?;
        let params = model
            .table
            .init(&mut generator(config.seed, Purpose::Weights, 0));
        Trainer::first(config, model, params, data)
    }

    /// A model with given parameters for these pictures. Its codes are where the parameters say: they are
    /// not placed among the latents.
    ///
    /// # Panics
    /// When `params` is not of the model's length.
    pub fn with_params(
        config: Config,
        params: Vec<f32>,
        data: &Dataset,
    ) -> Result<Trainer, TrainError> {
        let model = VqVae::build(&config)?;
        assert_eq!(params.len(), model.table.len(), "parameters of this model");
        let mut trainer = Trainer::first(config, model, params, data)?;
        trainer.placed = true;
        Ok(trainer)
    }

    /// A model that begins with the weights of another run of the same layers, their average if there is one.
    /// Everything else begins anew: steps, optimiser, discriminator.
    ///
    /// # Errors
    /// [`TrainError::Foreign`] names the first parameter that differs.
    pub fn from_run(
        config: Config,
        run: Checkpoint,
        data: &Dataset,
    ) -> Result<Trainer, TrainError> {
        let (placed, run) = (run.placed, Trainer::resume(run)?);
        let model = VqVae::build(&config)?;
        let (ours, theirs) = (&model.table.entries, &run.model.table.entries);
        let described = |entry: Option<&ParamInfo>| match entry {
            Some(entry) => format!("{} of {:?}", entry.name, entry.shape),
            None => "nothing".into(),
        };
        for i in 0..ours.len().max(theirs.len()) {
            let [ours, theirs] = [ours.get(i), theirs.get(i)].map(described);
            if ours != theirs {
                let reason = format!("it has {theirs} where the configuration has {ours}");
                return Err(TrainError::Foreign(reason));
            }
        }
        let mut trainer = Trainer::first(config, model, run.deployed().to_vec(), data)?;
        trainer.placed = placed;
        Ok(trainer)
    }

    fn first(
        config: Config,
        model: VqVae,
        params: Vec<f32>,
        data: &Dataset,
    ) -> Result<Trainer, TrainError> {
        let scale = config.loss.kind.scale(data.variance());
        let adam = Adam::new(params.len());
        let averaged = (config.optimizer.ema > 0.0).then(|| params.clone());
        Ok(Trainer {
            adversary: Adversary::new(&config)?,
            config,
            model,
            step: 0,
            params,
            averaged,
            adam,
            space: Workspace::default(),
            scale,
            placed: false,
            lpips: None,
            tapes: Vec::new(),
            health: Health::default(),
        })
    }

    /// Takes the network that `loss.lpips` asks for.
    pub fn perceive(&mut self, lpips: Lpips) {
        self.lpips = Some(lpips);
    }

    /// Goes on from a checkpoint.
    pub fn resume(checkpoint: Checkpoint) -> Result<Trainer, TrainError> {
        let config = Config::parse(&checkpoint.config, "the checkpoint's configuration")?;
        let model = VqVae::build(&config)?;
        let Checkpoint {
            step,
            scale,
            params,
            averaged,
            adam,
            placed,
            adversary: state,
            health,
            ..
        } = checkpoint;
        if params.len() != model.table.len() || !adam.fits(params.len()) {
            return Err(TrainError::Mismatch("another number of parameters"));
        }
        let length = (config.optimizer.ema > 0.0).then_some(params.len());
        if averaged.as_ref().map(Vec::len) != length {
            return Err(TrainError::Mismatch("other averaged parameters"));
        }
        // Weights that were imported have not met a discriminator yet.
        let mut adversary = Adversary::new(&config)?;
        if let (Some(adversary), Some(state)) = (&mut adversary, state)
            && !adversary.resume(state)
        {
            return Err(TrainError::Mismatch("another discriminator"));
        }
        Ok(Trainer {
            config,
            model,
            step,
            params,
            averaged,
            adam,
            space: Workspace::default(),
            scale,
            placed,
            lpips: None,
            tapes: Vec::new(),
            adversary,
            health,
        })
    }

    /// Everything needed to go on.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            config: self.config.to_toml(),
            step: self.step,
            scale: self.scale,
            params: self.params.clone(),
            averaged: self.averaged.clone(),
            adam: self.adam.clone(),
            placed: self.placed,
            adversary: self.adversary.as_ref().map(|a| a.state().clone()),
            health: self.health,
        }
    }

    /// The parameters to validate and to deploy: their average, if one is kept.
    pub fn deployed(&self) -> &[f32] {
        self.averaged.as_deref().unwrap_or(&self.params)
    }

    /// The discriminator, in adversarial training.
    pub fn adversary(&self) -> Option<&Adversary> {
        self.adversary.as_ref()
    }

    /// As [`Trainer::adversary`], to begin with other weights.
    pub fn adversary_mut(&mut self) -> Option<&mut Adversary> {
        self.adversary.as_mut()
    }

    /// Bytes that a step works in.
    pub fn step_bytes(&self) -> usize {
        let tapes: usize = self.tapes.iter().map(Tape::bytes).sum();
        self.space.bytes() + tapes + self.adversary.as_ref().map_or(0, Adversary::bytes)
    }

    /// One optimiser step on one batch; in adversarial training, of both sides.
    ///
    /// # Errors
    /// Values that are not finite. Adversarial training first skips such steps and lowers its learning
    /// rates, which the report says.
    pub fn train_step(
        &mut self,
        x: &Array4<f32>,
        data: &Dataset,
    ) -> Result<StepReport, TrainError> {
        let step = self.step;
        let quantize = self.placed || step >= self.config.quantizer.start;
        if quantize && !self.placed {
            self.place_codes(data);
        }
        let optimizer = self.rates();
        let (out, parts) = self.gradients(x, quantize)?;
        let grads = self.space.grads();
        let grad_norm = optim::clip(&self.model.table, grads, optimizer.clip);
        let mut report = StepReport {
            step: step + 1,
            loss: out.loss,
            nmse: out.mse / self.scale,
            psnr: psnr_of(out.mse),
            perplexity: 0.0,
            restarted: 0,
            grad_norm,
            lr: optim::learning_rate(&optimizer, step, self.config.train.steps),
            parts,
            g_weight: out.weight,
            adversary: None,
            event: None,
        };
        if !(out.loss.is_finite() && grad_norm.is_finite()) {
            return self.failed(report, |trainer| trainer.first_not_finite(x));
        }
        if !self.adversary_learns(x, &optimizer, &mut report) {
            return self.failed(report, |_| "the discriminator's loss or gradient".into());
        }
        self.health.recovered();
        let position = (step, self.config.train.steps);
        let (table, grads) = (&self.model.table, self.space.grads());
        self.adam
            .update(&optimizer, table, position, grads, &mut self.params);
        self.step += 1;
        self.move_codes(&out, &mut report);
        if let Some(averaged) = &mut self.averaged {
            let table = &self.model.table;
            optim::average(optimizer.ema, table, step, &self.params, averaged);
        }
        Ok(report)
    }

    /// The optimiser's settings, with what failed steps have done to them.
    fn rates(&self) -> OptimizerConfig {
        let optimizer = self.config.optimizer;
        OptimizerConfig {
            lr: optimizer.lr * self.health.rate(),
            ..optimizer
        }
    }

    /// A batch's losses; their gradients are in the workspace.
    fn gradients(
        &mut self,
        x: &Array4<f32>,
        quantize: bool,
    ) -> Result<(StepOutput<f32>, Parts), TrainError> {
        let loss = &self.config.loss;
        if loss.lpips > 0.0 && self.lpips.is_none() {
            return Err(LpipsError::NotNamed.into());
        }
        let (seed, step) = (self.config.seed, self.step);
        let opponents = self.adversary.as_mut().zip(self.config.gan.as_ref());
        let mut grader = Grader {
            config: loss,
            pixels: Pixels {
                kind: loss.kind,
                scale: self.scale,
            },
            lpips: self.lpips.as_ref().filter(|_| loss.lpips > 0.0),
            corner: grade::corner(
                self.config.data.size,
                &mut generator(seed, Purpose::Window, step),
            ),
            tapes: &mut self.tapes,
            opponent: opponents.map(|(adversary, gan)| Opponent {
                adversary,
                listens: step >= gan.start,
                weight: gan.weight,
                adaptive: gan.adaptive,
            }),
            parts: Parts::default(),
        };
        let draws = |chunk| generator(seed, Purpose::Layers, step << 16 | chunk);
        let (space, p) = (&mut self.space, &self.params);
        let model = &self.model;
        let out = model.step(space, p, quantize, x.view(), &mut grader, draws);
        Ok((out, grader.parts))
    }

    /// The discriminator's step, if there is one; false if it failed.
    fn adversary_learns(
        &mut self,
        x: &Array4<f32>,
        optimizer: &OptimizerConfig,
        report: &mut StepReport,
    ) -> bool {
        let Some(adversary) = &mut self.adversary else {
            return true;
        };
        let position = (self.step, self.config.train.steps);
        let x = x.view();
        let (rate, rested) = (self.health.rate(), adversary.rests());
        let Some(did) = adversary.learn(&VqVae::chunks(&x), (optimizer, rate), position) else {
            return false;
        };
        if did.d_rests != rested {
            report.event = Some(match did.d_rests {
                true => Event::DiscriminatorRests,
                false => Event::DiscriminatorLearns,
            });
        }
        report.adversary = Some(did);
        true
    }

    /// A step whose values are not finite, first in a place that has to be found: no weight has changed.
    fn failed(
        &mut self,
        report: StepReport,
        place: impl FnOnce(&Self) -> String,
    ) -> Result<StepReport, TrainError> {
        let answer = match &self.adversary {
            Some(_) => self.health.failed(),
            None => None,
        };
        if answer.is_none() {
            let place = place(self);
            let step = self.step;
            return Err(TrainError::NotFinite { step, place });
        }
        self.step += 1;
        Ok(StepReport {
            event: answer,
            ..report
        })
    }

    /// What moves codes without a gradient.
    fn move_codes(&mut self, out: &StepOutput<f32>, report: &mut StepReport) {
        let Some(quantized) = &out.quantized else {
            return;
        };
        let mut draws = generator(self.config.seed, Purpose::Codes, self.step);
        let quantizer = self.model.quantizer();
        let moved = quantizer.update(&mut self.params, &out.z, quantized, &mut draws);
        for row in moved.rows {
            if let Some(averaged) = &mut self.averaged {
                averaged[row.clone()].copy_from_slice(&self.params[row.clone()]);
            }
            self.adam.forget(row);
        }
        report.restarted = moved.codes;
        report.perplexity = perplexity(&histogram(&quantized.codes, &quantizer.stages()));
    }

    /// Places the codes by the latents of this step's batch and the following ones.
    fn place_codes(&mut self, data: &Dataset) {
        let quantizer = self.model.quantizer::<f32>();
        let wanted = quantizer.wanted() * self.model.dim;
        let mut z = Vec::new();
        let mut ahead = 0;
        while z.len() < wanted && ahead < PLACED_BY {
            let x = data.batch(self.step + ahead, self.config.train.batch);
            let map = self.model.encode(&self.params, x.view());
            z.extend(self.order_of(&map).gathered(flat(&map).to_vec()));
            ahead += 1;
        }
        let mut draws = generator(self.config.seed, Purpose::Codes, 0);
        quantizer.place(&mut self.params, &z, &mut draws);
        // What was learnt before there were codes is no part of the average.
        if let Some(averaged) = &mut self.averaged {
            averaged.copy_from_slice(&self.params);
        }
        self.placed = true;
    }

    /// The quantiser's order of the vectors of latents `[n, h, w, dim]`.
    fn order_of(&self, latents: &Array4<f32>) -> SquareOrder {
        let (_, height, width, _) = latents.dim();
        self.model.square_order([height, width])
    }

    /// The codes as plain tables, stage by stage; none before they have been placed.
    pub fn tables(&self) -> Option<Vec<Table>> {
        let quantizer = self.model.quantizer();
        self.placed.then(|| quantizer.tables(self.deployed()))
    }

    /// What has to be computed around the tables.
    pub(crate) fn bridge(&self) -> Bridge {
        self.model.quantizer().bridge(self.deployed())
    }

    /// Reconstructions of pictures of the training size, and their codes, stage by stage, in the order of
    /// [`VqVae::square_order`].
    pub fn reconstruct(&self, pictures: &[Picture]) -> (Vec<Picture>, Vec<u16>) {
        let mut z = self
            .model
            .encode(self.deployed(), to_batch(pictures).view());
        let mut codes = Vec::new();
        if self.placed {
            let (quantizer, order) = (self.model.quantizer(), self.order_of(&z));
            let vectors = order.gathered(flat(&z).to_vec());
            let out = quantizer.forward(self.deployed(), &vectors, None);
            flat_mut(&mut z).copy_from_slice(&order.scattered(&out.values));
            codes = out.codes;
        }
        let decoded = self.model.decode(self.deployed(), z.view());
        (to_pictures(&decoded), codes)
    }

    /// Figures over a whole set of pictures of the training size, and what they stand for.
    /// Means over no pictures are NaN, which JSON has as null.
    pub fn validate(&self, pictures: &[Picture]) -> (Validation, Seen) {
        let stages = self.model.quantizer::<f32>().stages();
        let mut counts = vec![0; stages.iter().map(|stage| stage.codes).sum()];
        let (mut psnr, mut squares, mut perceived) = (0.0, 0.0, 0.0);
        let mut shown = Vec::new();
        for some in pictures.chunks(16) {
            let (decoded, codes) = self.reconstruct(some);
            let seen = histogram(&codes, &stages);
            counts.iter_mut().zip(seen).for_each(|(n, m)| *n += m);
            for (a, b) in some.iter().zip(&decoded) {
                psnr += metrics::psnr(a, b);
                squares += metrics::mean_squared_error(a, b) / 128.0f64.powi(2);
            }
            if let Some(lpips) = &self.lpips {
                let pairs = some.par_iter().zip(&decoded);
                let each: Vec<f64> = pairs
                    .map(|(a, b)| lpips.distance(a, b).unwrap_or(f64::NAN))
                    .collect();
                perceived += each.iter().sum::<f64>();
            }
            let wanted = SHEET.saturating_sub(shown.len());
            shown.extend(decoded.into_iter().take(wanted));
        }
        let n = pictures.len() as f64;
        let figures = Validation {
            step: self.step,
            images: pictures.len(),
            psnr: psnr / n,
            nmse: squares / n / self.scale,
            perplexity: perplexity(&counts),
            usage: usage(&counts),
            lpips: self.lpips.as_ref().map(|_| perceived / n),
            stages: stage_uses(&counts, &stages),
        };
        (figures, Seen { shown, counts })
    }

    /// Names the first parameter, latent or layer whose values are not finite.
    fn first_not_finite(&self, x: &Array4<f32>) -> String {
        let bad = |values: &[f32]| values.iter().any(|v| !v.is_finite());
        for entry in &self.model.table.entries {
            if bad(&self.params[entry.range.clone()]) {
                return format!("parameter {}", entry.name);
            }
        }
        let sides = [
            ("encoder", &self.model.encoder),
            ("decoder", &self.model.decoder),
        ];
        let (table, mut panels) = (&self.model.table, Vec::new());
        let chains = sides.map(|(_, chain)| chain);
        let weights = Weights::new(table, &chains, &self.params, &mut panels);
        let mut map = x.clone();
        for (side, chain) in sides {
            for (i, layer) in chain.layers.iter().enumerate() {
                map = layer.forward(&weights, map, &mut Tape::recording());
                if map.iter().any(|v| !v.is_finite()) {
                    return format!("the output of {side} layer {i} ({})", layer.kind());
                }
            }
        }
        "the loss or a gradient".into()
    }
}

/// PSNR in dB of a mean squared error in the network's units, where 255 steps span 255/128.
fn psnr_of(mse: f64) -> f64 {
    10.0 * ((255.0f64 / 128.0).powi(2) / mse.max(1e-10)).log10()
}

/// Trains to the configuration's last step, or until the observer says to stop.
///
/// The claimed folder receives what [`crate::run`] lists; without one nothing is written. On any error the
/// last checkpoint stays good.
pub fn run(
    trainer: &mut Trainer,
    data: &Dataset,
    claim: Option<&Claim>,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let mut run = claim.map(|c| Run::open(c, trainer)).transpose()?;
    let config = trainer.config.train;
    let (first, batch) = (trainer.step, config.batch);
    let mut spent = Duration::ZERO;
    let result = std::thread::scope(|scope| {
        let (send, batches) = sync_channel(PREFETCH);
        scope.spawn(move || {
            // A closed channel means that the run has stopped.
            (first..config.steps).all(|step| send.send(data.batch(step, batch)).is_ok())
        });
        let mut last = Instant::now();
        for x in batches {
            let report = trainer.train_step(&x, data)?;
            spent += last.elapsed();
            let stop = observer.step(&report).is_break();
            let step = report.step;
            if let Some(run) = &mut run {
                if let Some(event) = report.event {
                    run.event(step, event)?;
                }
                if step % 20 == 0 {
                    run.step(&report)?;
                }
                if stop || step % config.checkpoint_every == 0 {
                    run.save(trainer)?;
                }
            }
            if stop {
                break;
            }
            if step % config.validate_every == 0 && step < config.steps {
                validate(trainer, data, run.as_mut(), observer)?;
            }
            last = Instant::now();
        }
        Ok::<_, TrainError>(())
    });
    result?;
    if let Some(run) = &run {
        run.save(trainer)?;
    }
    let figures = validate(trainer, data, run.as_mut(), observer)?;
    let images = (trainer.step - first) * batch as u64;
    Ok(Summary {
        steps: trainer.step,
        nmse: figures.nmse,
        psnr: figures.psnr,
        perplexity: figures.perplexity,
        usage: figures.usage,
        images_per_s: images as f64 / spent.as_secs_f64().max(1e-9),
        step_bytes: trainer.step_bytes(),
        finished: trainer.step >= config.steps,
    })
}

fn validate(
    trainer: &Trainer,
    data: &Dataset,
    run: Option<&mut Run>,
    observer: &mut dyn Observer,
) -> Result<Validation, TrainError> {
    let (figures, seen) = trainer.validate(&data.validation);
    observer.validated(&figures);
    if let Some(run) = run {
        run.validation(&figures, &data.validation, &seen)?;
    }
    Ok(figures)
}

#[cfg(test)]
mod tests;
