//! Channels to pixels.

use super::operator::{Inputs, Operator, RowRange, Step};
use crate::dtype::Dtype;
use crate::error::Fault;
use crate::kernels::{HasKernels, PixelRow};
use crate::lengths::{BYTE, number};
use crate::map::Map;
use serde::{Deserialize, Serialize};

/// y\[h f + fy, w f + fx, c\] = x\[h, w, c f f + fy f + fx\] (PyTorch's `pixel_shuffle`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepthToSpace {
    /// The value to spread.
    pub input: u16,
    /// f, the growth each way.
    pub factor: u8,
}

impl Operator for DepthToSpace {
    const NAME: &'static str = "depth_to_space";

    fn fields_len(&self) -> usize {
        let Self { input, factor: _ } = *self;
        BYTE + number(input.into())
    }

    fn inputs(&self) -> Inputs<u16> {
        [self.input; 3]
    }

    fn output(&self, [input, ..]: Inputs<Map>, _: Dtype) -> Result<Map, Fault> {
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

    fn rows_per_step(&self) -> i32 {
        self.factor.into()
    }

    /// All rows of a step lie in input row y / factor.
    fn windows(&self, y: i32, _: i32) -> Inputs<RowRange> {
        [self.columns(y); 3]
    }

    fn columns(&self, x: i32) -> RowRange {
        RowRange::one(x / i32::from(self.factor).max(1))
    }

    fn run<E: HasKernels>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            mut output,
            kernels,
            ..
        } = step;
        let channels = usize::from(output.ring().map.channels);
        let points = input.row(y / i32::from(self.factor).max(1), 0);
        for fy in 0..usize::from(self.factor) {
            let shape = PixelRow {
                factor: self.factor.into(),
                channels,
                fy,
            };
            kernels.depth_to_space(points, shape, output.row(y + fy as i32));
        }
    }
}
