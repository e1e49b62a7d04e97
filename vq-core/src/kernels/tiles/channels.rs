//! Convolution with output channels in the lanes.
//!
//! Weights are packed once for all pictures, so that what a vector of channels needs for its next product is one load. The
//! blocks lie behind each other, each with the numbers of LANES channels:
//!
//! ```text
//! block := head, weights[kernel height][run / TAPS][LANES][TAPS]
//! ```
//!
//! A run that is no multiple of TAPS is filled up with weights of 0, and the inputs behind it are multiplied with
//! them. Rows whose elements the products want in another form are brought into it in the workspace.

use super::elements::{Head as _, TilesOf, block_mut, elements, packed_elements};
use super::points::{self, Planes};
use super::sums::{Finish, Sums, most_vectors, parts};
use super::tile::{Place, Run, Strides, Tiles, Walk};
use crate::element::Element;
use crate::kernels::{ConvRow, ConvShape, Filter};
use crate::shape::MAX_KERNEL;
use core::ptr;

/// How a convolution's blocks lie.
#[derive(Debug, Clone, Copy)]
struct Blocks {
    /// Steps of a row of the kernel, the last one filled up.
    steps: usize,
    /// Bytes of a block.
    bytes: usize,
    /// How many there are.
    count: usize,
}

impl Blocks {
    fn of<T: Tiles>(shape: &ConvShape) -> Self {
        let steps = shape.run().div_ceil(T::TAPS);
        let weights = (usize::from(shape.kernel.height) * steps).saturating_mul(step_bytes::<T>());
        Self {
            steps,
            bytes: weights.saturating_add(size_of::<T::Head>()),
            count: shape.channels.div_ceil(T::LANES),
        }
    }
}

/// Bytes of a step's weights.
const fn step_bytes<T: Tiles>() -> usize {
    T::LANES * T::TAPS * size_of::<T::Number>()
}

/// See [`Kernels::packed_len`](crate::kernels::Kernels::packed_len).
pub(in crate::kernels) fn packed_len<T: TilesOf<E>, E: Element>(shape: &ConvShape) -> usize {
    if let Some(planes) = Planes::of::<T>(shape) {
        return planes.packed_len::<E>(shape);
    }
    let blocks = Blocks::of::<T>(shape);
    packed_elements::<E>(blocks.bytes, blocks.count)
}

/// Whether a shape's rows are read where they are.
fn in_place<T: TilesOf<E>, E: Element>(shape: &ConvShape) -> bool {
    T::AS_IT_IS && shape.run().is_multiple_of(T::TAPS)
}

/// Numbers of a row in the workspace. What is read behind the last run is filled up.
fn row_len<T: Tiles>(shape: &ConvShape) -> usize {
    shape
        .columns()
        .saturating_mul(shape.in_channels.into())
        .saturating_add(T::TAPS)
}

/// See [`Kernels::conv_workspace`](crate::kernels::Kernels::conv_workspace).
pub(in crate::kernels) fn conv_workspace<T: TilesOf<E>, E: Element>(shape: &ConvShape) -> usize {
    match Planes::of::<T>(shape) {
        Some(planes) => planes.conv_workspace::<T, E>(shape),
        None => rows_workspace::<T, E>(shape),
    }
}

/// Elements of workspace for the rows under the kernel.
fn rows_workspace<T: TilesOf<E>, E: Element>(shape: &ConvShape) -> usize {
    if in_place::<T, E>(shape) {
        return 0;
    }
    let bytes = row_len::<T>(shape).saturating_mul(size_of::<T::Number>());
    let bytes = bytes.saturating_mul(shape.kernel.height.into());
    elements::<E>(bytes.saturating_add(align_of::<T::Number>()))
}

/// See [`Kernels::pack`](crate::kernels::Kernels::pack).
#[inline(always)]
pub(in crate::kernels) fn pack<T: TilesOf<E>, E: Element>(
    filter: &Filter<'_, E>,
    packed: &mut [E],
) {
    let shape = &filter.shape;
    let packed = &mut packed[..packed_len::<T, E>(shape)];
    packed.fill(E::zeroed());
    let packed = bytemuck::cast_slice_mut(packed);
    if let Some(planes) = Planes::of::<T>(shape) {
        return points::pack::<T, E>(&planes, filter, packed);
    }
    let blocks = Blocks::of::<T>(shape);
    for (block, bytes) in packed
        .chunks_exact_mut(blocks.bytes)
        .take(blocks.count)
        .enumerate()
    {
        let (head, weights) = block_mut::<T>(bytes);
        let first = block * T::LANES;
        for lane in 0..T::LANES.min(shape.channels - first) {
            let channel = first + lane;
            let own = filter.channel(channel);
            head.set(lane, &filter.params, channel, own, T::OFFSET);
            let rows = weights.chunks_exact_mut(blocks.steps * T::LANES * T::TAPS);
            for (kh, row) in rows.enumerate() {
                let (before, own) = filter.row(channel, kh);
                pack_lane::<T, E>(before, own, &mut row[lane * T::TAPS..]);
            }
        }
    }
}

