//! What a reconstruction is graded by, and how two gradients meet at the decoder's last weights.

use super::VqVae;
use crate::config::LossKind;
use crate::loss::{self, Sums};
use crate::nn::{
    Chain, Layer, ParamTable, Scalar, Weights, Worker, add, copies, depths, recycle, repeat,
};
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

    /// Takes back the maps of a second loss.
    fn take_back(&mut self, _maps: Vec<Array4<T>>) {}
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
    /// W and what else of its layer learns.
    learnt: Range<usize>,
}

/// An adaptive weight is at most this.
const LARGEST: f64 = 1e4;
/// What keeps it finite.
const EPSILON: f64 = 1e-4;

impl Ends {
    /// None where the last layer that learns is not one matrix of weights. The decoder's parameters are the
    /// table's last.
    pub(super) fn of(decoder: &Chain, table: &ParamTable) -> Option<Ends> {
        let last = decoder.layers.iter().rposition(Layer::may_learn)?;
        let weight = decoder.layers[last].weight()?.clone();
        let (body, tail) = decoder.layers.split_at(last);
        let chain = |layers: &[Layer]| Chain {
            layers: layers.to_vec(),
        };
        let learnt = table.entries.iter().rfind(|e| e.role.learns())?;
        Some(Ends {
            body: chain(body),
            tail: chain(tail),
            learnt: weight.start..learnt.range.end,
            weight,
        })
    }

    /// Latents to reconstructions, and how many caches the body has left.
    fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        z: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> (Vec<Array4<T>>, Vec<usize>) {
        let maps = self.body.forward_all(p, z, workers);
        let depths = depths(workers);
        (self.tail.forward_all(p, maps, workers), depths)
    }

