//! Convolution in tiles: some points by some vectors of channels, whose sums all stay in registers.
//!
//! Weights are packed once for all pictures, so that what a vector of channels needs for its next product is one load. The blocks
//! lie behind each other, each with the numbers of `LANES` channels:
//!
//! ```text
//! block := head, weights[kernel height][run / TAPS][LANES][TAPS]
//! ```
//!
//! A run that is no multiple of `TAPS` is filled up with weights of 0, and the inputs behind it are multiplied with
//! them. Rows whose elements the products want in another form are brought into it in the room.

#![allow(unsafe_code)]

mod float;
pub(super) mod integer;
mod plain;
mod points;

use super::search::{self, Lanes, Search};
use super::{ALIGN, ConvRow, ConvShape, ConvolveRow, EMULATED, Filter, Kernels, scalar, words};
use crate::element::{Arithmetic, Element, Output};
use crate::shape::MAX_KERNEL;
use crate::tensor::Params;
use core::{iter, ptr, slice};

use plain::Plain;
use points::Planes;

/// Most vectors of channels in a tile.
pub(super) const VECTORS: usize = 4;

/// Simd128's tiles in plain loops.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(super) static SIMD128: Kernels<i8> = plain::<Plain<4, 2>>();

/// NEON's tiles in plain loops.
#[cfg(not(target_arch = "aarch64"))]
pub(super) static NEON: Kernels<i8> = plain::<Plain<8, 1>>();

/// Those with dotprod in plain loops.
pub(super) static NEON_DOT: Kernels<i8> = plain::<Plain<8, 4>>();

/// AVX2's tiles in plain loops.
pub(super) static AVX2: Kernels<i8> = plain::<Plain<8, 2>>();

/// AVX-512's tiles in plain loops.
pub(super) static AVX512: Kernels<i8> = plain::<Plain<16, 4>>();

/// The table of an emulated backend; of one that only tells how much memory it wants, where emulations are not built.
const fn plain<T: Lanes>() -> Kernels<i8> {
    let sizes = Kernels {
        lanes: T::LANES,
        conv_room: conv_room::<T>,
        packed_len: packed_len::<T>,
        conv_row: scalar::any_conv_row,
        add_row: words::add_row,
        search: Search {
            packed_len: Search::integers::<T>(Search::SCALAR.nearest).packed_len,
            ..Search::SCALAR
        },
        ..Kernels::SCALAR
    };
    if !EMULATED {
        return sizes;
    }
    everywhere::<T>(Kernels {
        // SAFETY: plain loops need no instructions.
        search: Search::integers::<T>(|entries, packed, vectors, codes| unsafe {
            search::integers::<T>(entries, packed, vectors, codes);
        }),
        ..sizes
    })
}

/// The table of a backend whose instructions every processor has for which the program is compiled.
pub(super) const fn everywhere<T: Tiles>(rest: Kernels<T::Element>) -> Kernels<T::Element> {
    // SAFETY: every processor has the instructions.
    kernels::<T>(
        pack::<T>,
        |row, room, out| unsafe { conv_row::<T>(row, room, out) },
        rest,
    )
}

