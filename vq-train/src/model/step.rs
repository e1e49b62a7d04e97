//! One training step of the model: losses of a batch, and their gradients by all parameters.

use super::VqVae;
use crate::loss::{AdversarialTerm, Loss};
use crate::nn::{Scalar, Weights, Worker, Workspace, add, flat, flat_mut, recycle};
use crate::quantizer::Quantized;
use ndarray::{Array4, ArrayView4};
use rand_chacha::ChaCha8Rng;

/// Results of a step. Losses are means over the batch.
#[derive(Debug, Clone)]
pub struct StepOutput<T> {
    /// What is minimised: the total of the losses and the quantiser's own terms.
    pub loss: f64,
    /// Mean squared error over all values, in the network's units.
    pub mse: f64,
    /// The weight of the adversarial loss, where that is part of the total.
    pub weight: Option<f64>,
    /// What the quantiser chose; none while quantisation is off.
    pub quantized: Option<Quantized<T>>,
    /// The batch's latent vectors `[P, D]`, in the quantiser's order.
    pub z: Vec<T>,
}

impl VqVae {
    /// Losses of one batch `[n, h, w, channels]`, and their gradients in `space`.
    ///
    /// Without `quantize` the latents pass unchanged. `seed` makes the generators of the quantiser and of
    /// chunks.
    pub fn step<T: Scalar>(
        &self,
        space: &mut Workspace<T>,
        p: &[T],
        quantize: bool,
        x: ArrayView4<'_, T>,
        loss: &mut impl Loss<T>,
        seed: impl Fn(u64) -> ChaCha8Rng,
    ) -> StepOutput<T> {
        let chunks = VqVae::chunks(&x);
        space.prepare(chunks.len(), self.table.len(), &seed);
        let Workspace { workers, panels } = &mut *space;
        let p = &Weights::new(&self.table, &[&self.encoder, &self.decoder], p, panels);
        let inputs = chunks.iter().zip(workers.iter_mut());
        let inputs = inputs.map(|(x, w)| w.tape.copy_of(x)).collect();
        let maps = self.encoder.forward_all(p, inputs, workers);
        let order = self.square_order([x.dim().1 / self.down, x.dim().2 / self.down]);
        let z = order.gathered(joined(&maps));
        let quantized = quantize.then(|| {
            let mut draws = seed(0);
            self.quantizer().forward(p.values, &z, Some(&mut draws))
        });
        let decoded = quantized.as_ref().map_or(&z, |q| &q.values);
        let maps = scattered(maps, &order.scattered(decoded));
        let (y, depths) = self.forward_decoder(p, maps, loss.adapts_weight(), workers);
        let losses = loss.losses(&chunks, y);
        let term = losses.adversarial.as_ref();
        let (mut maps, weight) =
            self.backward_decoder(p, depths, losses.fixed.gradient, term, workers);
        let adversarial = term.map_or(0.0, |term| term.value.loss);
        if let Some(term) = losses.adversarial {
            loss.recycle(term.value.gradient);
        }
        if let Some(out) = &quantized {
            let mut dz = order.gathered(joined(&maps));
            let grads = &mut workers[0].grads;
            self.quantizer().backward(p.values, &z, out, &mut dz, grads);
            maps = scattered(maps, &order.scattered(&dz));
        }
        let inputs = self.encoder.backward_all(p, maps, workers);
        recycle(inputs, workers);
        space.reduce();
        StepOutput {
            loss: losses.fixed.loss
                + weight.map_or(0.0, |weight| weight * adversarial)
                + quantized.as_ref().map_or(0.0, |q| q.loss),
            mse: losses.squares / x.len() as f64,
            weight,
            quantized,
            z,
        }
    }

    /// Latents to reconstructions, and what [`VqVae::backward_decoder`] needs to adapt a weight.
    fn forward_decoder<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        z: Vec<Array4<T>>,
        adapts: bool,
        workers: &mut [Worker<T>],
    ) -> (Vec<Array4<T>>, Option<Vec<usize>>) {
        match &self.split {
            Some(split) if adapts => {
                let (maps, depths) = split.forward(p, z, workers);
                (maps, Some(depths))
            }
            _ => (self.decoder.forward_all(p, z, workers), None),
        }
    }

    /// The gradient of all losses by the latents, and the weight of the adversarial one. `fixed` is the gradient of the
    /// others by the reconstructions.
    fn backward_decoder<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        depths: Option<Vec<usize>>,
        mut fixed: Vec<Array4<T>>,
        adversarial: Option<&AdversarialTerm<T>>,
        workers: &mut [Worker<T>],
    ) -> (Vec<Array4<T>>, Option<f64>) {
        let weight = adversarial.map(|term| term.weight);
        match (&self.split, depths, adversarial) {
            (Some(split), Some(depths), Some(term)) => {
                let (maps, weight) = split.backward(p, &depths, fixed, term, workers);
                return (maps, Some(weight));
            }
            (_, _, Some(term)) => add(&mut fixed, &term.value.gradient, T::of(term.weight)),
            (_, _, None) => {}
        }
        (self.decoder.backward_all(p, fixed, workers), weight)
    }
}

/// The values of maps, one map behind the other.
fn joined<T: Scalar>(maps: &[Array4<T>]) -> Vec<T> {
    let mut values = Vec::with_capacity(maps.iter().map(|map| map.len()).sum());
    maps.iter()
        .for_each(|map| values.extend_from_slice(flat(map)));
    values
}

/// Values, one map's behind the other's, in maps of the given shapes.
fn scattered<T: Scalar>(mut maps: Vec<Array4<T>>, values: &[T]) -> Vec<Array4<T>> {
    let mut rest = values;
    for map in &mut maps {
        let (own, behind) = rest.split_at(map.len());
        rest = behind;
        flat_mut(map).copy_from_slice(own);
    }
    maps
}
