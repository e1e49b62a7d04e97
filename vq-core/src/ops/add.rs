//! Sum of two values.

use super::Step;
use crate::element::{AddScale, Element, Output};
use crate::error::Fault;
use crate::format::{Add, Dtype, Rescale};
use crate::kernels::{AddRow, Kernels};
use crate::rows::Rows;
use crate::shape::Map;

impl Add {
    pub(crate) fn output(&self, input: Map, skip: Map, dtype: Dtype) -> Result<Map, Fault> {
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

    pub(super) fn run<E: Element>(&self, step: Step<'_, E>) {
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

    /// Adds row y of `skip` to what lies in `sum`, whose zero point is `zero`.
    pub(crate) fn add<E: Element>(
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

impl Rescale {
    fn is_valid(&self, dtype: Dtype) -> bool {
        match dtype {
            Dtype::I8 => self.input >= 0 && self.skip >= 0 && (1..=62).contains(&self.shift),
            Dtype::F16 | Dtype::F32 => *self == Self::NONE,
        }
    }
}
