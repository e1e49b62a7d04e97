//! Spectral normalisation (Miyato et al. 2018): a convolution or linear layer that uses W / sigma, with
//! sigma the largest singular value of W as a matrix `[out_channels, rest]`.
//!
//! A power iteration follows sigma from step to step: u <- M v / |M v|, v <- M' u / |M' u|,
//! sigma = u' M v, once a training step for all pictures, before the weights are packed. u and v are
//! statistics among the parameters, so that a checkpoint goes on where it stopped; in use they are left
//! as they are. This is what PyTorch's `parametrizations.spectral_norm` does.
//!
//! Backward holds u and v constant. With V = W / sigma and G the gradient of V,
//! dW = G / sigma - <G, W> / sigma^2 dsigma/dW, and as dsigma/dW = u v' that is
//! (G - <G, V> u v') / sigma.

use super::affine::{Affine, pack_weight};
use super::layer::{Layer, Learnt};
use super::params::{Init, ParamTable, Role};
use super::scalar::Scalar;
use super::tape::Tape;
use super::weights::{Pack, Weights};
use ndarray::Array4;
use std::ops::Range;

/// Iterations before the first step, from which on one a step is enough.
const FIRST: usize = 15;

/// Below this, weights count as zero.
const EPSILON: f64 = 1e-12;

/// A layer with its weights divided by their largest singular value.
#[derive(Debug, Clone)]
pub struct SpectralNorm<A> {
    /// The layer.
    pub inner: A,
    /// u as `[out_channels]`; zeros before the first step.
    pub u: Range<usize>,
    /// v as `[rest]`; zeros before the first step.
    pub v: Range<usize>,
    /// Room among the panels for a [`Normal`].
    normal: Range<usize>,
}

/// What one step makes of the weights, as it lies among the panels.
struct Normal<S> {
    /// W / sigma, as W lies.
    weight: S,
    /// u.
    u: S,
    /// v.
    v: S,
    /// sigma, one number.
    sigma: S,
}

impl<A: Affine> SpectralNorm<A> {
    /// Enters `NAME.u` and `NAME.v` for a layer that was entered last.
    ///
    /// # Panics
    /// Another layer was entered in between.
    pub fn new(inner: A, name: &str, table: &mut ParamTable) -> Self {
        let out_channels = inner.params().out_channels;
        let len = inner.params().weight.len();
        let mut vector = |which: &str, len: usize| {
            let role = Role::Statistic { rate: 1.0 };
            table.add(format!("{name}.{which}"), &[len], Init::Zero, role)
        };
        let (u, v) = (vector("u", out_channels), vector("v", len / out_channels));
        let normal = table.add_panels(len + u.len() + v.len() + 1);
        let behind = inner.params().panels().end;
        assert_eq!(normal.start, behind, "the layer was entered last");
        SpectralNorm {
            inner,
            u,
            v,
            normal,
        }
    }

    /// The weights in use, `[rest, out_channels]`.
    pub(crate) fn effective<T: Scalar>(&self, values: &[T]) -> Vec<T> {
        let mut normal = vec![T::zero(); self.normal.len()];
        self.normalise(values, 0, &mut normal);
        normal.truncate(self.inner.params().weight.len());
        normal
    }

    fn parts<'n, T>(&self, normal: &'n [T]) -> Normal<&'n [T]> {
        let (weight, rest) = normal.split_at(self.inner.params().weight.len());
        let (u, rest) = rest.split_at(self.u.len());
        let (v, sigma) = rest.split_at(self.v.len());
        Normal {
            weight,
            u,
            v,
            sigma,
        }
    }

    fn parts_mut<'n, T>(&self, normal: &'n mut [T]) -> Normal<&'n mut [T]> {
        let (weight, rest) = normal.split_at_mut(self.inner.params().weight.len());
        let (u, rest) = rest.split_at_mut(self.u.len());
        let (v, sigma) = rest.split_at_mut(self.v.len());
        Normal {
            weight,
            u,
            v,
            sigma,
        }
    }

    /// W / sigma and what belongs to it, after so many iterations more than the parameters have seen.
    fn normalise<T: Scalar>(&self, values: &[T], iterations: usize, normal: &mut [T]) {
        let weight = &values[self.inner.params().weight.clone()];
        let normal = self.parts_mut(normal);
        normal.u.copy_from_slice(&values[self.u.clone()]);
        normal.v.copy_from_slice(&values[self.v.clone()]);
        let mut iterations = iterations;
        if normal.v.iter().all(|&v| v == T::zero()) {
            start(weight, normal.u, normal.v);
            iterations += FIRST;
        }
        for _ in 0..iterations {
            forth(weight, normal.v, normal.u);
            unit(normal.u);
            back(weight, normal.u, normal.v);
            unit(normal.v);
        }
        let mut sigma = T::zero();
        for (row, &v) in weight.chunks_exact(normal.u.len()).zip(&*normal.v) {
            sigma += v * dot(row, normal.u);
        }
        // Weights of zeros stay zeros.
        let sigma = if sigma.abs() < T::of(EPSILON) {
            T::of(EPSILON)
        } else {
            sigma
        };
        normal.sigma[0] = sigma;
        let scale = T::one() / sigma;
        let pairs = normal.weight.iter_mut().zip(weight);
        pairs.for_each(|(out, &w)| *out = w * scale);
    }

    fn pack_normalised<T: Scalar>(&self, values: &[T], iterations: usize, panels: &mut [T]) {
        let (inner, normal) = panels.split_at_mut(panels.len() - self.normal.len());
        self.normalise(values, iterations, normal);
        pack_weight(&self.inner, self.parts(normal).weight, inner);
    }
}

