//! Convolution that doubles the map: four 2x2 phases.

use super::operator::{
    Filters, Inputs, Operator, RowRange, Step, Tensors, check_taps, convolved, points,
};
use crate::dtype::Dtype;
use crate::element::Output;
use crate::error::Fault;
use crate::kernels::{ConvRow, ConvShape, Filter, HasKernels, PHASE};
use crate::lengths::{BYTE, QUANT, numbers};
use crate::map::Map;
use crate::rows::Ring;
use crate::shape::{Kernel, Pad};
use crate::slices::Parts;
use crate::tensor::{Params, Quant};
use serde::{Deserialize, Serialize};

/// Convolution that doubles the map, as four 2x2 convolutions, one for each phase (py, px):
/// y\[2 h + py, 2 w + px, co\] = bias + sum over kh, kw in 0..2 and ci of
/// x\[h - 1 + py + kh, w - 1 + px + kw, ci\] * weights\[2 py + px, co, kh, kw, ci\].
///
/// Nearest upsampling followed by a 3x3 convolution is of this form, and so is a transposed 4x4
/// convolution of stride 2 and padding 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UpConv {
    /// The value to convolve.
    pub input: u16,
    /// Channels of the output.
    pub out_channels: u16,
    /// Whether negative results become 0.
    pub relu: bool,
    /// Quantisation of the output.
    pub out: Quant,
    /// Offset in the blob of the weights \[4\]\[out_channels\]\[2\]\[2\]\[in_channels\].
    pub weights: u32,
    /// Offset in the blob of the [`Params`](crate::format::Params) of 4 * `out_channels` channels, phase by phase.
    pub params: u32,
}

/// Phases of a doubled map.
const PHASES: usize = 4;

/// Points of each phase's kernel.
const POINTS: u64 = 4;

/// The kernel that holds all phases' kernels.
const JOINED: Kernel = Kernel {
    height: 3,
    width: 3,
};

/// Its points.
const JOINED_POINTS: usize = 9;

/// Each output point reads one neighbour beside the point it lies in.
const PAD: Pad = Pad {
    top: 1,
    left: 1,
    bottom: 1,
    right: 1,
};

impl Operator for UpConv {
    const NAME: &'static str = "upconv";

    fn fields_len(&self) -> usize {
        let Self {
            input,
            out_channels,
            relu: _,
            out: _,
            weights,
            params,
        } = *self;
        BYTE + QUANT + numbers([input.into(), out_channels.into(), weights, params])
    }

    fn inputs(&self) -> Inputs<u16> {
        [self.input; 3]
    }

    fn output(&self, [input, ..]: Inputs<Map>, dtype: Dtype) -> Result<Map, Fault> {
        let density = input.density.checked_mul(2).ok_or(Fault::Density)?;
        check_taps(POINTS, input.channels)?;
        let map = convolved(input, self.out_channels, self.out, dtype)?;
        Ok(Map { density, ..map })
    }

    fn tensors(&self, channels: u16) -> Option<Tensors> {
        Some(self.own_tensors(channels))
    }

    fn relocate(&mut self, moved: impl Fn(u32) -> u32) {
        self.weights = moved(self.weights);
        self.params = moved(self.params);
    }

    fn macs_per_code(&self, input: Map, _: Map) -> u64 {
        points(input) * self.own_tensors(input.channels).weight_count
    }

    fn pad(&self) -> Pad {
        PAD
    }

    fn rows_per_step(&self) -> i32 {
        2
    }

    /// Both rows of a step lie in input row y / 2.
    fn windows(&self, y: i32, _: i32) -> Inputs<RowRange> {
        [around(y); 3]
    }

    fn columns(&self, x: i32) -> RowRange {
        around(x)
    }

    fn filters(&self, channels: u16, columns: u32, lanes: usize) -> Option<Filters> {
        let joined = self.is_joined(lanes);
        let shape = self.shape(channels, columns, joined);
        let (count, workspace) = if joined {
            // A row of all phases, before they are put into their rows.
            (1, (columns as usize).saturating_mul(shape.channels))
        } else {
            (PHASES, 0)
        };
        Some(Filters {
            shape,
            count,
            workspace,
        })
    }

    fn each_filter<'a, E: HasKernels>(
        &self,
        lanes: usize,
        input: &Ring,
        blob: &'a [u8],
        mut show: impl FnMut(Filter<'a, E>),
    ) {
        if self.is_joined(lanes) {
            return show(self.joined_filter(input, blob));
        }
        (0..PHASES).for_each(|phase| show(self.phase_filter(phase, input, blob)));
    }

    fn run<E: HasKernels>(&self, step: Step<'_, E>) {
        if self.is_joined(step.kernels.lanes) {
            self.run_joined(step);
        } else {
            self.run_phases(step);
        }
    }
}

impl UpConv {
    fn own_tensors(&self, channels: u16) -> Tensors {
        let channels_out = u64::from(self.out_channels);
        Tensors {
            weights: self.weights,
            weight_count: PHASES as u64 * channels_out * POINTS * u64::from(channels),
            params: self.params,
            param_count: PHASES as u64 * channels_out,
        }
    }

