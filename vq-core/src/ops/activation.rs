//! A curve, number by number.

use super::Step;
use crate::element::Element;
use crate::error::Fault;
use crate::format::{Activation, ActivationKind, Dtype};
use crate::shape::Map;

impl Activation {
    pub(crate) fn output(&self, input: Map, dtype: Dtype) -> Result<Map, Fault> {
        if !self.out.is_valid(dtype) {
            return Err(Fault::Quant);
        }
        if dtype != Dtype::I8 && self.table != 0 {
            return Err(Fault::Table);
        }
        match self.kind {
            ActivationKind::LeakyRelu { slope } if !slope.is_finite() => Err(Fault::Slope),
            _ => Ok(Map {
                quant: self.out,
                ..input
            }),
        }
    }

    pub(super) fn run<E: Element>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            mut output,
            kernels,
            blob,
            ..
        } = step;
        let curve = E::curve(self, blob);
        (kernels.activation_row)(input.row(y, 0), curve, output.row(y));
    }
}