/// The table of a backend whose functions are compiled for its instructions, which not every processor has.
pub(super) const fn kernels<T: Tiles>(
    pack: fn(&Filter<'_, T::Element>, &mut [T::Element]),
    conv_row: ConvolveRow<T::Element>,
    rest: Kernels<T::Element>,
) -> Kernels<T::Element> {
    Kernels {
        lanes: T::LANES,
        conv_room: conv_room::<T>,
        packed_len: packed_len::<T>,
        pack,
        conv_row,
        ..rest
    }
}

/// What an instruction set does its own way.
///
/// # Safety
/// Whoever calls one of its unsafe functions, or one here that is generic over it, knows that the processor has the
/// instruction set.
pub(super) trait Tiles: Sized {
    /// The elements of rows.
    type Element: Element;
    /// What products take of an element.
    type Input: Copy;
    /// What they take of a weight: an integer or a float, so that every pattern of bits is one, and zeros are 0.
    type Weight: Copy;
    /// What a block starts with. The same.
    type Head: Head<Self::Element>;
    /// A vector of weights.
    type Weights: Copy;
    /// The same inputs for each channel of a vector.
    type Inputs: Copy;
    /// A sum for each channel of a vector.
    type Sums: Copy;
    /// What makes results of them.
    type Scale: Copy;
    /// Channels of a vector.
    const LANES: usize;
    /// Products of a channel that are added at once.
    const TAPS: usize;
    /// Points of a tile of 1, 2, .. vectors: as many as the registers hold sums of. 0 where there is no such tile.
    const POINTS: [usize; VECTORS];
    /// Whether inputs are elements as they are.
    const AS_IT_IS: bool;
    /// What inputs are larger by than elements; of integers.
    const OFFSET: i32 = 0;

    /// An element as products take it.
    fn input(x: Self::Element) -> Self::Input;
    /// A weight as products take it.
    fn weight(weight: Self::Element) -> Self::Weight;

    /// What sums start with.
    unsafe fn start(head: *const Self::Head) -> Self::Sums;
    /// LANES * TAPS weights.
    unsafe fn weights(from: *const Self::Weight) -> Self::Weights;
    /// TAPS inputs.
    unsafe fn inputs(from: *const Self::Input) -> Self::Inputs;
    /// Adds the products.
    unsafe fn multiply_add(
        sums: Self::Sums,
        inputs: Self::Inputs,
        weights: Self::Weights,
    ) -> Self::Sums;
    /// The other way around, with points in the lanes: adds the products of TAPS inputs of each point and the same weights.
    ///
    /// Both were loaded as the other: by [`Self::weights`] and by [`Self::inputs`].
    #[inline(always)]
    unsafe fn multiply_add_points(
        sums: Self::Sums,
        inputs: Self::Weights,
        weights: Self::Inputs,
    ) -> Self::Sums {
        // SAFETY: as promised by the caller.
        unsafe { Self::multiply_add(sums, weights, inputs) }
    }
    /// Makes columns of rows.
    #[inline(always)]
    unsafe fn transposed(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
        let mut columns = rows;
        for (i, row) in rows.iter().enumerate() {
            for (column, &word) in columns.iter_mut().zip(row) {
                column[i] = word;
            }
        }
        columns
    }
    /// What sums are finished with.
    unsafe fn scale(head: *const Self::Head) -> Self::Scale;
    /// Stores the first `count` sums, of a block that [`Head::is_quick`], as elements.
    unsafe fn finish(
        sums: Self::Sums,
        scale: Self::Scale,
        output: Output,
        out: *mut Self::Element,
        count: usize,
    );
}

/// What a block starts with: what its sums start and end with, whatever multiplies.
pub(super) trait Head<E: Arithmetic>: Copy {
    /// A channel's part. `weights` are all of the channel, `offset` is what inputs are larger by than elements.
    fn set(
        &mut self,
        lane: usize,
        params: &Params<'_>,
        channel: usize,
        weights: &[E::Stored],
        offset: i32,
    );
    /// Whether vectors can finish the sums.
    fn is_quick(&self) -> bool;
    /// Finishes sums one by one, in every case.
    fn finish(&self, sums: &[E::Sum], output: Output, out: &mut [E]);
}

/// A weight as it lies in the file.
type Stored<T> = <<T as Tiles>::Element as Arithmetic>::Stored;

/// Elements of a type in which `bytes` lie.
pub(super) const fn elements<E>(bytes: usize) -> usize {
    bytes.div_ceil(size_of::<E>())
}

/// Elements that so many packed blocks take; of more than fits any memory, all there can be.
fn packed_elements<E>(block_bytes: usize, blocks: usize) -> usize {
    let bytes = block_bytes.saturating_mul(blocks);
    elements::<E>(bytes.checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX))
}

/// How a convolution's blocks lie.
#[derive(Debug, Clone, Copy)]
struct Blocks {
    /// Products of a row of the kernel, filled up.
    steps: usize,
    /// Bytes of a block.
    bytes: usize,
    /// How many there are.
    count: usize,
}

impl Blocks {
    fn of<T: Tiles>(shape: &ConvShape) -> Self {
        let steps = shape.run().div_ceil(T::TAPS);
        let step = T::LANES * T::TAPS * size_of::<T::Weight>();
        let weights = (usize::from(shape.kernel.height) * steps).saturating_mul(step);
        Self {
            steps,
            bytes: weights.saturating_add(size_of::<T::Head>()),
            count: shape.channels.div_ceil(T::LANES),
        }
    }

    /// Elements that [`pack`] fills.
    fn packed_len<T: Tiles>(&self) -> usize {
        packed_elements::<T::Element>(self.bytes, self.count)
    }
}

