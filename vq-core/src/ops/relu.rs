//! max(x, 0).

use super::Step;
use crate::element::Element;
use crate::error::Fault;
use crate::format::Relu;
use crate::shape::Map;

impl Relu {
    pub(crate) fn output(&self, input: Map) -> Result<Map, Fault> {
        Ok(input)
    }

    pub(super) fn run<E: Element>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            mut output,
            kernels,
            ..
        } = step;
        let zero = E::zero(input.ring().map.quant.zero);
        kernels.relu(input.row(y, 0), zero, output.row(y));
    }
}