impl<T: Scalar> Normal<&[T]> {
    /// The gradient of W / sigma to that of W, and those of others added.
    fn to_weight_grad(&self, grad: &mut [T], others: &[T]) {
        let (scale, along) = (T::one() / self.sigma[0], dot(grad, self.weight));
        let out_channels = self.u.len();
        let rows = grad
            .chunks_exact_mut(out_channels)
            .zip(others.chunks_exact(out_channels));
        for ((grad, others), &v) in rows.zip(self.v) {
            let share = along * v;
            for ((g, &other), &u) in grad.iter_mut().zip(others).zip(self.u) {
                *g = other + (*g - share * u) * scale;
            }
        }
    }
}

impl<A: Affine> Layer for SpectralNorm<A> {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        self.inner.forward(p, x, tape)
    }

    /// The places of u and v among `grads` get their new values.
    fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        if grads.is_empty() {
            return self.inner.backward(p, tape, dy, grads);
        }
        // What other passes of this step have added is of W already, and set aside.
        let place = self.inner.params().weight.clone();
        let mut others = tape.buffer(place.len());
        others.copy_from_slice(&grads[place.clone()]);
        grads[place.clone()].fill(T::zero());
        let dx = self.inner.backward(p, tape, dy, grads);
        let normal = self.parts(&p.panels[self.normal.clone()]);
        normal.to_weight_grad(&mut grads[place.clone()], &others);
        tape.recycle_buffer(others);
        if tape.leads() {
            grads[self.u.clone()].copy_from_slice(normal.u);
            grads[self.v.clone()].copy_from_slice(normal.v);
        }
        dx
    }

    fn learnt(&self) -> Learnt {
        self.inner.learnt()
    }

    fn packed<'l, T: Scalar>(&'l self, found: &mut Vec<&'l dyn Pack<T>>) {
        found.push(self);
    }
}

impl<A: Affine, T: Scalar> Pack<T> for SpectralNorm<A> {
    fn panels(&self) -> Range<usize> {
        self.inner.params().panels().start..self.normal.end
    }

    fn pack(&self, values: &[T], panels: &mut [T]) {
        self.pack_normalised(values, 1, panels);
    }

    fn pack_in_use(&self, values: &[T], panels: &mut [T]) {
        self.pack_normalised(values, 0, panels);
    }
}

/// Starts the iteration at the longest of the outputs' weights: sigma is at least its length.
fn start<T: Scalar>(weight: &[T], u: &mut [T], v: &mut [T]) {
    u.fill(T::zero());
    for row in weight.chunks_exact(u.len()) {
        u.iter_mut().zip(row).for_each(|(u, &w)| *u += w * w);
    }
    let largest = u.iter().fold(T::zero(), |a, &b| if b > a { b } else { a });
    let at = u.iter().position(|&u| u == largest).unwrap_or(0);
    u.fill(T::zero());
    u[at] = T::one();
    back(weight, u, v);
    unit(v);
}

/// u = M v for M' = `weight` `[rest, out_channels]`.
fn forth<T: Scalar>(weight: &[T], v: &[T], u: &mut [T]) {
    u.fill(T::zero());
    for (row, &v) in weight.chunks_exact(u.len()).zip(v) {
        u.iter_mut().zip(row).for_each(|(u, &w)| *u += v * w);
    }
}

/// v = M' u.
fn back<T: Scalar>(weight: &[T], u: &[T], v: &mut [T]) {
    for (v, row) in v.iter_mut().zip(weight.chunks_exact(u.len())) {
        *v = dot(row, u);
    }
}

/// Scales a vector to length 1.
fn unit<T: Scalar>(x: &mut [T]) {
    let length = dot(x, x).sqrt();
    let scale = T::one()
        / if length > T::of(EPSILON) {
            length
        } else {
            T::of(EPSILON)
        };
    x.iter_mut().for_each(|x| *x *= scale);
}

/// Sum of products, in lanes that fit vector registers.
fn dot<T: Scalar>(a: &[T], b: &[T]) -> T {
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    let mut lanes = [T::zero(); 16];
    for (a, b) in a.iter().zip(b) {
        for (sum, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| a * b);
    rest.chain(lanes).fold(T::zero(), |sum, v| sum + v)
}