/// See [`super::Kernels::packed_len`].
pub(super) fn packed_len<T: Tiles>(shape: &ConvShape) -> usize {
    match Planes::of::<T>(shape) {
        Some(planes) => planes.packed_len::<T>(shape),
        None => Blocks::of::<T>(shape).packed_len::<T>(),
    }
}

/// Whether a shape's rows are read where they are.
fn in_place<T: Tiles>(shape: &ConvShape) -> bool {
    T::AS_IT_IS && shape.run().is_multiple_of(T::TAPS)
}

/// Inputs of a row in the room. What is read behind the last run is filled up.
fn row_len<T: Tiles>(shape: &ConvShape) -> usize {
    shape
        .columns()
        .saturating_mul(shape.in_channels.into())
        .saturating_add(T::TAPS)
}

/// See [`super::Kernels::conv_room`].
pub(super) fn conv_room<T: Tiles>(shape: &ConvShape) -> usize {
    match Planes::of::<T>(shape) {
        Some(planes) => planes.conv_room::<T>(shape),
        None => rows_room::<T>(shape),
    }
}

/// Elements of room for the rows under the kernel.
fn rows_room<T: Tiles>(shape: &ConvShape) -> usize {
    if in_place::<T>(shape) {
        return 0;
    }
    let bytes = row_len::<T>(shape).saturating_mul(size_of::<T::Input>());
    let bytes = bytes.saturating_mul(shape.kernel.height.into());
    elements::<T::Element>(bytes.saturating_add(align_of::<T::Input>()))
}

/// See [`super::Kernels::pack`].
#[inline(always)]
pub(super) fn pack<T: Tiles>(filter: &Filter<'_, T::Element>, packed: &mut [T::Element]) {
    let shape = &filter.shape;
    let blocks = Blocks::of::<T>(shape);
    let height = usize::from(shape.kernel.height);
    assert!(packed.len() >= packed_len::<T>(shape));
    assert!(packed.as_ptr().cast::<T::Head>().is_aligned());
    // SAFETY: zeros are an element as well as a head and a weight.
    unsafe { ptr::write_bytes(packed.as_mut_ptr(), 0, packed.len()) }
    if let Some(planes) = Planes::of::<T>(shape) {
        return points::pack::<T>(&planes, filter, packed);
    }
    for block in 0..blocks.count {
        // SAFETY: the block lies within `packed`, and is aligned as that is: a head is a whole number of weights.
        let (head, weights) = unsafe {
            let head = packed.as_mut_ptr().cast::<u8>().add(block * blocks.bytes);
            let weights = head.add(size_of::<T::Head>()).cast::<T::Weight>();
            let len = height * blocks.steps * T::LANES * T::TAPS;
            (
                &mut *head.cast::<T::Head>(),
                slice::from_raw_parts_mut(weights, len),
            )
        };
        let first = block * T::LANES;
        for lane in 0..T::LANES.min(shape.channels - first) {
            let channel = first + lane;
            head.set(
                lane,
                &filter.params,
                channel,
                filter.channel(channel),
                T::OFFSET,
            );
            for (kh, row) in weights
                .chunks_exact_mut(blocks.steps * T::LANES * T::TAPS)
                .enumerate()
            {
                let (before, own) = filter.row(channel, kh);
                pack_lane::<T>(before, own, &mut row[lane * T::TAPS..]);
            }
        }
    }
}

