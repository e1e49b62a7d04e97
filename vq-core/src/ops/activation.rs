//! A curve, number by number.

use super::operator::{Inputs, Operator, Step};
use crate::curves::ActivationKind;
#[cfg(doc)]
use crate::curves::CURVE_LEN;
use crate::dtype::Dtype;
use crate::error::Fault;
use crate::kernels::HasKernels;
use crate::lengths::{BYTE, QUANT, SINGLE, numbers};
use crate::map::Map;
use crate::tensor::Quant;
use serde::{Deserialize, Serialize};

/// y = f(x), number by number, with f the curve that `kind` names.
///
/// The integer type looks y up, so its table may hold any function: `kind` is only what people call it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Activation {
    /// The value to bend.
    pub input: u16,
    /// The curve.
    pub kind: ActivationKind,
    /// Quantisation of the output.
    pub out: Quant,
    /// Offset in the blob of the integer type's [`CURVE_LEN`] numbers, y for x = -128 first;
    /// 0 in the float types.
    pub table: u32,
}

impl Operator for Activation {
    const NAME: &'static str = "activation";

    fn fields_len(&self) -> usize {
        let Self {
            input,
            kind,
            out: _,
            table,
        } = *self;
        let slope = match kind {
            ActivationKind::LeakyRelu { slope: _ } => SINGLE,
            ActivationKind::Tanh | ActivationKind::Sigmoid | ActivationKind::Silu => 0,
        };
        BYTE + slope + QUANT + numbers([input.into(), table])
    }

    fn inputs(&self) -> Inputs<u16> {
        [self.input; 3]
    }

    /// That of the curve.
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn output(&self, [input, ..]: Inputs<Map>, dtype: Dtype) -> Result<Map, Fault> {
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

    fn table(&self, dtype: Dtype) -> Option<u32> {
        (dtype == Dtype::I8).then_some(self.table)
    }

    fn relocate(&mut self, moved: impl Fn(u32) -> u32) {
        self.table = moved(self.table);
    }

    fn run<E: HasKernels>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            mut output,
            kernels,
            blob,
            ..
        } = step;
        let curve = E::curve(self.kind, self.table, blob);
        (kernels.activation_row)(input.row(y, 0), curve, output.row(y));
    }
}
