//! Pixels to channels.

use super::Step;
use crate::element::Element;
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

    pub(super) fn window(&self, y: i32) -> (i32, i32) {
        let first = y * i32::from(self.factor);
        (first, first + i32::from(self.factor) - 1)
    }

    pub(super) fn run<E: Element>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            mut output,
            ..
        } = step;
        let factor = usize::from(self.factor);
        let channels = usize::from(input.ring().map.channels);
        let gathered = output.row(y);
        for (fy, y) in (0..factor).zip(self.window(y).0..) {
            let spread = input.row(y, 0).chunks_exact((channels * factor).max(1));
            let points = gathered.chunks_exact_mut((channels * factor * factor).max(1));
            for (point, spread) in points.zip(spread) {
                for (fx, pixel) in spread.chunks_exact(channels.max(1)).enumerate() {
                    let mut at = fy * factor + fx;
                    for &value in pixel {
                        if let Some(place) = point.get_mut(at) {
                            *place = value;
                        }
                        at += factor * factor;
                    }
                }
            }
        }
    }
}
