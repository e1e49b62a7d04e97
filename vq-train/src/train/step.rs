//! One optimiser step: the gradients of all losses, the discriminator's step, and codes that move without gradients.

use super::error::TrainError;
use super::not_finite::first_place;
use super::report::StepReport;
use super::trainer::Trainer;
use crate::config::OptimizerConfig;
use crate::data::Dataset;
use crate::health::Event;
use crate::loss::{AdversarialPart, LossTerms, LpipsError, PixelLoss, TotalLoss, Window};
use crate::model::{StepOutput, VqVae};
use crate::nn::flat;
use crate::optim::{self, Progress};
use crate::quantizer::{histogram, perplexity};
use crate::random::{Purpose, generator};
use ndarray::Array4;

/// The codes are placed by at most this many batches.
const PLACING_BATCHES: u64 = 1024;

impl Trainer {
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
        let quantize = self.placed || self.step >= self.config.quantizer.start;
        if quantize && !self.placed {
            self.place_codes(data);
        }
        let optimizer = self.rates();
        let (out, terms) = self.gradients(x, quantize)?;
        let grads = self.space.grads();
        let grad_norm = optim::clip(&self.model.table, grads, optimizer.clip);
        let mut report = StepReport {
            step: self.step + 1,
            loss: out.loss,
            nmse: out.mse / self.scale,
            psnr: psnr_of(out.mse),
            perplexity: 0.0,
            restarted: 0,
            grad_norm,
            lr: optim::learning_rate(&optimizer, self.progress()),
            terms,
            g_weight: out.weight,
            adversary: None,
            event: None,
        };
        if !(out.loss.is_finite() && grad_norm.is_finite()) {
            return self.failed(report, |t| first_place(&t.model, &t.params, x));
        }
        if !self.discriminator_step(x, &optimizer, &mut report) {
            return self.failed(report, |_| "the discriminator's loss or gradient".into());
        }
        self.health.recovered();
        self.update(&optimizer, &out, &mut report);
        Ok(report)
    }

    fn progress(&self) -> Progress {
        Progress {
            step: self.step,
            steps: self.config.train.steps,
        }
    }

    /// The optimiser's settings, at the learning rate that failed steps have left.
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
    ) -> Result<(StepOutput<f32>, LossTerms), TrainError> {
        let config = &self.config.loss;
        if config.lpips > 0.0 && self.lpips.is_none() {
            return Err(LpipsError::NotNamed.into());
        }
        let (seed, step) = (self.config.seed, self.step);
        let adversary = self.adversary.as_mut().zip(self.config.gan.as_ref());
        let mut windows = generator(seed, Purpose::Window, step);
        let mut loss = TotalLoss {
            config,
            pixel: PixelLoss {
                kind: config.kind,
                scale: self.scale,
            },
            lpips: self.lpips.as_ref().filter(|_| config.lpips > 0.0),
            window: Window::draw(self.config.data.size, &mut windows),
            tapes: &mut self.tapes,
            adversarial: adversary.map(|(adversary, gan)| AdversarialPart {
                discriminator: adversary,
                active: step >= gan.start,
                weight: gan.weight,
                adaptive: gan.adaptive,
            }),
            terms: LossTerms::default(),
        };
        let draws = |chunk| generator(seed, Purpose::Layers, step << 16 | chunk);
        let (space, p) = (&mut self.space, &self.params);
        let model = &self.model;
        let out = model.step(space, p, quantize, x.view(), &mut loss, draws);
        Ok((out, loss.terms))
    }

    /// The discriminator's step, if there is one; false if it failed.
    fn discriminator_step(
        &mut self,
        x: &Array4<f32>,
        optimizer: &OptimizerConfig,
        report: &mut StepReport,
    ) -> bool {
        let progress = self.progress();
        let Some(adversary) = &mut self.adversary else {
            return true;
        };
        let x = x.view();
        let (rate, was_paused) = (self.health.rate(), adversary.is_paused());
        let learnt = adversary.learn(&VqVae::chunks(&x), optimizer, rate, progress);
        let Some(figures) = learnt else {
            return false;
        };
        report.event = match (was_paused, figures.d_paused) {
            (false, true) => Some(Event::DiscriminatorPaused),
            (true, false) => Some(Event::DiscriminatorResumed),
            _ => None,
        };
        report.adversary = Some(figures);
        true
    }

    /// Ends a step whose values are not finite, first in a place that has to be found: no weight has changed.
    fn failed(
        &mut self,
        report: StepReport,
        place: impl FnOnce(&Self) -> String,
    ) -> Result<StepReport, TrainError> {
        let event = match &self.adversary {
            Some(_) => self.health.failed(),
            None => None,
        };
        if event.is_none() {
            let place = place(self);
            let step = self.step;
            return Err(TrainError::NotFinite { step, place });
        }
        self.step += 1;
        Ok(StepReport { event, ..report })
    }

    /// Moves the parameters by the gradients in the workspace, then the codes, then the average of all.
    fn update(
        &mut self,
        optimizer: &OptimizerConfig,
        out: &StepOutput<f32>,
        report: &mut StepReport,
    ) {
        let progress = self.progress();
        let (table, grads) = (&self.model.table, self.space.grads());
        self.adam
            .update(optimizer, table, progress, grads, &mut self.params);
        self.step += 1;
        self.move_codes(out, report);
        if let Some(averaged) = &mut self.averaged {
            let table = &self.model.table;
            optim::average(optimizer.ema, table, progress.step, &self.params, averaged);
        }
    }

    /// Moves the codes that learn without gradients.
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
        while z.len() < wanted && ahead < PLACING_BATCHES {
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
}

/// PSNR in dB of a mean squared error in the network's units, where 255 steps span 255/128.
fn psnr_of(mse: f64) -> f64 {
    10.0 * ((255.0f64 / 128.0).powi(2) / mse.max(1e-10)).log10()
}