/// A run's weights of one channel, behind zeros.
#[inline(always)]
fn pack_lane<T: TilesOf<E>, E: Element>(
    before: usize,
    own: &[E::Stored],
    places: &mut [T::Number],
) {
    let weight = |&weight| T::weight(E::read(weight));
    let steps = places.chunks_mut(T::LANES * T::TAPS).skip(before / T::TAPS);
    if !before.is_multiple_of(T::TAPS) {
        for (i, own) in own.iter().enumerate() {
            let (step, tap) = ((before + i) / T::TAPS, (before + i) % T::TAPS);
            places[step * T::LANES * T::TAPS + tap] = weight(own);
        }
        return;
    }
    let whole = own.chunks_exact(T::TAPS);
    let rest = whole.remainder();
    let count = whole.len();
    for (place, own) in steps.zip(whole) {
        // One by one, so that the compiler sees how many there are.
        let (place, own) = (&mut place[..T::TAPS], &own[..T::TAPS]);
        for tap in 0..T::TAPS {
            place[tap] = weight(&own[tap]);
        }
    }
    let last = places
        .chunks_mut(T::LANES * T::TAPS)
        .nth(before / T::TAPS + count);
    for (place, own) in last.into_iter().flatten().zip(rest) {
        *place = weight(own);
    }
}

/// See [`Kernels::conv_row`](crate::kernels::Kernels::conv_row).
///
/// ```text
/// for some vectors of channels, for some points:
///     sums = starts; for each row, for TAPS of a run: sums += inputs * weights; out = finish(sums)
/// ```
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
pub(in crate::kernels) unsafe fn conv_row<T: TilesOf<E>, E: Element>(
    row: &ConvRow<'_, E>,
    workspace: &mut [E],
    out: &mut [E],
) {
    let shape = &row.filter.shape;
    let width = shape.width as usize;
    assert!(width > 0 && out.len() >= (width - 1) * row.out_step + shape.channels);
    if let Some(planes) = Planes::of::<T>(shape) {
        // SAFETY: the caller guarantees that the processor has the instruction set.
        return unsafe { points::conv_row::<T, E>(&planes, row, workspace, out) };
    }
    let blocks = Blocks::of::<T>(shape);
    let packed = bytemuck::cast_slice::<E, u8>(row.packed);
    assert!(packed.len() >= blocks.count * blocks.bytes);
    let heads = packed.as_ptr().cast::<T::Head>();
    assert!(heads.is_aligned() && blocks.bytes.is_multiple_of(align_of::<T::Head>()));
    const { assert!(align_of::<T::Head>().is_multiple_of(size_of::<T::Number>())) }
    let none = Run {
        vectors: ptr::null(),
        splats: ptr::null(),
    };
    let mut runs = [none; MAX_KERNEL];
    let runs = &mut runs[..shape.kernel.height.into()];
    lay_out::<T, E>(row, workspace, runs);
    for (kh, run) in runs.iter_mut().enumerate() {
        // Within the first block, if there is one.
        let weights = heads.wrapping_add(1).cast::<T::Number>();
        run.vectors = weights.wrapping_byte_add(kh * blocks.steps * step_bytes::<T>());
    }
    let walk = Walk {
        runs,
        steps: blocks.steps,
        strides: Strides {
            step: T::LANES * T::TAPS,
            vectors: blocks.bytes / size_of::<T::Number>(),
            splats: Strides::every(shape.step()),
        },
        vector_heads: blocks.bytes,
        splat_heads: 0,
    };
    let mut sums = Sums::<T>::new();
    let mut block = 0;
    for vectors in parts(blocks.count, most_vectors::<T>()) {
        let mut x = 0;
        for points in parts(width, T::SPLATS[vectors - 1]) {
            let place = Place {
                head: heads.wrapping_byte_add(block * blocks.bytes),
                vectors: block * walk.strides.vectors,
                splats: x * shape.step(),
            };
            // SAFETY: there are so many blocks, each with an aligned head and the weights of all runs, and the window of
            // the last point lies within the rows. So do the last point's channels within `out`.
            unsafe {
                sums.compute::<false>(&walk, place, points, vectors);
                for v in 0..vectors {
                    let channel = (block + v) * T::LANES;
                    let finish = Finish {
                        first: v,
                        step: vectors,
                        count: points,
                        out: out.as_mut_ptr().add(x * row.out_step + channel),
                        out_step: row.out_step,
                        lanes: T::LANES.min(shape.channels - channel),
                    };
                    let head = &*place.head.byte_add(v * blocks.bytes);
                    sums.finish(head, row.filter.output, &finish);
                }
            }
            x += points;
        }
        block += vectors;
    }
}

/// Points to the rows under the kernel, brought into the workspace where they are not read where they are.
#[inline(always)]
fn lay_out<T: TilesOf<E>, E: Element>(
    row: &ConvRow<'_, E>,
    workspace: &mut [E],
    runs: &mut [Run<T::Number>],
) {
    let shape = &row.filter.shape;
    assert!(row.rows.len() == runs.len());
    let len = shape.columns() * usize::from(shape.in_channels);
    if in_place::<T, E>(shape) {
        for (run, source) in runs.iter_mut().zip(row.rows) {
            run.splats = bytemuck::cast_slice(&source[..len]).as_ptr();
        }
        return;
    }
    let (_, places, _) = bytemuck::pod_align_to_mut::<E, T::Number>(workspace);
    let mut places = places.chunks_exact_mut(row_len::<T>(shape));
    for (run, source) in runs.iter_mut().zip(row.rows) {
        let own = places.next().expect("a workspace for all rows");
        for (place, &x) in own.iter_mut().zip(&source[..len]) {
            *place = T::activation(x);
        }
        run.splats = own.as_ptr();
    }
}
