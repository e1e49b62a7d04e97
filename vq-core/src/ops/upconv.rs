//! Convolution that doubles the map: four 2x2 phases.

use super::{Step, Tensors, convolved, taps};
use crate::element::{Element, Output};
use crate::error::Fault;
use crate::format::{Dtype, Kernel, Pad, Params, UpConv};
use crate::kernels::{ConvRow, ConvShape};
use crate::shape::Map;

/// Phases of a doubled map.
const PHASES: u64 = 4;

/// Each phase's kernel.
const PHASE: Kernel = Kernel {
    height: 2,
    width: 2,
};

/// Its points.
const POINTS: u64 = 4;

/// Each output point reads one neighbour beside the point it lies in.
pub(super) const PAD: Pad = Pad {
    top: 1,
    left: 1,
    bottom: 1,
    right: 1,
};

impl UpConv {
    pub(crate) fn output(&self, input: Map, dtype: Dtype) -> Result<Map, Fault> {
        let density = input.density.checked_mul(2).ok_or(Fault::Density)?;
        taps(POINTS, input.channels)?;
        let map = convolved(input, self.out_channels, self.out, dtype)?;
        Ok(Map { density, ..map })
    }

    pub(crate) fn tensors(&self, channels: u16) -> Tensors {
        let channels_out = u64::from(self.out_channels);
        Tensors {
            weights: self.weights,
            weight_count: PHASES * channels_out * POINTS * u64::from(channels),
            params: self.params,
            param_count: PHASES * channels_out,
        }
    }

    /// Both rows of a step lie in input row y / 2.
    pub(super) fn window(&self, y: i32) -> (i32, i32) {
        (y / 2 - 1, y / 2 + 1)
    }

    /// Of a phase's row, when the input has `channels` and so many columns.
    pub(super) fn shape(&self, channels: u16, columns: u32) -> ConvShape {
        ConvShape {
            kernel: PHASE,
            stride: 1,
            in_channels: channels,
            width: columns,
        }
    }

    pub(super) fn run<E: Element>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            mut output,
            kernels,
            room,
            blob,
        } = step;
        let (channels, out_channels) = (
            usize::from(input.ring().map.channels),
            usize::from(self.out_channels),
        );
        let (weights, params) = self.tensors(input.ring().map.channels).load::<E>(blob);
        let phase_len = weights.len() / PHASES as usize;
        for (phase, weights) in weights.chunks_exact(phase_len).enumerate() {
            let (py, px) = (phase / 2, phase % 2);
            let top = y / 2 - 1 + py as i32;
            // Column -1 + px is the first that the phase reads.
            let rows = [top, top + 1].map(|y| &input.row(y, 1)[px * channels..]);
            let row = ConvRow {
                shape: self.shape(input.ring().map.channels, input.ring().width),
                rows: &rows,
                weights,
                params: phase_of(&params, phase),
                channels: out_channels,
                out_step: 2 * out_channels,
                output: Output {
                    zero: self.out.zero,
                    relu: self.relu,
                },
            };
            let out = &mut output.row(y + py as i32)[px * out_channels..];
            kernels.convolve(&row, room, out);
        }
    }
}

/// The parameters of one phase's channels.
fn phase_of<'a>(params: &Params<'a>, phase: usize) -> Params<'a> {
    let part = |bytes: &'a [u8]| {
        let len = bytes.len() / PHASES as usize;
        &bytes[phase * len..][..len]
    };
    Params {
        bias: part(params.bias),
        multiplier: part(params.multiplier),
        shift: part(params.shift),
    }
}
