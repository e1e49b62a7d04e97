//! Convolution that doubles the map: four 2x2 phases.

use super::{Tensors, convolved, taps};
use crate::error::Fault;
use crate::format::{Dtype, UpConv};
use crate::shape::Map;

/// Phases of a doubled map.
const PHASES: u64 = 4;

/// Points of each phase's kernel.
const POINTS: u64 = 4;

impl UpConv {
    pub(crate) fn output(&self, input: Map, dtype: Dtype) -> Result<Map, Fault> {
        let density = input.density.checked_mul(2).ok_or(Fault::Density)?;
        taps(POINTS, input.channels)?;
        let map = convolved(input, self.out_channels, self.out, dtype)?;
        Ok(Map { density, ..map })
    }

    pub(crate) fn tensors(&self, channels: u16) -> Tensors {
        let channels_out = u64::from(self.out_channels);
        Tensors {
            weights: self.weights,
            weight_count: PHASES * channels_out * POINTS * u64::from(channels),
            params: self.params,
            param_count: PHASES * channels_out,
        }
    }
}
