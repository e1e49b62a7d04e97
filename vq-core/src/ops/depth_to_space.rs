//! Channels to pixels.

use super::Step;
use crate::element::Element;
use crate::error::Fault;
use crate::format::DepthToSpace;
use crate::kernels::Spread;
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

    /// All rows of a step lie in input row y / factor.
    pub(super) fn window(&self, y: i32) -> (i32, i32) {
        let row = y / i32::from(self.factor).max(1);
        (row, row)
    }

    pub(super) fn run<E: Element>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            mut output,
            kernels,
            ..
        } = step;
        let channels = usize::from(output.ring().map.channels);
        let points = input.row(self.window(y).0, 0);
        for fy in 0..usize::from(self.factor) {
            let spread = Spread {
                factor: self.factor.into(),
                channels,
                fy,
            };
            kernels.spread(points, spread, output.row(y + fy as i32));
        }
    }
}
