//! Adversarial training: a discriminator that learns to tell pictures from reconstructions, and what it
//! tells the generator.
//!
//! A step looks at pictures and their reconstructions once ([`Adversary::look`]). The same passes serve the
//! generator, whose losses they give with gradients by the reconstructions, and then the discriminator
//! ([`Adversary::learn`]), which learns from the first step on whether the generator listens or not.

mod discriminator;
mod loss;

pub use discriminator::Discriminator;
pub use loss::Averages;

use crate::config::{Config, ConfigError, GanConfig, OptimizerConfig};
use crate::data::{Purpose, generator};
use crate::model::Workspace;
use crate::nn::{Scalar, Weights, Worker, copies, depths, flat, flat_mut, recycle, repeat};
use crate::optim::{self, Adam};
use ndarray::{Array4, ArrayView4};
use serde::{Deserialize, Serialize};

/// How far a step of R1's difference reaches, as a root mean square in the network's units: about one step of
/// 255, so that f32 resolves the difference.
const REACH: f64 = 0.01;

/// The share of the past in the average of the discriminator's loss.
const MEMORY: f64 = 0.98;

/// One that rests learns on when its loss is so many times that at which it went to rest.
const WOKEN: f64 = 2.0;

/// What a discriminator takes from one session to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdversaryState {
    params: Vec<f32>,
    adam: Adam,
    /// Of its logits; none before its first step.
    averages: Option<Averages>,
    /// Its loss, averaged, as a share of what guessing costs.
    standing: f64,
    /// Whether it sits out, because it has won.
    resting: bool,
}

/// A discriminator in training.
#[derive(Debug)]
pub struct Adversary {
    config: GanConfig,
    net: Discriminator,
    state: AdversaryState,
    space: Workspace<f32>,
    seen: Option<Seen<f32>>,
}

/// Logits of a batch, chunk by chunk, whose passes lie on the tapes.
#[derive(Debug)]
struct Seen<T> {
    real: Vec<Array4<T>>,
    fake: Vec<Array4<T>>,
}

/// A loss of the generator and its gradient by the reconstructions, chunk by chunk.
#[derive(Debug)]
pub struct Told {
    /// The loss.
    pub loss: f64,
    /// dloss/dy.
    pub maps: Vec<Array4<f32>>,
}

/// What the generator hears of a batch.
#[derive(Debug)]
pub struct Verdict {
    /// The adversarial loss.
    pub adversarial: Told,
    /// Feature matching, if asked for.
    pub features: Option<Told>,
}

/// What a step did to the discriminator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct AdversaryReport {
    /// Its loss, regularisers left out.
    pub d_loss: f64,
    /// Its mean logit of real pictures.
    pub d_real: f64,
    /// Its mean logit of reconstructions.
    pub d_fake: f64,
    /// Its gradient's norm before clipping; 0 when it did not learn.
    pub d_grad_norm: f64,
    /// Mean squared slope of its logits by real pictures, on steps that penalise it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_slope: Option<f64>,
    /// Whether it sat out.
    pub d_rests: bool,
}

