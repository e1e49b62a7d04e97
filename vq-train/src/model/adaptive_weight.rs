//! The adaptive weight of an adversarial loss (Esser et al. 2021, equation 7): the ratio of two gradients by the decoder's
//! last weights, found in the same backward pass that uses it.

use crate::loss::AdversarialTerm;
use crate::nn::{
    AnyLayer, Chain, Layer, Learnt, ParamTable, Scalar, Weights, Worker, add, copies, depths,
    recycle, repeat,
};
use ndarray::Array4;
use std::ops::Range;

/// A decoder in two parts: the layers before the last one with weights, and that one with what follows it.
#[derive(Debug, Clone)]
pub(super) struct SplitDecoder {
    body: Chain,
    tail: Chain,
    /// W.
    weight: Range<usize>,
    /// W and what else of its layer learns.
    learnt: Range<usize>,
}

/// The largest ratio of gradients.
const LARGEST: f64 = 1e4;
/// Added to the divisor of the ratio, which keeps it finite.
const EPSILON: f64 = 1e-4;

impl SplitDecoder {
    /// None where the last layer that learns is not one matrix of weights. The decoder's parameters are the
    /// table's last.
    pub(super) fn of(decoder: &Chain, table: &ParamTable) -> Option<SplitDecoder> {
        let learns = |layer: &AnyLayer| layer.learnt() != Learnt::Nothing;
        let last = decoder.layers.iter().rposition(learns)?;
        let Learnt::Matrix(matrix) = decoder.layers[last].learnt() else {
            return None;
        };
        let weight = matrix.place;
        let (body, tail) = decoder.layers.split_at(last);
        let chain = |layers: &[AnyLayer]| Chain {
            layers: layers.to_vec(),
        };
        let learnt = table.entries.iter().rfind(|e| e.role.learns())?;
        Some(SplitDecoder {
            body: chain(body),
            tail: chain(tail),
            learnt: weight.start..learnt.range.end,
            weight,
        })
    }

    /// Latents to reconstructions, and how many caches of each chunk the body's pass has left on the tapes.
    pub(super) fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        z: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> (Vec<Array4<T>>, Vec<usize>) {
        let maps = self.body.forward_all(p, z, workers);
        let depths = depths(workers);
        (self.tail.forward_all(p, maps, workers), depths)
    }

    /// The gradient of fixed + l adversarial by the latents, and l. `fixed` is the gradient of the former by the
    /// reconstructions; `depths` are those of the forward pass.
    pub(super) fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        depths: &[usize],
        fixed: Vec<Array4<T>>,
        adversarial: &AdversarialTerm<T>,
        workers: &mut [Worker<T>],
    ) -> (Vec<Array4<T>>, f64) {
        repeat(workers, depths);
        let mut maps = self.tail.backward_all(p, fixed, workers);
        let own: Vec<Vec<T>> = workers.iter_mut().map(|w| self.take_grads(w)).collect();
        let others = copies(&adversarial.value.gradient, workers);
        let others = self.tail.backward_all(p, others, workers);
        let of_fixed = own.iter().map(|grads| &grads[..self.weight.len()]);
        let of_adversarial = workers.iter().map(|w| &w.grads[self.weight.clone()]);
        let ratio = norm_of_sum(of_fixed) / (norm_of_sum(of_adversarial) + EPSILON);
        let weight = adversarial.weight * ratio.min(LARGEST);
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
    use crate::loss::{Loss, LossAndGradient, Losses};
    use crate::model::VqVae;
    use crate::nn::{Role, Workspace, normal};
    use ndarray::ArrayView4;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Which losses are asked for: (y - x)^2 / 2, and one whose gradient by each y is sin 7 y.
    #[derive(Clone, Copy, PartialEq)]
    enum Asked {
        Fixed,
        Adversarial,
        Both,
    }

    impl Loss<f64> for Asked {
        fn adapts_weight(&self) -> bool {
            *self == Asked::Both
        }

        fn losses(&mut self, x: &[ArrayView4<'_, f64>], y: Vec<Array4<f64>>) -> Losses<f64> {
            let others: Vec<_> = y.iter().map(|y| y.mapv(|v| (7.0 * v).sin())).collect();
            let errors = y.into_iter().zip(x).map(|(y, x)| y - x).collect();
            let of = |gradient| LossAndGradient {
                loss: 0.0,
                gradient,
            };
            let (fixed, adversarial) = match self {
                Asked::Fixed => (errors, None),
                Asked::Adversarial => (others, None),
                Asked::Both => {
                    let term = AdversarialTerm {
                        value: of(others),
                        weight: 0.7,
                    };
                    (errors, Some(term))
                }
            };
            Losses {
                fixed: of(fixed),
                squares: 0.0,
                adversarial,
            }
        }
    }

    #[test]
    fn the_adversarial_weight_balances_gradients_by_the_last_weights() {
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
            let (_, first) = run(Asked::Fixed);
            let (_, second) = run(Asked::Adversarial);
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
