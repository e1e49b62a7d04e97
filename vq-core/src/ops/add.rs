//! Sum of two values.

use crate::error::Fault;
use crate::format::{Add, Dtype, Rescale};
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
}

impl Rescale {
    fn is_valid(&self, dtype: Dtype) -> bool {
        match dtype {
            Dtype::I8 => self.input >= 0 && self.skip >= 0 && (1..=62).contains(&self.shift),
            Dtype::F16 | Dtype::F32 => *self == Self::NONE,
        }
    }
}
