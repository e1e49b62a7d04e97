//! A discriminator in training: its passes over a batch, the generator's losses that follow from them, and its step.

use super::discriminator::{Discriminator, R1};
use super::pause::Pause;
use crate::config::{GanConfig, OptimizerConfig};
use crate::loss::LossAndGradient;
use crate::loss::adversarial::{
    Discriminate, GeneratorLosses, LogitAverages, feature_matching, gradient_of_mean, mean,
};
use crate::nn::{Weights, Worker, Workspace, copies, depths, recycle, repeat};
use crate::optim::{self, Adam, Progress};
use crate::random::{Purpose, generator};
use ndarray::{Array4, ArrayView4};
use serde::{Deserialize, Serialize};

/// The reach of R1's difference, as a root mean square in the network's units: about one step of 255, so that f32 resolves
/// the difference.
const REACH: f64 = 0.01;

/// The state of a discriminator between two steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdversaryState {
    params: Vec<f32>,
    adam: Adam,
    /// Averages of its logits; none before its first step.
    averages: Option<LogitAverages>,
    pause: Pause,
}

/// A discriminator in training.
#[derive(Debug)]
pub struct Adversary {
    config: GanConfig,
    net: Discriminator,
    state: AdversaryState,
    space: Workspace<f32>,
    passed: Option<Logits>,
}

/// Logits of a batch, chunk by chunk, whose passes are recorded on the tapes.
#[derive(Debug)]
struct Logits {
    real: Vec<Array4<f32>>,
    fake: Vec<Array4<f32>>,
}

/// The discriminator's figures of one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct AdversaryReport {
    /// The discriminator's loss without regularisers.
    pub d_loss: f64,
    /// Mean logit of real pictures.
    pub d_real: f64,
    /// Mean logit of reconstructions.
    pub d_fake: f64,
    /// Norm of the discriminator's gradient before clipping; 0 when it did not learn.
    pub d_grad_norm: f64,
    /// Mean squared gradient of the logits by real pictures, on steps that penalise it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_slope: Option<f64>,
    /// Whether the discriminator's learning is paused.
    pub d_paused: bool,
}

impl Adversary {
    /// A discriminator with fresh weights, drawn from the run's seed.
    pub fn new(net: Discriminator, config: &GanConfig, seed: u64) -> Adversary {
        let mut draws = generator(seed, Purpose::Discriminator, 0);
        let params: Vec<f32> = net.table.init(&mut draws);
        Adversary {
            config: config.clone(),
            net,
            state: AdversaryState {
                adam: Adam::new(params.len()),
                params,
                averages: None,
                pause: Pause::default(),
            },
            space: Workspace::default(),
            passed: None,
        }
    }

    /// Goes on from where another session stopped; false if the state is not of this discriminator.
    pub fn resume(&mut self, state: AdversaryState) -> bool {
        let len = self.net.table.len();
        let fits = state.params.len() == len && state.adam.fits(len);
        if fits {
            self.state = state;
        }
        fits
    }

    /// Everything needed to go on.
    pub fn state(&self) -> &AdversaryState {
        &self.state
    }

    /// The discriminator's layers, and its parameters' names.
    pub fn net(&self) -> &Discriminator {
        &self.net
    }

    /// The discriminator's flat parameter vector.
    pub fn params(&self) -> &[f32] {
        &self.state.params
    }

    /// The discriminator's flat parameter vector, to begin with other weights.
    pub fn params_mut(&mut self) -> &mut [f32] {
        &mut self.state.params
    }

    /// Whether the discriminator's learning was paused in the last step.
    pub fn is_paused(&self) -> bool {
        self.state.pause.paused
    }

    /// Bytes of memory kept between steps.
    pub fn bytes(&self) -> usize {
        self.space.bytes()
    }

