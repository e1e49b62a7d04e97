//! Convolutions as they are in use, and as the core's operators.
//!
//! Nearest upsampling by 2 and the 3x3 convolution behind it become four 2x2 convolutions, one for
//! each phase of the output: upsampled rows 2y - 1, 2y and 2y + 1 are input rows y - 1, y and y, so taps
//! that meet the same input add up. A transposed convolution of stride 2 is the same four phases by
//! sorting its taps. Both are exact, borders included.

use super::graph::{FloatConv, FloatUpConv};
use crate::nn::{AffineParams, AnyLayer, Conv2d, ConvSpec, ConvTranspose2d, Linear, Padding};
use std::borrow::Cow;
use vq_core::format::Pad;

/// What every kind of convolution is once training is over.
pub(super) struct PlainConv<'p> {
    spec: ConvSpec,
    /// `[kernel, kernel, in_channels, out_channels]`.
    weight: Cow<'p, [f32]>,
    bias: Vec<f32>,
}

impl<'p> PlainConv<'p> {
    /// The layer as a convolution, if it is one.
    pub(super) fn of(layer: &AnyLayer, params: &'p [f32]) -> Option<PlainConv<'p>> {
        let (spec, own, weight) = match layer {
            AnyLayer::Conv2d(l) => return Some(PlainConv::of_conv2d(l, params)),
            AnyLayer::SpectralConv2d(l) => {
                (l.inner.spec, &l.inner.params, l.effective(params).into())
            }
            AnyLayer::MaskedConv2d(l) => (l.conv.spec, &l.conv.params, l.effective(params).into()),
            AnyLayer::Linear(l) => {
                let weight = params[l.params.weight.clone()].into();
                (pointwise(l), &l.params, weight)
            }
            AnyLayer::SpectralLinear(l) => (
                pointwise(&l.inner),
                &l.inner.params,
                l.effective(params).into(),
            ),
            _ => return None,
        };
        let bias = bias_of(own, params, spec.out_channels);
        Some(PlainConv { spec, weight, bias })
    }

    pub(super) fn of_conv2d(l: &Conv2d, params: &'p [f32]) -> PlainConv<'p> {
        PlainConv {
            spec: l.spec,
            weight: params[l.params.weight.clone()].into(),
            bias: bias_of(&l.params, params, l.spec.out_channels),
        }
    }

    /// The core's operator.
    pub(super) fn op(&self, input: u16) -> FloatConv {
        let (s, w) = (self.spec, &self.weight);
        let taps = s.kernel * s.kernel * s.in_channels;
        let weight = (0..s.out_channels)
            .flat_map(|co| (0..taps).map(move |t| w[t * s.out_channels + co]))
            .collect();
        let (top, bottom) = (s.pad.top_left as u8, s.pad.bottom_right as u8);
        FloatConv {
            input,
            out_channels: s.out_channels,
            kernel: s.kernel as u8,
            stride: s.stride as u8,
            pad: Pad {
                top,
                left: top,
                bottom,
                right: bottom,
            },
            relu: s.relu,
            weight,
            bias: self.bias.clone(),
        }
    }
}

/// A linear layer as the 1x1 convolution that it is.
fn pointwise(linear: &Linear) -> ConvSpec {
    let s = linear.spec;
    ConvSpec {
        relu: s.relu,
        bias: s.bias,
        ..ConvSpec::pointwise(s.in_channels, s.out_channels)
    }
}

/// The bias, or zeros without one.
fn bias_of(own: &AffineParams, params: &[f32], out_channels: usize) -> Vec<f32> {
    if own.bias.is_empty() {
        vec![0.0; out_channels]
    } else {
        params[own.bias.clone()].to_vec()
    }
}

/// Where tap `k` of a 3-row kernel on the upsampled map falls in the 2-row kernel of phase `p`:
/// upsampled row 2y + p - 1 + k is input row y - 1 + p + result.
fn upsampled_tap(p: usize, k: usize) -> usize {
    (p + k).div_ceil(2) - p
}

/// Nearest upsampling by 2 and a convolution; none where that is not 3x3 with stride 1.
pub(super) fn upsampled(input: u16, conv: &PlainConv<'_>) -> Option<FloatUpConv> {
    let (s, w) = (conv.spec, &conv.weight);
    if (s.kernel, s.stride, s.pad) != (3, 1, Padding::even(1)) {
        return None;
    }
    let mut phases = Phases::new(s.in_channels, s.out_channels);
    for py in 0..2 {
        for px in 0..2 {
            for (ky, kx) in (0..9).map(|i| (i / 3, i % 3)) {
                let at = [upsampled_tap(py, ky), upsampled_tap(px, kx)];
                phases.add([py, px], at, |ci, co| {
                    w[((ky * 3 + kx) * s.in_channels + ci) * s.out_channels + co]
                });
            }
        }
    }
    Some(phases.finish(input, s.relu, conv.bias.clone()))
}

/// A transposed convolution; none where two rows of the input do not suffice for an output row.
///
/// Output row o gets input row i through tap o - 2i + cut. For o = 2y + p and i = y - 1 + p + j that
/// is tap 2 - p - 2j + cut, where the kernel has one.
pub(super) fn transposed(
    input: u16,
    conv: &ConvTranspose2d,
    params: &[f32],
) -> Option<FloatUpConv> {
    let s = conv.spec;
    if s.stride != 2 {
        return None;
    }
    // Two rows of the input reach an output row only while at most one row is cut away on each side.
    if s.cut > 1 || s.kernel - 2 - s.cut > 1 {
        return None;
    }
    let tap = |p: usize, j: usize| (2 + s.cut).checked_sub(p + 2 * j).filter(|&k| k < s.kernel);
    let w = &params[conv.params.weight.clone()];
    let mut phases = Phases::new(s.in_channels, s.out_channels);
    for (py, px, jy, jx) in (0..16).map(|i| (i / 8, i / 4 % 2, i / 2 % 2, i % 2)) {
        if let (Some(ky), Some(kx)) = (tap(py, jy), tap(px, jx)) {
            let at = |ci: usize| ((ci * s.kernel + ky) * s.kernel + kx) * s.out_channels;
            phases.add([py, px], [jy, jx], |ci, co| w[at(ci) + co]);
        }
    }
    Some(phases.finish(input, s.relu, bias_of(&conv.params, params, s.out_channels)))
}

/// Weights of four 2x2 convolutions being summed up.
struct Phases {
    in_channels: usize,
    out_channels: usize,
    weight: Vec<f32>,
}

impl Phases {
    fn new(in_channels: usize, out_channels: usize) -> Phases {
        Phases {
            in_channels,
            out_channels,
            weight: vec![0.0; 16 * in_channels * out_channels],
        }
    }

    fn add(&mut self, [py, px]: [usize; 2], [y, x]: [usize; 2], w: impl Fn(usize, usize) -> f32) {
        for co in 0..self.out_channels {
            let at =
                ((((2 * py + px) * self.out_channels + co) * 2 + y) * 2 + x) * self.in_channels;
            for (ci, v) in self.weight[at..at + self.in_channels]
                .iter_mut()
                .enumerate()
            {
                *v += w(ci, co);
            }
        }
    }

    fn finish(self, input: u16, relu: bool, bias: Vec<f32>) -> FloatUpConv {
        let Phases {
            out_channels,
            weight,
            ..
        } = self;
        FloatUpConv {
            input,
            out_channels,
            relu,
            weight,
            bias: bias.repeat(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_of_an_upsampled_map_fall_on_the_rows_they_copy() {
        for p in 0..2 {
            for k in 0..3 {
                let (y, upsampled) = (5, 2 * 5 + p + k - 1);
                assert_eq!(
                    upsampled / 2,
                    y - 1 + p + upsampled_tap(p, k),
                    "phase {p}, tap {k}"
                );
            }
        }
    }
}
