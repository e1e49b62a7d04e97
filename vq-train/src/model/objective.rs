//! What a reconstruction is graded by, and how two gradients meet at the decoder's last weights.

use super::VqVae;
use crate::config::LossKind;
use crate::loss::{self, Sums};
use crate::nn::{Chain, Layer, Scalar, Weights, Worker, on_each};
use ndarray::{Array4, ArrayView4};
use rayon::prelude::*;
use std::ops::Range;

/// Losses of reconstructions `y` of pictures `x`, and their gradients by y.
///
/// Both come as chunks `[n, h, w, c]` of one batch; losses are means over the whole batch.
pub trait Objective<T: Scalar> {
    /// Whether the grades will have a second loss that is weighed by gradients.
    fn balances(&self) -> bool {
        false
    }

    /// Grades a batch. The maps of `y` may become those of the gradients.
    fn grade(&mut self, x: &[ArrayView4<'_, T>], y: Vec<Array4<T>>) -> Grades<T>;
}

/// What an [`Objective`] says of a batch.
#[derive(Debug)]
pub struct Grades<T> {
    /// The first loss.
    pub sums: Sums,
    /// Its gradient by the reconstruction, chunk by chunk.
    pub maps: Vec<Array4<T>>,
    /// Another one that is weighed against it.
    pub second: Option<Second<T>>,
}

/// A loss beside another: total = first + l second. Either l = weight; or it balances what both would do to
/// the decoder's last weights W, l = weight min(|dW first| / (|dW second| + 1e-4), 1e4) (Esser et al. 2021,
/// equation 7).
#[derive(Debug)]
pub struct Second<T> {
    /// The loss.
    pub loss: f64,
    /// Its gradient by the reconstruction, chunk by chunk.
    pub maps: Vec<Array4<T>>,
    /// What it counts.
    pub weight: f64,
}

/// MSE over the data's variance, or an absolute error over its standard deviation, and nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Pixels {
    /// Which error.
    pub kind: LossKind,
    /// Variance or standard deviation.
    pub scale: f64,
}

impl<T: Scalar> Objective<T> for Pixels {
    fn grade(&mut self, x: &[ArrayView4<'_, T>], y: Vec<Array4<T>>) -> Grades<T> {
        let values = x.iter().map(|x| x.len()).sum();
        let pairs = y.into_par_iter().zip(x).with_max_len(1);
        let graded = pairs.map(|(y, x)| loss::reconstruction(self.kind, x, y, values, self.scale));
        let (maps, sums): (Vec<_>, Vec<_>) = graded.unzip();
        Grades {
            sums: sums.into_iter().fold(Sums::default(), |a, b| a + b),
            maps,
            second: None,
        }
    }
}

/// The decoder in two parts: up to its last layer with weights, and that with what follows it.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    body: Chain,
    tail: Chain,
    /// W.
    weight: Range<usize>,
    /// W and the bias.
    params: Range<usize>,
}

/// An adaptive weight is at most this.
const LARGEST: f64 = 1e4;
/// What keeps it finite.
const EPSILON: f64 = 1e-4;

impl Ends {
    /// None where the last layer that learns is not one matrix of weights. `end` is where the decoder's
    /// parameters end.
    pub(super) fn of(decoder: &Chain, end: usize) -> Option<Ends> {
        let last = decoder.layers.iter().rposition(Layer::may_learn)?;
        let weight = decoder.layers[last].weight()?.clone();
        let (body, tail) = decoder.layers.split_at(last);
        let chain = |layers: &[Layer]| Chain {
            layers: layers.to_vec(),
        };
        Some(Ends {
            body: chain(body),
            tail: chain(tail),
            params: weight.start..end,
            weight,
        })
    }

    /// Latents to reconstructions, and the maps in between.
    fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        z: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> (Vec<Array4<T>>, Vec<Array4<T>>) {
        let maps = self.body.forward_all(p, z, workers);
        let middle = copies(&maps, workers);
        (self.tail.forward_all(p, maps, workers), middle)
    }

