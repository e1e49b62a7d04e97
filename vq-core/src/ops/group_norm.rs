//! Group normalisation: statistics of the whole map before its first row, then row by row.

use super::operator::{Inputs, Operator, RowRange, Step, Tensors, points};
use crate::dtype::Dtype;
use crate::error::Fault;
use crate::kernels::{HasKernels, Norm};
use crate::lengths::{BYTE, SINGLE, numbers};
use crate::map::Map;
use serde::{Deserialize, Serialize};

/// Numbers that are kept of a group: mean and 1 / sqrt(variance + eps).
const STATISTICS: u64 = 2;

/// Group normalisation (Wu and He 2018), over all positions and the channels of a group:
/// y\[h, w, c\] = gain\[c\] * (x\[h, w, c\] - mean) / sqrt(variance + eps) + bias\[c\].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GroupNorm {
    /// The value to normalise.
    pub input: u16,
    /// Groups of neighbouring channels; not zero, and divides the channels.
    pub groups: u16,
    /// Added to the variance: positive, and not subnormal.
    pub eps: f32,
    /// Whether SiLU follows.
    pub silu: bool,
    /// Offset in the blob of gain f32\[c\] and bias f32\[c\], one behind the other.
    pub params: u32,
}

impl Operator for GroupNorm {
    const NAME: &'static str = "group_norm";

    fn fields_len(&self) -> usize {
        let Self {
            input,
            groups,
            eps: _,
            silu: _,
            params,
        } = *self;
        SINGLE + BYTE + numbers([input.into(), groups.into(), params])
    }

    fn inputs(&self) -> Inputs<u16> {
        [self.input; 3]
    }

    fn sees_whole_map(&self) -> bool {
        true
    }

    fn output(&self, [input, ..]: Inputs<Map>, dtype: Dtype) -> Result<Map, Fault> {
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
    fn tensors(&self, channels: u16) -> Option<Tensors> {
        Some(self.own_tensors(channels))
    }

    fn relocate(&mut self, moved: impl Fn(u32) -> u32) {
        self.params = moved(self.params);
    }

    /// A square and a product.
    fn macs_per_code(&self, input: Map, _: Map) -> u64 {
        2 * points(input) * u64::from(input.channels)
    }

    fn singles(&self, _: u64) -> u64 {
        STATISTICS * u64::from(self.groups)
    }

    fn windows(&self, _: i32, height: i32) -> Inputs<RowRange> {
        [RowRange::whole(height); 3]
    }

    fn run<E: HasKernels>(&self, step: Step<'_, E>) {
        let Step {
            y,
            is_first,
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
        let (_, params) = self.own_tensors(channels).load::<E>(blob);
        let (gain, bias) = params.bias.split_at(params.bias.len() / 2);
        let norm = Norm {
            groups: self.groups.into(),
            eps: self.eps,
            silu: self.silu,
            gain,
            bias,
        };
        let (row, statistics) = output.into_row_and_state(y);
        if is_first {
            (kernels.measure)(input.whole(), &norm, statistics);
        }
        (kernels.norm_row)(input.inner_row(y), &norm, statistics, row);
    }
}

impl GroupNorm {
    fn own_tensors(&self, channels: u16) -> Tensors {
        Tensors {
            weights: 0,
            weight_count: 0,
            params: self.params,
            param_count: 2 * u64::from(channels),
        }
    }
}
