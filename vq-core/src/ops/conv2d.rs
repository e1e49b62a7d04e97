//! Convolution of any kernel, stride and padding.

use super::{Tensors, convolved, taps};
use crate::error::Fault;
use crate::format::{Conv2d, Dtype, MAX_KERNEL};
use crate::shape::Map;

impl Conv2d {
    pub(crate) fn output(&self, input: Map, dtype: Dtype) -> Result<Map, Fault> {
        let (height, width, stride) = (self.kernel.height, self.kernel.width, self.stride);
        let sides = 1..=MAX_KERNEL as u8;
        if !sides.contains(&height)
            || !sides.contains(&width)
            || stride == 0
            || stride > height.min(width)
        {
            return Err(Fault::Kernel);
        }
        if !keeps_ratio(height, stride, self.pad.top, self.pad.bottom)
            || !keeps_ratio(width, stride, self.pad.left, self.pad.right)
        {
            return Err(Fault::Padding);
        }
        if !input.density.is_multiple_of(stride) {
            return Err(Fault::Density);
        }
        taps(self.kernel_points(), input.channels)?;
        let map = convolved(input, self.out_channels, self.out, dtype)?;
        Ok(Map {
            density: input.density / stride,
            ..map
        })
    }

    pub(crate) fn tensors(&self, channels: u16) -> Tensors {
        Tensors {
            weights: self.weights,
            weight_count: u64::from(self.out_channels) * self.kernel_points() * u64::from(channels),
            params: self.params,
            param_count: u64::from(self.out_channels),
        }
    }

    fn kernel_points(&self) -> u64 {
        u64::from(self.kernel.height) * u64::from(self.kernel.width)
    }
}

/// Whether (n + before + after - kernel) / stride + 1 = n / stride for every multiple n of the stride.
fn keeps_ratio(kernel: u8, stride: u8, before: u8, after: u8) -> bool {
    let sum = u16::from(before) + u16::from(after);
    (u16::from(kernel - stride)..u16::from(kernel)).contains(&sum)
}