/// A run's weights of one channel, behind zeros.
#[inline(always)]
fn pack_lane<T: Tiles>(before: usize, own: &[Stored<T>], places: &mut [T::Weight]) {
    let weight = |&weight| T::weight(T::Element::read(weight));
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

/// See [`super::Kernels::conv_row`].
///
/// ```text
/// for some vectors of channels, for some points:
///     sums = starts; for each row, for TAPS of a run: sums += inputs * weights; out = finish(sums)
/// ```
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
pub(super) unsafe fn conv_row<T: Tiles>(
    row: &ConvRow<'_, T::Element>,
    room: &mut [T::Element],
    out: &mut [T::Element],
) {
    let shape = &row.filter.shape;
    let points = shape.width as usize;
    assert!(points > 0 && out.len() >= (points - 1) * row.out_step + shape.channels);
    if let Some(planes) = Planes::of::<T>(shape) {
        // SAFETY: as promised by the caller.
        return unsafe { points::conv_row::<T>(&planes, row, room, out) };
    }
    let blocks = Blocks::of::<T>(shape);
    assert!(row.packed.len() >= blocks.packed_len::<T>());
    let mut rows = [ptr::null(); MAX_KERNEL];
    let rows = &mut rows[..shape.kernel.height.into()];
    lay_out::<T>(row, room, rows);
    let work = Work::<T> {
        rows,
        step: shape.step(),
        steps: blocks.steps,
        block_bytes: blocks.bytes,
        output: row.filter.output,
        out_step: row.out_step,
    };
    let most = T::POINTS.iter().filter(|&&points| points > 0).count();
    let mut block = 0;
    for vectors in parts(blocks.count, most) {
        let channels = T::LANES * vectors;
        let first = block * T::LANES;
        let last = (shape.channels - first).min(channels) - (vectors - 1) * T::LANES;
        // SAFETY: there are so many blocks, and each is aligned.
        let packed = unsafe { row.packed.as_ptr().cast::<u8>().add(block * blocks.bytes) };
        let mut x = 0;
        for points in parts(points, T::POINTS[vectors - 1]) {
            // SAFETY: the last point's last channel lies within `out`, and its window within the rows.
            unsafe {
                let out = out.as_mut_ptr().add(x * row.out_step + first);
                let place = Place {
                    x,
                    block: packed,
                    out,
                    last,
                };
                of_tile(&work, points, vectors, place);
            }
            x += points;
        }
        block += vectors;
    }
}

/// Adds `steps` * TAPS products to each sum. A point's inputs lie `step` behind those of the one before, a vector's
/// weights `block_bytes`.
///
/// # Safety
/// The processor has the instruction set; inputs and weights lie where the pointers say.
#[inline(always)]
pub(super) unsafe fn accumulate<T: Tiles, const P: usize, const V: usize>(
    sums: &mut [[T::Sums; V]; P],
    mut inputs: *const T::Input,
    step: usize,
    mut weights: *const u8,
    block_bytes: usize,
    steps: usize,
) {
    // SAFETY: as promised by the caller.
    unsafe {
        for _ in 0..steps {
            let mut own = [T::weights(weights.cast()); V];
            for (v, own) in own.iter_mut().enumerate().skip(1) {
                *own = T::weights(weights.add(v * block_bytes).cast());
            }
            for (p, sums) in sums.iter_mut().enumerate() {
                let x = T::inputs(inputs.add(p * step));
                for (sum, &own) in sums.iter_mut().zip(&own) {
                    *sum = T::multiply_add(*sum, x, own);
                }
            }
            inputs = inputs.add(T::TAPS);
            weights = weights.add(T::LANES * T::TAPS * size_of::<T::Weight>());
        }
    }
}

/// Splits a number into as few parts of at most `most` as there can be, none of them small. Without a division, which
/// would take longer than a tile.
#[inline(always)]
fn parts(whole: usize, most: usize) -> impl Iterator<Item = usize> {
    let mut left = whole;
    iter::from_fn(move || {
        let own = match left {
            0 => return None,
            _ if left <= most => left,
            _ if left < 2 * most => left.div_ceil(2),
            _ => most,
        };
        left -= own;
        Some(own)
    })
}

/// Points to the rows under the kernel, in the room where they are not read where they are.
#[inline(always)]
fn lay_out<T: Tiles>(
    row: &ConvRow<'_, T::Element>,
    room: &mut [T::Element],
    rows: &mut [*const T::Input],
) {
    let shape = &row.filter.shape;
    let len = shape.columns() * usize::from(shape.in_channels);
    let room_len = row_len::<T>(shape);
    assert!(room.len() >= rows_room::<T>(shape));
    let start = room.as_mut_ptr().cast::<u8>();
    let place = start.wrapping_add(start.align_offset(align_of::<T::Input>()));
    let place = place.cast::<T::Input>();
    for (i, (pointer, source)) in rows.iter_mut().zip(row.rows).enumerate() {
        let source = &source[..len];
        if in_place::<T>(shape) {
            *pointer = source.as_ptr().cast();
            continue;
        }
        // SAFETY: the room has so many inputs for each row of the kernel, and inputs are integers or floats, so that
        // elements are as good as any.
        let own = unsafe { slice::from_raw_parts_mut(place.add(i * room_len), room_len) };
        for (place, &x) in own.iter_mut().zip(source) {
            *place = T::input(x);
        }
        *pointer = own.as_ptr();
    }
}

/// What all tiles of a row have in common.
struct Work<'a, T: Tiles> {
    rows: &'a [*const T::Input],
    /// Inputs from a window to the next.
    step: usize,
    /// Products of a run.
    steps: usize,
    block_bytes: usize,
    output: Output,
    out_step: usize,
}

