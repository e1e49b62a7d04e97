//! Pixels to channels.

use crate::error::Fault;
use crate::format::SpaceToDepth;
use crate::shape::Map;

impl SpaceToDepth {
    pub(crate) fn output(&self, input: Map) -> Result<Map, Fault> {
        if self.factor == 0 {
            return Err(Fault::Kernel);
        }
        if !input.density.is_multiple_of(self.factor) {
            return Err(Fault::Density);
        }
        let channels = input
            .channels
            .checked_mul(u16::from(self.factor).pow(2))
            .ok_or(Fault::Channels)?;
        Ok(Map {
            channels,
            density: input.density / self.factor,
            ..input
        })
    }
}
