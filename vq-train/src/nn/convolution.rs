//! A convolution or a transposed one, as an affine layer: each is the other's backward pass, run forward.
//!
//! Both multiply by a kernel that slides over the larger of two maps, and differ in which of the maps is the input:
//! see [`maps`](super::maps).

use super::affine::{Affine, AffineParams};
use super::layer::Axes;
use super::map::{Dim4, flat, flat_mut};
use super::maps::{Direction, Kernel, Windows};
use super::panels::Factors;
use super::scalar::Scalar;
use super::tape::Tape;
use ndarray::Array4;
use std::fmt::Debug;

/// The sizes of a layer whose kernel slides over its larger map.
pub(super) trait Geometry: Debug + Copy + Send + Sync {
    /// The layer, as configurations and messages name it.
    const KIND: &'static str;
    /// The axes of W.
    const AXES: Axes;
    /// The direction of the forward pass.
    const DIRECTION: Direction;

    /// The kernel, and how W lies.
    fn kernel(&self) -> Kernel;

    /// The kernel's windows where the layer's input has this shape.
    fn windows(&self, input: Dim4) -> Windows;
}

/// A layer whose kernel slides over its larger map, with its place in the parameter vector.
#[derive(Debug, Clone)]
pub struct Convolution<G> {
    /// Sizes.
    pub spec: G,
    /// W, with the axes of its [`Matrix`](super::Matrix), and b.
    pub params: AffineParams,
}

impl<G: Geometry> Affine for Convolution<G> {
    const KIND: &'static str = G::KIND;
    const AXES: Axes = G::AXES;

    fn params(&self) -> &AffineParams {
        &self.params
    }

    fn params_mut(&mut self) -> &mut AffineParams {
        &mut self.params
    }

    fn output(&self, x: Dim4) -> Dim4 {
        self.spec.windows(x).output(G::DIRECTION, x.0)
    }

    fn multiply<T: Scalar>(
        &self,
        x: &Array4<T>,
        factors: Factors<'_, T>,
        y: &mut Array4<T>,
        tape: &mut Tape<T>,
    ) {
        let windows = self.spec.windows(x.dim());
        windows.multiply(G::DIRECTION, flat(x), factors, flat_mut(y), tape);
    }

    fn add_weight_grad<T: Scalar>(
        &self,
        x: &Array4<T>,
        dy: &Array4<T>,
        dw: &mut [T],
        tape: &mut Tape<T>,
    ) {
        let (large, small) = match G::DIRECTION {
            Direction::Gather => (x, dy),
            Direction::Spread => (dy, x),
        };
        let windows = self.spec.windows(x.dim());
        windows.add_weight_grad(flat(large), flat(small), dw, tape);
    }

    fn multiply_back<T: Scalar>(
        &self,
        dy: &Array4<T>,
        factors: Factors<'_, T>,
        dx: &mut Array4<T>,
        tape: &mut Tape<T>,
    ) {
        let windows = self.spec.windows(dx.dim());
        let back = G::DIRECTION.adjoint();
        windows.multiply(back, flat(dy), factors, flat_mut(dx), tape);
    }

    fn pack_forward<T: Scalar>(&self, weight: &[T], panels: &mut [T]) {
        self.spec.kernel().pack(G::DIRECTION, weight, panels);
    }

    fn pack_backward<T: Scalar>(&self, weight: &[T], panels: &mut [T]) {
        let back = G::DIRECTION.adjoint();
        self.spec.kernel().pack(back, weight, panels);
    }
}
