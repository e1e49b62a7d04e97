//! Group normalisation: statistics of the whole map before its first row, then row by row.

use super::{Step, Tensors};
use crate::element::Element;
use crate::error::Fault;
use crate::format::{Dtype, GroupNorm};
use crate::kernels::Norm;
use crate::shape::Map;

/// Numbers that are kept of a group: mean and 1 / sqrt(variance + eps).
const STATISTICS: u64 = 2;

impl GroupNorm {
    pub(crate) fn output(&self, input: Map, dtype: Dtype) -> Result<Map, Fault> {
        if dtype == Dtype::I8 {
            return Err(Fault::Dtype);
        }
        if self.groups == 0 || !input.channels.is_multiple_of(self.groups) {
            return Err(Fault::Groups);
        }
        // Positive and normal, told by the bits, for integer models are read by the same program.
        let normal = f32::MIN_POSITIVE.to_bits()..f32::INFINITY.to_bits();
        if !normal.contains(&self.eps.to_bits()) {
            return Err(Fault::Epsilon);
        }
        Ok(input)
    }

    /// Gains and biases are parameters, all of them.
    pub(crate) fn tensors(&self, channels: u16) -> Tensors {
        Tensors {
            weights: 0,
            weight_count: 0,
            params: self.params,
            param_count: 2 * u64::from(channels),
        }
    }

    pub(super) fn singles(&self) -> u64 {
        STATISTICS * u64::from(self.groups)
    }

    pub(super) fn run<E: Element>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            output,
            kernels,
            blob,
            ..
        } = step;
        // Integers have no such kernels, and their models no such operators.
        let Some(kernels) = &kernels.whole_map else {
            return;
        };
        let channels = input.ring().map.channels;
        let (_, params) = self.tensors(channels).load::<E>(blob);
        let (gain, bias) = params.bias.split_at(params.bias.len() / 2);
        let norm = Norm {
            groups: self.groups.into(),
            eps: self.eps,
            silu: self.silu,
            gain,
            bias,
        };
        let is_first = y == output.ring().first.max(0);
        let (row, statistics) = output.into_row_and_state(y);
        if is_first {
            (kernels.measure)(input, &norm, statistics);
        }
        (kernels.norm_row)(input.inner_row(y), &norm, statistics, row);
    }
}
