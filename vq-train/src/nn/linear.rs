//! A linear layer over the last dimension of a map: Y = X W + b with the map's positions as rows of X.
//!
//! Backward: dW = X' dY, db = the column sums of dY, dX = dY W'.

use super::affine::{Affine, AffineParams, Entries};
use super::builder::{BuildError, Builder, Configured};
use super::layer::Axes;
use super::map::{Dim4, flat, flat_mut};
use super::matrix::{add_transposed_product, multiply, pack_right, pack_transposed};
use super::panels::{Factors, Size};
use super::params::{Init, ParamTable};
use super::scalar::Scalar;
use super::spectral_norm::SpectralNorm;
use super::tape::Tape;
use ndarray::Array4;
use serde::{Deserialize, Serialize};

/// A linear layer over the channels, in a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearConfig {
    /// Channels out.
    pub out: usize,
    /// ReLU on the output.
    #[serde(default)]
    pub relu: bool,
    /// Bias.
    #[serde(default = "yes")]
    pub bias: bool,
    /// Weights divided by their largest singular value.
    #[serde(default)]
    pub spectral: bool,
}

fn yes() -> bool {
    true
}

impl<L: From<Linear> + From<SpectralNorm<Linear>>> Configured<L> for LinearConfig {
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError> {
        builder.positive(&[("out", self.out)])?;
        let spec = LinearSpec {
            in_channels: builder.shape.channels,
            out_channels: self.out,
            relu: self.relu,
            bias: self.bias,
        };
        builder.shape.channels = self.out;
        // Of weights that start at zero there is no direction to normalise: those draw theirs.
        let init = builder.init.filter(|_| !self.spectral);
        let layer = Linear::new(spec, &builder.name, init, builder.table);
        if self.spectral {
            let layer = SpectralNorm::new(layer, &builder.name, builder.table);
            builder.push(layer);
        } else {
            builder.push(layer);
        }
        Ok(())
    }
}

/// What a linear layer is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearSpec {
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// ReLU on the output, fused.
    pub relu: bool,
    /// Whether there is a bias.
    pub bias: bool,
}

impl LinearSpec {
    /// Of W.
    fn size(&self) -> Size {
        Size {
            rows: self.in_channels,
            columns: self.out_channels,
        }
    }

    /// Of W'.
    fn transposed(&self) -> Size {
        Size {
            rows: self.out_channels,
            columns: self.in_channels,
        }
    }
}

/// A linear layer with its place in the parameter vector: `[n, h, w, in_channels]` to `[n, h, w, out_channels]`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Sizes.
    pub spec: LinearSpec,
    /// W as `[in_channels, out_channels]`, and b.
    pub params: AffineParams,
}

impl Linear {
    /// Enters the parameters `NAME.weight` and `NAME.bias`.
    pub fn new(spec: LinearSpec, name: &str, init: Option<Init>, table: &mut ParamTable) -> Self {
        let entries = Entries {
            shape: &[spec.in_channels, spec.out_channels],
            init: init.unwrap_or(Init::he(spec.in_channels as f64, spec.relu)),
            bias: spec.bias,
            relu: spec.relu,
            forward: spec.size().panels_len(),
            backward: spec.transposed().panels_len(),
        };
        Linear {
            spec,
            params: entries.enter(name, table),
        }
    }
}

impl Affine for Linear {
    const KIND: &'static str = "linear";
    const AXES: Axes = Axes::Linear;

    fn params(&self) -> &AffineParams {
        &self.params
    }

    fn params_mut(&mut self) -> &mut AffineParams {
        &mut self.params
    }

    fn output(&self, (n, h, w, _): Dim4) -> Dim4 {
        (n, h, w, self.spec.out_channels)
    }

    fn multiply<T: Scalar>(
        &self,
        x: &Array4<T>,
        factors: Factors<'_, T>,
        y: &mut Array4<T>,
        _: &mut Tape<T>,
    ) {
        multiply(flat(x), self.spec.size(), factors, flat_mut(y));
    }

    fn add_weight_grad<T: Scalar>(
        &self,
        x: &Array4<T>,
        dy: &Array4<T>,
        dw: &mut [T],
        _: &mut Tape<T>,
    ) {
        add_transposed_product(flat(x), flat(dy), self.spec.in_channels, dw);
    }

    fn multiply_back<T: Scalar>(
        &self,
        dy: &Array4<T>,
        factors: Factors<'_, T>,
        dx: &mut Array4<T>,
        _: &mut Tape<T>,
    ) {
        multiply(flat(dy), self.spec.transposed(), factors, flat_mut(dx));
    }

    fn pack_forward<T: Scalar>(&self, weight: &[T], panels: &mut [T]) {
        pack_right(weight, self.spec.size(), panels);
    }

    fn pack_backward<T: Scalar>(&self, weight: &[T], panels: &mut [T]) {
        pack_transposed(weight, self.spec.transposed(), panels);
    }
}