    /// Learns from the batch that passed last, with pictures `x`, by its own learning rate times `rate` and its own decay
    /// rates; all other settings are those of the generator's `optimizer`.
    ///
    /// None if its loss or a gradient was not finite: then it is left as it was.
    ///
    /// # Panics
    /// When no batch has passed since it learnt last.
    pub fn learn(
        &mut self,
        x: &[ArrayView4<'_, f32>],
        optimizer: &OptimizerConfig,
        rate: f64,
        progress: Progress,
    ) -> Option<AdversaryReport> {
        let logits = self
            .passed
            .take()
            .expect("a batch passes before it is learnt from");
        let mut report = self.report(&logits);
        let AdversaryReport {
            d_loss,
            d_real,
            d_fake,
            ..
        } = report;
        // relu(1 + NaN) may be 0: NaN does not always reach a hinge loss.
        let finite = (d_loss + d_real + d_fake).is_finite();
        let learns = progress.step >= self.config.learns_from;
        let mut pause = Pause::default();
        if learns {
            let guessing = self.config.loss.of_guessing();
            pause = self
                .state
                .pause
                .after(d_loss, guessing, self.config.pause_below);
        }
        let batch = LogitAverages {
            real: d_real,
            fake: d_fake,
        };
        let averages = self.state.averages.unwrap_or(batch);
        if finite && learns && !pause.paused {
            report.d_slope = self.gradients(x, logits, averages, progress.step);
            let mut own = self.config.optimizer(optimizer);
            own.lr *= rate;
            report.d_grad_norm = self.update(&own, progress)?;
        } else {
            self.recycle(logits.real);
            self.recycle(logits.fake);
            if !finite {
                return None;
            }
        }
        report.d_paused = pause.paused;
        self.state.pause = pause;
        self.state.averages = Some(averages.moved(self.config.lecam_decay, batch));
        Some(report)
    }

    /// The loss and the mean logits.
    fn report(&self, Logits { real, fake }: &Logits) -> AdversaryReport {
        let kind = self.config.loss;
        AdversaryReport {
            d_loss: mean(real, |l| kind.real(l).0) + mean(fake, |l| kind.fake(l).0),
            d_real: mean(real, |l| l),
            d_fake: mean(fake, |l| l),
            ..AdversaryReport::default()
        }
    }

    /// Leaves the gradients of the loss and its regularisers in the workspace. Returns the mean squared slope where that
    /// is penalised at this step.
    fn gradients(
        &mut self,
        x: &[ArrayView4<'_, f32>],
        Logits { real, fake }: Logits,
        averages: LogitAverages,
        step: u64,
    ) -> Option<f64> {
        let (kind, lecam) = (self.config.loss, self.config.lecam);
        // The last pass is the first to go back.
        let logits = [
            gradient_of_mean(fake, |l| kind.fake(l).1 + lecam * averages.of_fake(l).1),
            gradient_of_mean(real, |l| kind.real(l).1 + lecam * averages.of_real(l).1),
        ];
        let Workspace { workers, panels } = &mut self.space;
        let p = &Weights::again(&self.state.params, panels);
        for logits in logits {
            let by_pictures = self.net.backward(p, logits, workers);
            recycle(by_pictures, workers);
        }
        let penalised = self.config.r1 > 0.0 && step.is_multiple_of(self.config.r1_every);
        let slope = penalised.then(|| {
            let r1 = R1 {
                gamma: self.config.r1 * self.config.r1_every as f64,
                reach: REACH,
            };
            self.net.penalise(p, x, r1, workers)
        });
        self.space.reduce();
        slope
    }

    /// Moves the parameters by the gradients in the workspace. Returns the gradients' norm before clipping, or none if it is
    /// not finite.
    fn update(&mut self, optimizer: &OptimizerConfig, progress: Progress) -> Option<f64> {
        let table = &self.net.table;
        let norm = optim::clip(table, self.space.grads(), optimizer.clip);
        if !norm.is_finite() {
            return None;
        }
        let (grads, params) = (self.space.grads(), &mut self.state.params);
        let adam = &mut self.state.adam;
        adam.update(optimizer, table, progress, grads, params);
        Some(norm)
    }
}

impl Discriminate for Adversary {
    fn pass(
        &mut self,
        x: &[ArrayView4<'_, f32>],
        y: &[Array4<f32>],
        generator_learns: bool,
    ) -> Option<GeneratorLosses> {
        let matching = generator_learns && self.config.features > 0.0;
        let draws = |chunk| generator(0, Purpose::Layers, chunk);
        self.space.prepare(x.len(), self.net.table.len(), draws);
        let Workspace { workers, panels } = &mut self.space;
        let p = &self.net.weights(&self.state.params, panels);
        let mut features = matching.then(Features::default);
        let (of_real, of_fake) = match &mut features {
            Some(features) => (Some(&mut features.real), Some(&mut features.fake)),
            None => (None, None),
        };
        let real = self.net.forward(p, x, workers, of_real);
        let depths = depths(workers);
        let views: Vec<_> = y.iter().map(|y| y.view()).collect();
        let fake = self.net.forward(p, &views, workers, of_fake);
        let back = Back {
            net: &self.net,
            config: &self.config,
            p,
            depths: &depths,
            fake: &fake,
        };
        let losses = generator_learns.then(|| GeneratorLosses {
            adversarial: back.adversarial(workers),
            features: features.map(|features| back.features(features, workers)),
        });
        self.passed = Some(Logits { real, fake });
        losses
    }

    fn recycle(&mut self, gradient: Vec<Array4<f32>>) {
        recycle(gradient, &mut self.space.workers);
    }
}

/// Features of pictures and of reconstructions, layer by layer, each chunk by chunk.
#[derive(Default)]
struct Features {
    real: Vec<Vec<Array4<f32>>>,
    fake: Vec<Vec<Array4<f32>>>,
}

/// The generator's losses of a batch of reconstructions whose pass lies above `depths` on the tapes. The backward passes
/// leave the tapes and the discriminator's gradients as they were.
struct Back<'a> {
    net: &'a Discriminator,
    config: &'a GanConfig,
    p: &'a Weights<'a, f32>,
    depths: &'a [usize],
    /// Logits of the reconstructions.
    fake: &'a [Array4<f32>],
}

impl Back<'_> {
    fn adversarial(&self, workers: &mut [Worker<f32>]) -> LossAndGradient<f32> {
        let kind = self.config.loss;
        let logits = copies(self.fake, workers);
        let logits = gradient_of_mean(logits, |logit| kind.generator(logit).1);
        repeat(workers, self.depths);
        let gradient = Discriminator::without_gradients(workers, |workers| {
            self.net.backward(self.p, logits, workers)
        });
        let loss = mean(self.fake, |logit| kind.generator(logit).0);
        LossAndGradient { loss, gradient }
    }

    fn features(
        &self,
        Features { real, fake }: Features,
        workers: &mut [Worker<f32>],
    ) -> LossAndGradient<f32> {
        let (loss, features) = feature_matching(&real, fake, self.config.features);
        let zeros = gradient_of_mean(copies(self.fake, workers), |_| 0.0);
        repeat(workers, self.depths);
        let gradient = Discriminator::without_gradients(workers, |workers| {
            self.net.backward_features(self.p, features, zeros, workers)
        });
        real.into_iter().for_each(|maps| recycle(maps, workers));
        LossAndGradient { loss, gradient }
    }
}
