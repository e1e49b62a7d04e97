//! Sum of two values.

use super::operator::{Inputs, Operator, Step};
use crate::dtype::Dtype;
use crate::element::{AddScale, Output};
use crate::error::Fault;
use crate::kernels::{AddRow, HasKernels, Kernels};
use crate::lengths::{BYTE, QUANT, numbers};
use crate::map::Map;
use crate::rows::Rows;
use crate::tensor::{Quant, Rescale};
use serde::{Deserialize, Serialize};

/// Sum of two values of the same shape.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Add {
    /// The one summand.
    pub input: u16,
    /// The other summand.
    pub skip: u16,
    /// Whether negative results become 0.
    pub relu: bool,
    /// Quantisation of the output.
    pub out: Quant,
    /// How the integer type brings both to the output's scale; [`Rescale::NONE`] in the float types.
    pub rescale: Rescale,
}

impl Operator for Add {
    const NAME: &'static str = "add";

    fn fields_len(&self) -> usize {
        let Self {
            input,
            skip,
            relu: _,
            out: _,
            rescale,
        } = *self;
        BYTE + QUANT + numbers([input.into(), skip.into()]) + rescale_len(rescale)
    }

    fn inputs(&self) -> Inputs<u16> {
        [self.input, self.skip, self.input]
    }

    fn output(&self, [input, skip, _]: Inputs<Map>, dtype: Dtype) -> Result<Map, Fault> {
        if input.channels != skip.channels {
            return Err(Fault::Channels);
        }
        if input.density != skip.density {
            return Err(Fault::Density);
        }
        if !self.out.is_valid(dtype) {
            return Err(Fault::Quant);
        }
        if !self.rescale.is_valid(dtype) {
            return Err(Fault::Rescale);
        }
        Ok(Map {
            quant: self.out,
            ..input
        })
    }

    fn run<E: HasKernels>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, skip, _],
            mut output,
            kernels,
            ..
        } = step;
        let sum = output.row(y);
        for (sum, &x) in sum.iter_mut().zip(input.inner_row(y)) {
            *sum = x;
        }
        self.add(input.ring().map.quant.zero, skip, y, kernels, sum);
    }
}

/// Bytes of a rescaling in a file.
fn rescale_len(rescale: Rescale) -> usize {
    let Rescale {
        input,
        skip,
        shift: _,
    } = rescale;
    // Signed numbers alternate: 0, -1, 1, -2, 2.
    let unsigned = [input, skip].map(|value| (value << 1 ^ value >> 31) as u32);
    BYTE + numbers(unsigned)
}

impl Add {
    /// Adds row y of `skip` to what lies in `sum`, whose zero point is `zero`.
    pub(crate) fn add<E: HasKernels>(
        &self,
        zero: i8,
        skip: Rows<'_, E>,
        y: i32,
        kernels: &Kernels<E>,
        sum: &mut [E],
    ) {
        let row = AddRow {
            b: skip.inner_row(y),
            scale: AddScale {
                zero_a: zero,
                zero_b: skip.ring().map.quant.zero,
                rescale: self.rescale,
                output: Output {
                    zero: self.out.zero,
                    relu: self.relu,
                },
            },
        };
        (kernels.add_row)(&row, sum);
    }
}