/// Where a tile's numbers lie.
struct Place<E> {
    /// The first point.
    x: usize,
    block: *const u8,
    out: *mut E,
    /// How many channels of the last vector are wanted.
    last: usize,
}

/// What is done for each tile.
trait OfTile {
    /// The instruction set.
    type Tiles: Tiles;
    /// Where a tile lies.
    type Place;

    /// Some points by some vectors of channels, or the other way around.
    ///
    /// # Safety
    /// The processor has the instruction set; windows, blocks and results lie where the pointers say.
    unsafe fn tile<const P: usize, const V: usize>(&self, place: Self::Place);
}

/// A tile of a size that the registers have room for.
///
/// # Safety
/// As [`OfTile::tile`].
#[inline(always)]
unsafe fn of_tile<W: OfTile>(work: &W, points: usize, vectors: usize, place: W::Place) {
    macro_rules! tiles {
        ($($vectors:literal: $($points:literal)*;)*) => {
            match (vectors, points) {
                $($(($vectors, $points) if $points <= W::Tiles::POINTS[$vectors - 1] => {
                    // SAFETY: as promised by the caller.
                    unsafe { work.tile::<$points, $vectors>(place) }
                })*)*
                _ => unreachable!("no tile of {points} points and {vectors} vectors"),
            }
        };
    }
    tiles! {
        1: 1 2 3 4 5 6 7 8 9 10 11 12;
        2: 1 2 3 4 5 6 7 8 9 10 11 12;
        3: 1 2 3 4 5 6 7 8;
        4: 1 2 3 4 5 6;
    }
}

impl<T: Tiles> OfTile for Work<'_, T> {
    type Tiles = T;
    type Place = Place<T::Element>;

    #[inline(always)]
    unsafe fn tile<const P: usize, const V: usize>(&self, place: Self::Place) {
        let Place {
            x,
            block,
            out,
            last,
        } = place;
        // SAFETY: as promised by the caller.
        unsafe {
            let head = |v: usize| block.add(v * self.block_bytes).cast::<T::Head>();
            let mut sums = [[T::start(head(0)); V]; P];
            for v in 1..V {
                let start = T::start(head(v));
                for sums in &mut sums {
                    sums[v] = start;
                }
            }
            let mut weights = head(0).add(1).cast::<u8>();
            for &row in self.rows {
                let inputs = row.add(x * self.step);
                accumulate::<T, P, V>(
                    &mut sums,
                    inputs,
                    self.step,
                    weights,
                    self.block_bytes,
                    self.steps,
                );
                weights = weights.add(self.steps * T::LANES * T::TAPS * size_of::<T::Weight>());
            }
            // Loops that unroll, so that the sums stay in registers; and no closures, which would be compiled without the
            // instructions.
            let mut is_quick = true;
            let mut scales = [T::scale(head(0)); V];
            for (v, scale) in scales.iter_mut().enumerate() {
                is_quick &= (*head(v)).is_quick();
                *scale = T::scale(head(v));
            }
            if is_quick {
                for (p, sums) in sums.into_iter().enumerate() {
                    let out = out.add(p * self.out_step);
                    for (v, (sum, scale)) in sums.into_iter().zip(scales).enumerate() {
                        let count = if v + 1 < V { T::LANES } else { last };
                        T::finish(sum, scale, self.output, out.add(v * T::LANES), count);
                    }
                }
            } else {
                let kept = sums;
                self.finish_slowly(&kept, block, out, last);
            }
        }
    }
}

impl<T: Tiles> Work<'_, T> {
    /// # Safety
    /// As [`OfTile::tile`].
    #[cold]
    #[inline(never)]
    unsafe fn finish_slowly<const P: usize, const V: usize>(
        &self,
        sums: &[[T::Sums; V]; P],
        block: *const u8,
        out: *mut T::Element,
        last: usize,
    ) {
        for (p, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let count = if v + 1 < V { T::LANES } else { last };
                // SAFETY: as promised by the caller; the vector is an array of sums.
                unsafe {
                    let head = block.add(v * self.block_bytes).cast::<T::Head>();
                    let sums = slice::from_raw_parts((&raw const *sum).cast(), T::LANES);
                    let out = out.add(p * self.out_step + v * T::LANES);
                    (*head).finish(sums, self.output, slice::from_raw_parts_mut(out, count));
                }
            }
        }
    }
}
