//! Attention to all positions of a map: keys and values are kept whole, queries pass by row by row.

use super::{Step, points};
use crate::element::Element;
use crate::error::Fault;
use crate::format::{Attention, Dtype, Quant};
use crate::kernels::Attend;
use crate::shape::Map;

impl Attention {
    pub(crate) fn output(
        &self,
        [queries, keys, values]: [Map; 3],
        dtype: Dtype,
    ) -> Result<Map, Fault> {
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
    pub(super) fn macs_per_pair(&self, keys: Map, values: Map) -> u64 {
        let channels = u64::from(keys.channels) + u64::from(values.channels);
        points(keys).pow(2) * channels
    }

    /// One position's scores, of one head after the other.
    pub(super) fn singles(&self, positions: u64) -> u64 {
        positions
    }

    pub(super) fn run<E: Element>(&self, step: Step<'_, E>) {
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
            keys,
            values,
        };
        let (row, scores) = output.into_row_and_state(y);
        (kernels.attention_row)(&attend, scores, row);
    }
}