    /// Whether the four phases are less work for the kernels as one convolution of 3x3, most of whose lanes are in use,
    /// than each on its own.
    fn is_joined(&self, lanes: usize) -> bool {
        let vectors = |channels: usize| channels.div_ceil(lanes.max(1));
        let channels = usize::from(self.out_channels);
        let joined = JOINED_POINTS * vectors(PHASES * channels);
        joined < PHASES * POINTS as usize * vectors(channels)
    }

    /// Of a filter's row: of all phases, or of one.
    fn shape(&self, channels: u16, columns: u32, joined: bool) -> ConvShape {
        let out_channels = usize::from(self.out_channels);
        let (kernel, out_channels) = if joined {
            (JOINED, PHASES * out_channels)
        } else {
            (PHASE, out_channels)
        };
        ConvShape {
            kernel,
            stride: 1,
            in_channels: channels,
            channels: out_channels,
            width: columns,
            phases: joined,
        }
    }

    /// The numbers of all phases, when it reads this ring.
    fn joined_filter<'a, E: HasKernels>(&self, input: &Ring, blob: &'a [u8]) -> Filter<'a, E> {
        let (weights, params) = self.own_tensors(input.map.channels).load::<E>(blob);
        Filter {
            shape: self.shape(input.map.channels, input.width, true),
            weights,
            params,
            output: self.stored(),
        }
    }

    /// The numbers of one phase.
    fn phase_filter<'a, E: HasKernels>(
        &self,
        phase: usize,
        input: &Ring,
        blob: &'a [u8],
    ) -> Filter<'a, E> {
        let (weights, params) = self.own_tensors(input.map.channels).load::<E>(blob);
        let len = weights.len() / PHASES;
        Filter {
            shape: self.shape(input.map.channels, input.width, false),
            weights: weights.part(phase * len, len),
            params: phase_of(&params, phase),
            output: self.stored(),
        }
    }

    fn stored(&self) -> Output {
        Output {
            zero: self.out.zero,
            relu: self.relu,
        }
    }

    /// The phases one after the other.
    fn run_phases<E: HasKernels>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            fused_relu,
            mut output,
            kernels,
            workspace,
            packed,
            blob,
            ..
        } = step;
        let ring = input.ring();
        let out_channels = usize::from(self.out_channels);
        let packed_len = (kernels.packed_len)(&self.shape(ring.map.channels, ring.width, false));
        for phase in 0..PHASES {
            let (py, px) = (phase / 2, phase % 2);
            let top = y / 2 - 1 + py as i32;
            // Column -1 + px is the first that the phase reads.
            let before = PAD.left - px as u8;
            let rows = [top, top + 1].map(|y| input.row(y, before));
            let row = ConvRow {
                filter: self.phase_filter(phase, ring, blob),
                packed: packed.part(phase * packed_len, packed_len),
                rows: &rows,
                left: input.missing(before),
                zero: input.zero(),
                cut: fused_relu,
                out_step: 2 * out_channels,
            };
            let out = output.row(y + py as i32).behind_mut(px * out_channels);
            kernels.convolve(&row, workspace, out);
        }
    }

    /// All phases of a point together, which are then put into their rows.
    fn run_joined<E: HasKernels>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            fused_relu,
            mut output,
            kernels,
            workspace,
            packed,
            blob,
            ..
        } = step;
        let filter = self.joined_filter(input.ring(), blob);
        let out_step = filter.shape.channels;
        let (points, workspace) = workspace.parted_mut(filter.shape.width as usize * out_step);
        let rows = [-1, 0, 1].map(|dy| input.row(y / 2 + dy, PAD.left));
        let row = ConvRow {
            filter,
            packed: packed.part(0, (kernels.packed_len)(&filter.shape)),
            rows: &rows,
            left: input.missing(PAD.left),
            zero: input.zero(),
            cut: fused_relu,
            out_step,
        };
        kernels.convolve(&row, workspace, points);
        let half = (out_step / 2).max(1);
        for py in 0..2 {
            let out = output.row(y + py as i32);
            let points = points.behind(py * half);
            match half {
                2 => copy::<E, 2>(points, out),
                6 => copy::<E, 6>(points, out),
                _ => {
                    let out = out.chunks_exact_mut(half);
                    for (point, out) in points.chunks((2 * half).max(1)).zip(out) {
                        out.iter_mut().zip(point).for_each(|(out, &x)| *out = x);
                    }
                }
            }
        }
    }
}

/// The rows, or columns, of the input that row or column `y` is made of.
fn around(y: i32) -> RowRange {
    let (first, last) = (y / 2 - 1, y / 2 + 1);
    RowRange { first, last }
}

/// Every other N elements; so many are moved by few instructions when their number is known.
fn copy<E: HasKernels, const N: usize>(points: &[E], out: &mut [E]) {
    for (point, out) in points.chunks(2 * N).zip(out.as_chunks_mut::<N>().0) {
        if let Some(point) = point.first_chunk() {
            *out = *point;
        }
    }
}

/// The parameters of one phase's channels.
fn phase_of<'a>(params: &Params<'a>, phase: usize) -> Params<'a> {
    let part = |bytes: &'a [u8]| {
        let len = bytes.len() / PHASES;
        bytes.part(phase * len, len)
    };
    Params {
        bias: part(params.bias),
        multiplier: part(params.multiplier),
        shift: part(params.shift),
    }
}
