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

use crate::config::{Config, ConfigError, GanConfig, OptimizerConfig, field_error};
use crate::data::{Purpose, generator};
use crate::model::Workspace;
use crate::nn::{Scalar, Weights, Worker, flat, flat_mut};
use crate::optim::{self, Adam};
use ndarray::{Array4, ArrayView4};
use serde::{Deserialize, Serialize};

/// How far a step of R1's difference reaches, in root mean squares of the network's units: some steps of
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
    /// Pictures that are too small for its layers.
    pub fn new(config: &Config) -> Result<Option<Adversary>, ConfigError> {
        let Some(gan) = &config.gan else {
            return Ok(None);
        };
        let net = Discriminator::new(&gan.discriminator, config.model.channels);
        let [width, height] = config.data.size;
        if net.patches([height, width]).is_none() {
            let reason = format!("too many for pictures of {width}x{height}");
            return Err(field_error("gan.discriminator.layers", reason));
        }
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
        let depths: Vec<usize> = workers.iter().map(|w| w.tape.depth()).collect();
        let views: Vec<_> = y.iter().map(|y| y.view()).collect();
        let fake = net.forward(p, &views, workers, matches.then_some(&mut of_fake));
        let verdict = listens.then(|| {
            let (loss, logits) = graded(&fake, |logit| self.config.loss.generator(logit));
            let maps = aside(workers, &depths, |workers| net.backward(p, logits, workers));
            let features = matches.then(|| {
                let (loss, slopes) = matched(&of_real, of_fake, self.config.features);
                let silent = graded(&fake, |_| (0.0, 0.0)).1;
                let maps = aside(workers, &depths, |workers| {
                    net.backward_features(p, slopes, silent, workers)
                });
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

    /// Learns from what it has seen last, pictures `x`, as fast as its own `rate` of the learning rate and in
    /// all else as the generator's optimiser; `step` counts from 0, over `steps` in all.
    ///
    /// None if its loss or a gradient was not finite: then it is left as it was.
    pub fn learn(
        &mut self,
        x: &[ArrayView4<'_, f32>],
        (optimizer, rate): (&OptimizerConfig, f64),
        (step, steps): (u64, u64),
    ) -> Option<AdversaryReport> {
        let Seen { real, fake } = self.seen.take().expect("it has looked before it learns");
        let (d_real, d_fake) = (mean(&real), mean(&fake));
        let averages = self.state.averages.unwrap_or(Averages {
            real: d_real,
            fake: d_fake,
        });
        let kind = self.config.loss;
        let lecam = self.config.lecam;
        let with =
            |(a, slope): (f64, f64), (b, other): (f64, f64)| (a + lecam * b, slope + lecam * other);
        let plain = graded(&real, |l| kind.real(l)).0 + graded(&fake, |l| kind.fake(l)).0;
        let (_, of_real) = graded(&real, |l| with(kind.real(l), averages.of_real(l)));
        let (_, of_fake) = graded(&fake, |l| with(kind.fake(l), averages.of_fake(l)));
        let mut report = AdversaryReport {
            d_loss: plain,
            d_real,
            d_fake,
            ..AdversaryReport::default()
        };
        if !plain.is_finite() {
            return None;
        }
        let standing = MEMORY * self.state.standing + (1.0 - MEMORY) * plain / kind.of_guessing();
        let learns = step >= self.config.learns_from;
        let bound = self.config.rest * if self.state.resting { WOKEN } else { 1.0 };
        let rests = learns && standing < bound;
        if learns && !rests {
            let Workspace { workers, panels } = &mut self.space;
            let p = &Weights::again(&self.state.params, panels);
            // What was passed last comes back first.
            self.net.backward(p, of_fake, workers);
            self.net.backward(p, of_real, workers);
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
    let tapes = workers.iter_mut().zip(depths);
    tapes.for_each(|(w, &depth)| w.tape.repeat(depth));
    Discriminator::held(workers, back)
}

/// The mean of a curve over all logits, and its gradient by them.
fn graded<T: Scalar>(
    logits: &[Array4<T>],
    curve: impl Fn(f64) -> (f64, f64),
) -> (f64, Vec<Array4<T>>) {
    let n = logits.iter().map(|map| map.len()).sum::<usize>() as f64;
    let mut total = 0.0;
    let slopes = logits.iter().map(|map| {
        map.map(|logit| {
            let (value, slope) = curve(logit.wide());
            total += value;
            T::of(slope / n)
        })
    });
    let slopes = slopes.collect();
    (total / n, slopes)
}

fn mean<T: Scalar>(logits: &[Array4<T>]) -> f64 {
    graded(logits, |logit| (logit, 0.0)).0
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
        let n = real.iter().map(|map| map.len()).sum::<usize>() as f64;
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
