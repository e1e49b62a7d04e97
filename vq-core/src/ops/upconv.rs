//! Convolution that doubles the map: four 2x2 phases.

use super::{Filters, Step, Tensors, convolved, taps};
use crate::element::{Element, Output};
use crate::error::Fault;
use crate::format::{Dtype, Kernel, Pad, Params, UpConv};
use crate::kernels::{ConvRow, ConvShape, Filter, PHASE};
use crate::plan::Ring;
use crate::shape::Map;
use crate::slices::Parts;

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
            weight_count: PHASES as u64 * channels_out * POINTS * u64::from(channels),
            params: self.params,
            param_count: PHASES as u64 * channels_out,
        }
    }

    /// Both rows of a step lie in input row y / 2.
    pub(super) fn window(&self, y: i32) -> (i32, i32) {
        (y / 2 - 1, y / 2 + 1)
    }

    /// Whether the four phases are less work for the kernels as one convolution of 3x3, most of whose lanes are in use,
    /// than each on its own.
    fn is_joined(&self, lanes: usize) -> bool {
        let vectors = |channels: usize| channels.div_ceil(lanes.max(1));
        let channels = usize::from(self.out_channels);
        let joined = JOINED_POINTS * vectors(PHASES * channels);
        joined < PHASES * POINTS as usize * vectors(channels)
    }

    /// What it wants of kernels of so many lanes, when the input has `channels` and so many columns.
    pub(super) fn filters(&self, channels: u16, columns: u32, lanes: usize) -> Filters {
        let joined = self.is_joined(lanes);
        let shape = self.shape(channels, columns, joined);
        let (count, room) = if joined {
            // A row of all phases, before they are put into their rows.
            (1, (columns as usize).saturating_mul(shape.channels))
        } else {
            (PHASES, 0)
        };
        Filters { shape, count, room }
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

    /// Shows its filters for kernels of so many lanes, in turn, when it reads this ring.
    pub(super) fn each_filter<'a, E: Element>(
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

    /// The numbers of all phases, when it reads this ring.
    fn joined_filter<'a, E: Element>(&self, input: &Ring, blob: &'a [u8]) -> Filter<'a, E> {
        let (weights, params) = self.tensors(input.map.channels).load::<E>(blob);
        Filter {
            shape: self.shape(input.map.channels, input.width, true),
            weights,
            params,
            output: self.stored(),
        }
    }

    /// The numbers of one phase.
    fn phase_filter<'a, E: Element>(
        &self,
        phase: usize,
        input: &Ring,
        blob: &'a [u8],
    ) -> Filter<'a, E> {
        let (weights, params) = self.tensors(input.map.channels).load::<E>(blob);
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

    pub(super) fn run<E: Element>(&self, step: Step<'_, E>) {
        if self.is_joined(step.kernels.lanes) {
            return self.run_joined(step);
        }
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
                cut,
                out_step: 2 * out_channels,
            };
            let out = output.row(y + py as i32).behind_mut(px * out_channels);
            kernels.convolve(&row, room, out);
        }
    }

    /// All phases of a point together, which are then put into their rows.
    fn run_joined<E: Element>(&self, step: Step<'_, E>) {
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
        let filter = self.joined_filter(input.ring(), blob);
        let out_step = filter.shape.channels;
        let (points, room) = room.parted_mut(filter.shape.width as usize * out_step);
        let rows = [-1, 0, 1].map(|dy| input.row(y / 2 + dy, PAD.left));
        let row = ConvRow {
            filter,
            packed: packed.part(0, (kernels.packed_len)(&filter.shape)),
            rows: &rows,
            left: input.missing(PAD.left),
            zero: input.zero(),
            cut,
            out_step,
        };
        kernels.convolve(&row, room, points);
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

/// Every other N elements; so many are moved by few instructions when their number is known.
fn copy<E: Element, const N: usize>(points: &[E], out: &mut [E]) {
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
