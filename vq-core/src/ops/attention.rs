//! Attention to all positions of a map: keys and values are kept whole, queries pass by row by row.

use super::operator::{Inputs, Operator, RowRange, Step, points};
use crate::dtype::Dtype;
use crate::error::Fault;
use crate::kernels::{Attend, HasKernels};
use crate::lengths::numbers;
use crate::map::Map;
use crate::tensor::Quant;
use serde::{Deserialize, Serialize};

/// Attention (Vaswani et al. 2017) of every position to all. Each head has its own run of channels; with
/// its queries q, keys k and values v, position p of the output is
/// y\[p\] = sum over r of v\[r\] * softmax over r (sum over c of q\[p, c\] * k\[r, c\]).
///
/// Scores are not divided by anything: that is for the weights that make the queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attention {
    /// The value of the queries.
    pub queries: u16,
    /// The value of the keys, of as many channels.
    pub keys: u16,
    /// The value of the values, of any number of channels.
    pub values: u16,
    /// Not zero, and divides the channels.
    pub heads: u16,
}

impl Operator for Attention {
    const NAME: &'static str = "attention";

    fn fields_len(&self) -> usize {
        let Self {
            queries,
            keys,
            values,
            heads,
        } = *self;
        numbers([queries, keys, values, heads].map(u32::from))
    }

    fn inputs(&self) -> Inputs<u16> {
        [self.queries, self.keys, self.values]
    }

    fn sees_whole_map(&self) -> bool {
        true
    }

    fn output(&self, inputs: Inputs<Map>, dtype: Dtype) -> Result<Map, Fault> {
        let [queries, keys, values] = inputs;
        if dtype == Dtype::I8 {
            return Err(Fault::Dtype);
        }
        if queries.channels != keys.channels {
            return Err(Fault::Channels);
        }
        if queries.density != keys.density || queries.density != values.density {
            return Err(Fault::Density);
        }
        let divides = |map: Map| map.channels.is_multiple_of(self.heads);
        if self.heads == 0 || !divides(keys) || !divides(values) {
            return Err(Fault::Groups);
        }
        Ok(Map {
            quant: Quant::UNIT,
            ..values
        })
    }

    /// Products of queries and keys, and of weights and values, for each pair of codes.
    fn macs_per_pair(&self, [_, keys, values]: Inputs<Map>) -> u64 {
        let channels = u64::from(keys.channels) + u64::from(values.channels);
        points(keys).pow(2) * channels
    }

    /// One position's scores, of one head after the other.
    fn singles(&self, positions: u64) -> u64 {
        positions
    }

    fn windows(&self, y: i32, height: i32) -> Inputs<RowRange> {
        let whole = RowRange::whole(height);
        [RowRange::one(y), whole, whole]
    }

    fn run<E: HasKernels>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [queries, keys, values],
            output,
            kernels,
            ..
        } = step;
        // Integers have no such kernels, and their models no such operators.
        let Some(kernels) = &kernels.whole_map else {
            return;
        };
        let attend = Attend {
            heads: self.heads.into(),
            queries: queries.inner_row(y),
            keys: keys.whole(),
            values: values.whole(),
        };
        let (row, scores) = output.into_row_and_state(y);
        (kernels.attention_row)(&attend, scores, row);
    }
}
