//! Pixels to channels.

use super::operator::{Inputs, Operator, RowRange, Step};
use crate::dtype::Dtype;
use crate::error::Fault;
use crate::kernels::HasKernels;
use crate::lengths::{BYTE, number};
use crate::map::Map;
use serde::{Deserialize, Serialize};

/// y\[h, w, c f f + fy f + fx\] = x\[h f + fy, w f + fx, c\] (PyTorch's `pixel_unshuffle`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceToDepth {
    /// The value to gather.
    pub input: u16,
    /// f, the shrinkage each way.
    pub factor: u8,
}

impl Operator for SpaceToDepth {
    const NAME: &'static str = "space_to_depth";

    fn fields_len(&self) -> usize {
        let Self { input, factor: _ } = *self;
        BYTE + number(input.into())
    }

    fn inputs(&self) -> Inputs<u16> {
        [self.input; 3]
    }

    fn output(&self, [input, ..]: Inputs<Map>, _: Dtype) -> Result<Map, Fault> {
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

    fn windows(&self, y: i32, _: i32) -> Inputs<RowRange> {
        [self.columns(y); 3]
    }

    fn columns(&self, x: i32) -> RowRange {
        let first = x * i32::from(self.factor);
        let last = first + i32::from(self.factor) - 1;
        RowRange { first, last }
    }

    fn run<E: HasKernels>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            mut output,
            ..
        } = step;
        let factor = usize::from(self.factor);
        let channels = usize::from(input.ring().map.channels);
        let gathered = output.row(y);
        for (fy, y) in (0..factor).zip(y * i32::from(self.factor)..) {
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
