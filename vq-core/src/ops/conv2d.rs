//! Convolution of any kernel, stride and padding.

use super::{Step, Tensors, convolved, taps};
use crate::element::{Element, Output};
use crate::error::Fault;
use crate::format::{Conv2d, Dtype, MAX_KERNEL};
use crate::kernels::{ConvRow, ConvShape, Filter};
use crate::plan::Ring;
use crate::shape::Map;
use crate::slices::Parts;

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

    pub(super) fn window(&self, y: i32) -> (i32, i32) {
        let first = y * i32::from(self.stride) - i32::from(self.pad.top);
        (first, first + i32::from(self.kernel.height) - 1)
    }

    pub(super) fn run<E: Element>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            cut,
            mut output,
            kernels,
            room,
            packed,
            blob,
        } = step;
        let (first, _) = self.window(y);
        let mut rows: [&[E]; MAX_KERNEL] = [&[]; MAX_KERNEL];
        let rows = rows.part_mut(0, self.kernel.height.into());
        for (row, y) in rows.iter_mut().zip(first..) {
            *row = input.row(y, self.pad.left);
        }
        let row = ConvRow {
            filter: self.filter(input.ring(), blob),
            packed,
            rows,
            left: input.missing(self.pad.left),
            zero: input.zero(),
            cut,
            out_step: self.out_channels.into(),
        };
        kernels.convolve(&row, room, output.row(y));
    }

    /// Of a row, when the input has `channels` and so many columns.
    pub(super) fn shape(&self, channels: u16, columns: u32) -> ConvShape {
        ConvShape {
            kernel: self.kernel,
            stride: self.stride,
            in_channels: channels,
            channels: self.out_channels.into(),
            width: columns / u32::from(self.stride).max(1),
            phases: false,
        }
    }

    /// Its numbers, when it reads this ring.
    pub(super) fn filter<'a, E: Element>(&self, input: &Ring, blob: &'a [u8]) -> Filter<'a, E> {
        let (weights, params) = self.tensors(input.map.channels).load::<E>(blob);
        Filter {
            shape: self.shape(input.map.channels, input.width),
            weights,
            params,
            output: Output {
                zero: self.out.zero,
                relu: self.relu,
            },
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