impl Adversary {
    /// A discriminator with fresh weights, if the configuration asks for one.
    ///
    /// # Errors
    /// Pictures that are too small for its layers, or too many parameters.
    pub fn new(config: &Config) -> Result<Option<Adversary>, ConfigError> {
        let Some(gan) = &config.gan else {
            return Ok(None);
        };
        let net = gan
            .discriminator
            .build(config.data.size, config.model.channels)?;
        let mut draws = generator(config.seed, Purpose::Discriminator, 0);
        let params: Vec<f32> = net.table.init(&mut draws);
        Ok(Some(Adversary {
            config: gan.clone(),
            net,
            state: AdversaryState {
                adam: Adam::new(params.len()),
                params,
                averages: None,
                standing: 1.0,
                resting: false,
            },
            space: Workspace::default(),
            seen: None,
        }))
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

    /// Its layers and parameters' names.
    pub fn net(&self) -> &Discriminator {
        &self.net
    }

    /// Its flat parameter vector.
    pub fn params(&self) -> &[f32] {
        &self.state.params
    }

    /// As [`Adversary::params`], to begin with others.
    pub fn params_mut(&mut self) -> &mut [f32] {
        &mut self.state.params
    }

    /// Whether it sat out last time.
    pub fn rests(&self) -> bool {
        self.state.resting
    }

    /// Bytes that it holds on to between steps.
    pub fn bytes(&self) -> usize {
        self.space.bytes()
    }

    /// Takes back maps of a verdict, which nobody will read again.
    pub fn take_back(&mut self, maps: Vec<Array4<f32>>) {
        recycle(maps, &mut self.space.workers);
    }

    /// Passes pictures `x` and their reconstructions `y`, chunks `[n, h, w, c]` of one batch. `listens` asks
    /// for what the generator is to hear.
    pub fn look(
        &mut self,
        x: &[ArrayView4<'_, f32>],
        y: &[Array4<f32>],
        listens: bool,
    ) -> Option<Verdict> {
        let matches = listens && self.config.features > 0.0;
        let draws = |chunk| generator(0, Purpose::Layers, chunk);
        self.space.prepare(x.len(), self.net.table.len(), draws);
        let Workspace { workers, panels } = &mut self.space;
        let p = &self.net.weights(&self.state.params, panels);
        let net = &self.net;
        let (mut of_real, mut of_fake) = (Vec::new(), Vec::new());
        let real = net.forward(p, x, workers, matches.then_some(&mut of_real));
        let depths = depths(workers);
        let views: Vec<_> = y.iter().map(|y| y.view()).collect();
        let fake = net.forward(p, &views, workers, matches.then_some(&mut of_fake));
        let verdict = listens.then(|| {
            let kind = self.config.loss;
            let loss = mean(&fake, |logit| kind.generator(logit).0);
            let logits = slopes(copies(&fake, workers), |logit| kind.generator(logit).1);
            let maps = aside(workers, &depths, |workers| net.backward(p, logits, workers));
            let features = matches.then(|| {
                let (loss, features) = matched(&of_real, of_fake, self.config.features);
                let silent = slopes(copies(&fake, workers), |_| 0.0);
                let maps = aside(workers, &depths, |workers| {
                    net.backward_features(p, features, silent, workers)
                });
                of_real.into_iter().for_each(|maps| recycle(maps, workers));
                Told { loss, maps }
            });
            let adversarial = Told { loss, maps };
            Verdict {
                adversarial,
                features,
            }
        });
        self.seen = Some(Seen { real, fake });
        verdict
    }

    /// Learns from what it has seen last, pictures `x`, at `rate` times its own learning rate, with its own
    /// decay rates, and in all else as the generator's optimiser; `step` counts from 0, over `steps` in all.
    ///
    /// None if its loss or a gradient was not finite: then it is left as it was.
    pub fn learn(
        &mut self,
        x: &[ArrayView4<'_, f32>],
        (optimizer, rate): (&OptimizerConfig, f64),
        (step, steps): (u64, u64),
    ) -> Option<AdversaryReport> {
        let Seen { real, fake } = self.seen.take().expect("it has looked before it learns");
        let (d_real, d_fake) = (mean(&real, |l| l), mean(&fake, |l| l));
        let averages = self.state.averages.unwrap_or(Averages {
            real: d_real,
            fake: d_fake,
        });
        let kind = self.config.loss;
        let lecam = self.config.lecam;
        let plain = mean(&real, |l| kind.real(l).0) + mean(&fake, |l| kind.fake(l).0);
        let mut report = AdversaryReport {
            d_loss: plain,
            d_real,
            d_fake,
            ..AdversaryReport::default()
        };
        // A hinge is deaf to NaN.
        let finite = (plain + d_real + d_fake).is_finite();
        let standing = MEMORY * self.state.standing + (1.0 - MEMORY) * plain / kind.of_guessing();
        let learns = step >= self.config.learns_from;
        let bound = self.config.rest * if self.state.resting { WOKEN } else { 1.0 };
        let rests = learns && standing < bound;
        if !finite || !learns || rests {
            self.take_back(real);
            self.take_back(fake);
            if !finite {
                return None;
            }
        } else {
            let of_real = slopes(real, |l| kind.real(l).1 + lecam * averages.of_real(l).1);
            let of_fake = slopes(fake, |l| kind.fake(l).1 + lecam * averages.of_fake(l).1);
            let Workspace { workers, panels } = &mut self.space;
            let p = &Weights::again(&self.state.params, panels);
            // What was passed last comes back first.
            for logits in [of_fake, of_real] {
                let by_pictures = self.net.backward(p, logits, workers);
                recycle(by_pictures, workers);
            }
            if self.config.r1 > 0.0 && step.is_multiple_of(self.config.r1_every) {
                let gamma = self.config.r1 * self.config.r1_every as f64;
                report.d_slope = Some(self.net.penalise(p, x, (gamma, REACH), workers));
            }
            self.space.reduce();
            let mut own = self.config.optimizer(optimizer);
            own.lr *= rate;
            let table = &self.net.table;
            report.d_grad_norm = optim::clip(table, self.space.grads(), own.clip);
            if !report.d_grad_norm.is_finite() {
                return None;
            }
            let (grads, params) = (self.space.grads(), &mut self.state.params);
            let adam = &mut self.state.adam;
            adam.update(&own, table, (step, steps), grads, params);
        }
        report.d_rests = rests;
        self.state.resting = rests;
        self.state.standing = if learns { standing } else { 1.0 };
        self.state.averages = Some(averages.moved(self.config.lecam_decay, d_real, d_fake));
        Some(report)
    }
}

/// Runs a backward pass of what lies above these depths of the tapes, which leaves that and the parameters'
/// gradients as they were.
fn aside<T: Scalar, R>(
    workers: &mut [Worker<T>],
    depths: &[usize],
    back: impl FnOnce(&mut [Worker<T>]) -> R,
) -> R {
    repeat(workers, depths);
    Discriminator::held(workers, back)
}

/// The mean of a curve over all logits.
fn mean<T: Scalar>(logits: &[Array4<T>], curve: impl Fn(f64) -> f64) -> f64 {
    let values = logits.iter().flatten();
    values.map(|logit| curve(logit.wide())).sum::<f64>() / count(logits)
}

/// In place of logits the gradient of the mean of a curve with this slope.
fn slopes<T: Scalar>(mut logits: Vec<Array4<T>>, slope: impl Fn(f64) -> f64) -> Vec<Array4<T>> {
    let n = count(&logits);
    let values = logits.iter_mut().flatten();
    values.for_each(|logit| *logit = T::of(slope(logit.wide()) / n));
    logits
}

fn count<T>(maps: &[Array4<T>]) -> f64 {
    maps.iter().map(|map| map.len()).sum::<usize>() as f64
}

/// `weight` times the sum over stages of the mean absolute distance of features, and its gradient by those
/// of the reconstructions.
fn matched<T: Scalar>(
    real: &[Vec<Array4<T>>],
    mut fake: Vec<Vec<Array4<T>>>,
    weight: f64,
) -> (f64, Vec<Vec<Array4<T>>>) {
    let mut total = 0.0;
    for (real, fake) in real.iter().zip(&mut fake) {
        let n = count(real);
        let slope = T::of(weight / n);
        for (real, fake) in real.iter().zip(fake) {
            let mut sum = 0.0;
            for (f, &r) in flat_mut(fake).iter_mut().zip(flat(real)) {
                let e = *f - r;
                sum += e.abs().wide();
                *f = if e == T::zero() {
                    e
                } else {
                    e.signum() * slope
                };
            }
            total += weight * sum / n;
        }
    }
    (total, fake)
}

#[cfg(test)]
mod tests;