    /// The gradients of both losses by the latents, added up with the second's weight, and the weight.
    fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        depths: &[usize],
        (first, second): (Vec<Array4<T>>, &Second<T>),
        workers: &mut [Worker<T>],
    ) -> (Vec<Array4<T>>, f64) {
        repeat(workers, depths);
        let mut maps = self.tail.backward_all(p, first, workers);
        let own: Vec<Vec<T>> = workers.iter_mut().map(|w| self.take_grads(w)).collect();
        let others = copies(&second.maps, workers);
        let others = self.tail.backward_all(p, others, workers);
        let firsts = own.iter().map(|grads| &grads[..self.weight.len()]);
        let seconds = workers.iter().map(|w| &w.grads[self.weight.clone()]);
        let ratio = norm_of_sum(firsts) / (norm_of_sum(seconds) + EPSILON);
        let weight = second.weight * ratio.min(LARGEST);
        let factor = T::of(weight);
        for (worker, own) in workers.iter_mut().zip(own) {
            let grads = &mut worker.grads[self.learnt.clone()];
            let both = grads.iter_mut().zip(&own);
            both.for_each(|(other, &own)| *other = own + factor * *other);
            worker.tape.recycle_buffer(own);
        }
        add(&mut maps, &others, factor);
        recycle(others, workers);
        (self.body.backward_all(p, maps, workers), weight)
    }

    /// The tail's gradients, which are zero afterwards.
    fn take_grads<T: Scalar>(&self, worker: &mut Worker<T>) -> Vec<T> {
        let grads = &mut worker.grads[self.learnt.clone()];
        let mut taken = worker.tape.buffer(grads.len());
        taken.copy_from_slice(grads);
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
    ) -> (Vec<Array4<T>>, Option<Vec<usize>>) {
        match &self.ends {
            Some(ends) if balances => {
                let (maps, depths) = ends.forward(p, z, workers);
                (maps, Some(depths))
            }
            _ => (self.decoder.forward_all(p, z, workers), None),
        }
    }

    /// The gradients by the latents, and what the second loss counts.
    pub(super) fn backward_decoder<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        depths: Option<Vec<usize>>,
        (mut first, second): (Vec<Array4<T>>, Option<&Second<T>>),
        workers: &mut [Worker<T>],
    ) -> (Vec<Array4<T>>, Option<f64>) {
        let weight = second.map(|second| second.weight);
        match (&self.ends, depths, second) {
            (Some(ends), Some(depths), Some(second)) => {
                let (maps, weight) = ends.backward(p, &depths, (first, second), workers);
                return (maps, Some(weight));
            }
            (_, _, Some(second)) => add(&mut first, &second.maps, T::of(second.weight)),
            (_, _, None) => {}
        }
        (self.decoder.backward_all(p, first, workers), weight)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::Workspace;
    use crate::nn::{Role, normal};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Which losses are graded: (y - x)^2 / 2, and y times a number of each place.
    #[derive(Clone, Copy, PartialEq)]
    enum Asked {
        First,
        Second,
        Both,
    }

    impl Objective<f64> for Asked {
        fn balances(&self) -> bool {
            *self == Asked::Both
        }

        fn grade(&mut self, x: &[ArrayView4<'_, f64>], y: Vec<Array4<f64>>) -> Grades<f64> {
            let others: Vec<_> = y.iter().map(|y| y.mapv(|v| (7.0 * v).sin())).collect();
            let errors = y.into_iter().zip(x).map(|(y, x)| y - x).collect();
            let (maps, second) = match self {
                Asked::First => (errors, None),
                Asked::Second => (others, None),
                Asked::Both => {
                    let second = Second {
                        loss: 0.0,
                        maps: others,
                        weight: 0.7,
                    };
                    (errors, Some(second))
                }
            };
            Grades {
                sums: Sums::default(),
                maps,
                second,
            }
        }
    }

    #[test]
    fn two_losses_are_balanced_at_the_last_weights_and_have_one_pass() {
        for tail in [
            "{ conv = { out = 3 } }",
            "{ conv = { out = 3, spectral = true } }, { dropout = 0.4 }",
            "{ conv = { out = 12 } }, { shuffle = 2 }",
        ] {
            let up = if tail.contains("shuffle") {
                ""
            } else {
                "{ upsample = 2 },"
            };
            let text = format!(
                r#"
                name = "t"
                data = {{ kind = "photos", size = [8, 8] }}
                quantizer = {{ codes = 6, dim = 3 }}
                train = {{ steps = 1, batch = 1 }}
                model = {{ channels = 3, encoder = [{{ conv = {{ out = 3, stride = 2 }} }}],
                           decoder = [{{ conv = {{ out = 4, relu = true }} }}, {up} {tail}] }}"#
            );
            let config = Config::parse(&text, "test").unwrap();
            let model = VqVae::build(&config).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(2);
            let params: Vec<f64> = model.table.init(&mut rng);
            let x = Array4::from_shape_simple_fn((5, 8, 8, 3), || 0.5 * normal(&mut rng));
            let run = |mut asked: Asked| {
                let mut space = Workspace::default();
                let seed = ChaCha8Rng::seed_from_u64;
                let out = model.step(&mut space, &params, false, x.view(), &mut asked, seed);
                (out.weight, space.grads().to_vec())
            };
            let (_, first) = run(Asked::First);
            let (_, second) = run(Asked::Second);
            let (weight, both) = run(Asked::Both);
            let weight = weight.unwrap();
            let entries = &model.table.entries;
            let last = entries
                .iter()
                .rfind(|e| e.name.starts_with("decoder") && e.name.ends_with("weight"));
            let norm = |grads: &[f64]| {
                let values = &grads[last.unwrap().range.clone()];
                values.iter().map(|v| v * v).sum::<f64>().sqrt()
            };
            let expected = 0.7 * norm(&first) / (norm(&second) + 1e-4);
            assert!(
                (weight / expected - 1.0).abs() < 1e-9,
                "{tail}: {weight} {expected}"
            );
            for entry in entries {
                for i in entry.range.clone() {
                    let sum = match entry.role {
                        Role::Statistic { .. } => first[i],
                        _ => first[i] + weight * second[i],
                    };
                    let error = (both[i] - sum).abs();
                    assert!(
                        error < 1e-9 * (1.0 + sum.abs()),
                        "{tail}, {}: {} {sum}",
                        entry.name,
                        both[i]
                    );
                }
            }
        }
    }
}