    /// The gradients of both losses by the latents, added up with the second's weight, and the weight.
    fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        middle: Vec<Array4<T>>,
        (first, second): (Vec<Array4<T>>, Second<T>),
        workers: &mut [Worker<T>],
    ) -> (Vec<Array4<T>>, f64) {
        let mut maps = self.tail.backward_all(p, first, workers);
        let own: Vec<Vec<T>> = workers.iter_mut().map(|w| self.take_grads(w)).collect();
        // What passes the tail once more is not looked at again.
        let seen = self.tail.forward_all(p, middle, workers);
        recycle(seen, workers);
        let others = self.tail.backward_all(p, second.maps, workers);
        let firsts = own.iter().map(|grads| &grads[..self.weight.len()]);
        let seconds = workers.iter().map(|w| &w.grads[self.weight.clone()]);
        let ratio = norm_of_sum(firsts) / (norm_of_sum(seconds) + EPSILON);
        let weight = second.weight * ratio.min(LARGEST);
        let factor = T::of(weight);
        for (worker, own) in workers.iter_mut().zip(&own) {
            let grads = &mut worker.grads[self.params.clone()];
            let both = grads.iter_mut().zip(own);
            both.for_each(|(other, &own)| *other = own + factor * *other);
        }
        add(&mut maps, &others, factor);
        recycle(others, workers);
        (self.body.backward_all(p, maps, workers), weight)
    }

    /// The tail's gradients, which are zero afterwards.
    fn take_grads<T: Scalar>(&self, worker: &mut Worker<T>) -> Vec<T> {
        let grads = &mut worker.grads[self.params.clone()];
        let taken = grads.to_vec();
        grads.fill(T::zero());
        taken
    }
}

impl VqVae {
    /// Latents to reconstructions, and what [`VqVae::backward_decoder`] needs to balance two losses.
    pub(super) fn forward_decoder<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        z: Vec<Array4<T>>,
        balances: bool,
        workers: &mut [Worker<T>],
    ) -> (Vec<Array4<T>>, Option<Vec<Array4<T>>>) {
        match &self.ends {
            Some(ends) if balances => {
                let (maps, middle) = ends.forward(p, z, workers);
                (maps, Some(middle))
            }
            _ => (self.decoder.forward_all(p, z, workers), None),
        }
    }

    /// The gradients by the latents, and what the second loss counts.
    pub(super) fn backward_decoder<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        middle: Option<Vec<Array4<T>>>,
        (mut first, second): (Vec<Array4<T>>, Option<Second<T>>),
        workers: &mut [Worker<T>],
    ) -> (Vec<Array4<T>>, Option<f64>) {
        let weight = second.as_ref().map(|second| second.weight);
        match (&self.ends, middle, second) {
            (Some(ends), Some(middle), Some(second)) => {
                let (maps, weight) = ends.backward(p, middle, (first, second), workers);
                return (maps, Some(weight));
            }
            (_, _, Some(second)) => add(&mut first, &second.maps, T::of(second.weight)),
            (_, _, None) => {}
        }
        (self.decoder.backward_all(p, first, workers), weight)
    }
}

/// Adds `factor` times the others.
fn add<T: Scalar>(maps: &mut [Array4<T>], others: &[Array4<T>], factor: T) {
    for (map, other) in maps.iter_mut().zip(others) {
        map.zip_mut_with(other, |a, &b| *a += factor * b);
    }
}

/// A copy of each chunk's map.
fn copies<T: Scalar>(maps: &[Array4<T>], workers: &mut [Worker<T>]) -> Vec<Array4<T>> {
    let views = maps.iter().map(|map| map.view()).collect();
    on_each(views, workers, |map, w| w.tape.copy_of(&map))
}

fn recycle<T: Scalar>(maps: Vec<Array4<T>>, workers: &mut [Worker<T>]) {
    let each = maps.into_iter().zip(workers);
    each.for_each(|(map, w)| w.tape.recycle(map));
}

/// The Euclidean norm of a sum of vectors, which are of one length.
fn norm_of_sum<'v, T: Scalar>(mut vectors: impl Iterator<Item = &'v [T]>) -> f64 {
    let mut sum = vectors.next().unwrap_or_default().to_vec();
    for vector in vectors {
        let both = sum.iter_mut().zip(vector);
        both.for_each(|(a, &b)| *a += b);
    }
    let squares = sum.iter().map(|v| v.wide() * v.wide());
    squares.sum::<f64>().sqrt()
}
