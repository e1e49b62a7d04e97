//! max(x, 0).

use super::operator::{Inputs, Operator, Step};
use crate::dtype::Dtype;
use crate::error::Fault;
use crate::kernels::HasKernels;
use crate::lengths::number;
use crate::map::Map;
use serde::{Deserialize, Serialize};

/// max(x, 0); the quantisation stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relu {
    /// The value to cut.
    pub input: u16,
}

impl Operator for Relu {
    const NAME: &'static str = "relu";

    fn fields_len(&self) -> usize {
        let Self { input } = *self;
        number(input.into())
    }

    fn inputs(&self) -> Inputs<u16> {
        [self.input; 3]
    }

    fn output(&self, [input, ..]: Inputs<Map>, _: Dtype) -> Result<Map, Fault> {
        Ok(input)
    }

    fn run<E: HasKernels>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            mut output,
            kernels,
            ..
        } = step;
        kernels.relu(input.row(y, 0), input.zero(), output.row(y));
    }
}
