//! Channels to pixels.

use crate::error::Fault;
use crate::format::DepthToSpace;
use crate::shape::Map;

impl DepthToSpace {
    pub(crate) fn output(&self, input: Map) -> Result<Map, Fault> {
        let area = u16::from(self.factor).pow(2);
        if area == 0 {
            return Err(Fault::Kernel);
        }
        if !input.channels.is_multiple_of(area) {
            return Err(Fault::Channels);
        }
        let density = input
            .density
            .checked_mul(self.factor)
            .ok_or(Fault::Density)?;
        Ok(Map {
            channels: input.channels / area,
            density,
            ..input
        })
    }
}
