//! Transposed convolution: the backward pass of a convolution, run forward.
//!
//! Each input position adds a window of `kernel x kernel` outputs, `stride` apart; the border is cut
//! away. With Y the windows of y as rows, Y = X W; backward dX = dY W' and dW = X' dY.

use super::affine::Entries;
use super::builder::{BuildError, Builder, Configured};
use super::convolution::{Convolution, Geometry};
use super::layer::Axes;
use super::map::Dim4;
use super::maps::{Channels, Direction, Kernel, WeightSteps, Windows};
use super::params::{Init, ParamTable};
use serde::{Deserialize, Serialize};

/// A transposed convolution in a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransposedConfig {
    /// Channels out.
    pub out: usize,
    /// Side of the kernel.
    #[serde(default = "four")]
    pub kernel: usize,
    /// The map grows by this factor.
    #[serde(default = "two")]
    pub stride: usize,
    /// Rows and columns of output cut away above and to the left, as PyTorch's `padding`; of
    /// `kernel - stride` in all, those below and to the right are the rest. Without, half, rounded down.
    pub pad: Option<usize>,
    /// ReLU on the output.
    #[serde(default)]
    pub relu: bool,
}

fn two() -> usize {
    2
}

fn four() -> usize {
    4
}

impl<L: From<ConvTranspose2d>> Configured<L> for TransposedConfig {
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError> {
        let in_channels = builder.shape.channels;
        builder.convolution(self.out, self.kernel, self.stride)?;
        if self.pad.is_some_and(|pad| pad > self.kernel - self.stride) {
            return Err(builder.error("pad must be at most kernel - stride"));
        }
        let spec = ConvTransposeSpec {
            in_channels,
            out_channels: self.out,
            kernel: self.kernel,
            stride: self.stride,
            cut: self.pad.unwrap_or((self.kernel - self.stride) / 2),
            relu: self.relu,
        };
        let layer = ConvTranspose2d::new(spec, &builder.name, builder.table);
        builder.push(layer);
        builder.shape.channels = self.out;
        builder.grow(self.stride);
        Ok(())
    }
}

/// What a transposed convolution is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvTransposeSpec {
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Side of the square kernel, at least the stride.
    pub kernel: usize,
    /// The map grows by exactly this factor.
    pub stride: usize,
    /// Of the `kernel - stride` rows and columns of output that are cut away, those above and to the left,
    /// as PyTorch's `padding` counts them.
    pub cut: usize,
    /// ReLU on the output, fused.
    pub relu: bool,
}

impl Geometry for ConvTransposeSpec {
    const KIND: &'static str = "transposed";
    const AXES: Axes = Axes::ConvTranspose;
    const DIRECTION: Direction = Direction::Spread;

    /// The large map is y, the small one x.
    fn kernel(&self) -> Kernel {
        Kernel {
            side: self.kernel,
            stride: self.stride,
            top_left: self.cut,
            channels: Channels {
                large: self.out_channels,
                small: self.in_channels,
            },
            steps: WeightSteps {
                ky: self.kernel * self.out_channels,
                kx: self.out_channels,
                large: 1,
                small: self.kernel * self.kernel * self.out_channels,
            },
        }
    }

    /// Windows on the output map, one for each input position.
    fn windows(&self, (_, h, w, _): Dim4) -> Windows {
        Windows {
            kernel: self.kernel(),
            h: h * self.stride,
            w: w * self.stride,
            oh: h,
            ow: w,
        }
    }
}

/// A transposed convolution with its place in the parameter vector: `[n, h, w, in_channels]` to
/// `[n, h stride, w stride, out_channels]`, by W `[in_channels, kernel, kernel, out_channels]`.
pub type ConvTranspose2d = Convolution<ConvTransposeSpec>;

impl ConvTranspose2d {
    /// Enters the parameters `NAME.weight` and `NAME.bias`.
    pub fn new(spec: ConvTransposeSpec, name: &str, table: &mut ParamTable) -> Self {
        let ConvTransposeSpec {
            in_channels,
            out_channels,
            kernel,
            stride,
            relu,
            ..
        } = spec;
        let fan_in = (in_channels * kernel * kernel) as f64 / (stride * stride) as f64;
        let entries = Entries {
            shape: &[in_channels, kernel, kernel, out_channels],
            init: Init::he(fan_in, relu),
            bias: true,
            relu,
            forward: spec.kernel().panels_len(Direction::Spread),
            backward: spec.kernel().panels_len(Direction::Gather),
        };
        ConvTranspose2d {
            spec,
            params: entries.enter(name, table),
        }
    }
}
