//! Tiles the other way around: points in the lanes, for filters of so few channels that most lanes would lie idle.
//!
//! The rows are laid out anew, so that the same TAPS channels of neighbouring points lie behind each other, and the
//! results lie apart by channel before they are put together again:
//!
//! ```text
//! block := head, weights[height][width][channels / TAPS][TAPS]   of one channel's own kernel
//! room  := inputs[kernel height][channels / TAPS][columns][TAPS], results[channels][points], row[columns][channels]
//! ```

use super::{Head as _, OfTile, Tiles, elements, of_tile, packed_elements, parts};
use crate::element::{Arithmetic, Output};
use crate::kernels::{ALIGN, ConvRow, ConvShape, Filter};
use crate::shape::Kernel;
use core::slice;

/// What laying out a word of one row costs for a vector of points, in products of vectors; as measured.
const LAY_OUT: usize = 5;
/// Words and columns that are turned together.
const BLOCK: usize = 4;
/// Points whose results are put together at once.
const TOGETHER: usize = 16;
/// What putting back the results of a channel costs.
const PUT_BACK: usize = 8;

/// How the numbers of a shape lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planes {
    /// Groups of TAPS channels of the input.
    words: usize,
    /// Vectors of points.
    vectors: usize,
    /// Columns of a group of channels, as far as vectors reach.
    columns: usize,
    /// Bytes of a block.
    block_bytes: usize,
}

impl Planes {
    /// None where the shape is less work with channels in the lanes.
    #[inline(always)]
    pub(super) fn of<T: Tiles>(shape: &ConvShape) -> Option<Self> {
        let points = |kernel: Kernel| usize::from(kernel.height) * usize::from(kernel.width);
        let (kernel, own) = (shape.kernel, shape.own_kernel());
        let (width, channels) = (shape.width as usize, shape.channels);
        let is_whole = usize::from(shape.in_channels).is_multiple_of(T::TAPS);
        let are_in_use = 5 * channels >= 4 * channels.next_multiple_of(T::LANES);
        if shape.stride != 1 || !is_whole || are_in_use && !shape.phases {
            return None;
        }
        let words = usize::from(shape.in_channels) / T::TAPS;
        let vectors = width.div_ceil(T::LANES);

        let turned = usize::from(kernel.height) * words * LAY_OUT + channels * PUT_BACK;
        let by_points = channels * words * points(own) + turned;
        let by_channels = channels.div_ceil(T::LANES) * words * points(kernel);
        // By a quarter: nearly as much is not worth the room.
        let is_less =
            vectors.saturating_mul(by_points + by_points / 4) < width.saturating_mul(by_channels);
        let weights = points(own) * words * T::TAPS * size_of::<T::Weight>();
        is_less.then(|| Self {
            words,
            vectors,
            columns: (vectors * T::LANES).saturating_add(usize::from(kernel.width - 1)),
            block_bytes: (size_of::<T::Head>() + weights).next_multiple_of(align_of::<T::Head>()),
        })
    }

    /// See [`Kernels::packed_len`](crate::kernels::Kernels::packed_len).
    pub(super) fn packed_len<T: Tiles>(&self, shape: &ConvShape) -> usize {
        packed_elements::<T::Element>(self.block_bytes, shape.channels)
    }

    /// Inputs of a row, as vectors reach.
    fn row_len<T: Tiles>(&self) -> usize {
        self.words
            .saturating_mul(self.columns)
            .saturating_mul(T::TAPS)
    }

    /// Results of a channel in the room: more than vectors reach.
    fn points<T: Tiles>(&self) -> usize {
        (self.vectors * T::LANES).next_multiple_of(TOGETHER)
    }

    /// Elements of room for inputs, and for results.
    fn room<T: Tiles>(&self, shape: &ConvShape) -> [usize; 2] {
        // One more for a row as it comes.
        let rows = 1 + usize::from(shape.kernel.height);
        let inputs = self.row_len::<T>().saturating_mul(rows);
        let bytes = inputs.saturating_mul(size_of::<T::Input>());
        let results = shape.channels.saturating_mul(self.points::<T>());
        [elements::<T::Element>(bytes.saturating_add(ALIGN)), results]
    }

    /// See [`Kernels::conv_room`](crate::kernels::Kernels::conv_room).
    pub(super) fn conv_room<T: Tiles>(&self, shape: &ConvShape) -> usize {
        let [inputs, results] = self.room::<T>(shape);
        inputs.saturating_add(results)
    }
}

/// See [`super::pack`]; `packed` consists of zeros.
#[inline(always)]
pub(super) fn pack<T: Tiles>(
    planes: &Planes,
    filter: &Filter<'_, T::Element>,
    packed: &mut [T::Element],
) {
    let channels = usize::from(filter.shape.in_channels);
    for channel in 0..filter.shape.channels {
        let own = filter.channel(channel);
        // SAFETY: the block lies within `packed`, and is aligned as that is: its bytes are a multiple of the head's alignment.
        let (head, weights) = unsafe {
            let block = packed
                .as_mut_ptr()
                .cast::<u8>()
                .add(channel * planes.block_bytes);
            let weights = block.add(size_of::<T::Head>()).cast::<T::Weight>();
            let len = own.len() / channels * planes.words * T::TAPS;
            (
                &mut *block.cast::<T::Head>(),
                slice::from_raw_parts_mut(weights, len),
            )
        };
        for lane in 0..T::LANES {
            head.set(lane, &filter.params, channel, own, T::OFFSET);
        }
        let places = weights.chunks_exact_mut(planes.words * T::TAPS);
        for (places, own) in places.zip(own.chunks_exact(channels)) {
            for (place, &weight) in places.iter_mut().zip(own) {
                *place = T::weight(T::Element::read(weight));
            }
        }
    }
}

/// See [`super::conv_row`].
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
pub(super) unsafe fn conv_row<T: Tiles>(
    planes: &Planes,
    row: &ConvRow<'_, T::Element>,
    room: &mut [T::Element],
    out: &mut [T::Element],
) {
    let shape = &row.filter.shape;
    assert!(row.packed.len() >= planes.packed_len::<T>(shape));
    assert!(room.len() >= planes.conv_room::<T>(shape));
    let (inputs, results) = room.split_at_mut(planes.room::<T>(shape)[0]);
    let start = inputs.as_mut_ptr().cast::<u8>();
    let inputs = start
        .wrapping_add(start.align_offset(ALIGN))
        .cast::<T::Input>();
    let (row_len, height) = (planes.row_len::<T>(), usize::from(shape.kernel.height));
    let columns = shape.columns();
    let len = columns * usize::from(shape.in_channels);
    for (kh, source) in row.rows.iter().enumerate().take(height) {
        let source = &source[..len];
        // SAFETY: the room has so many inputs for each row of the kernel and for one more; inputs are integers or floats,
        // so that elements are as good as any.
        let (own, converted) = unsafe {
            (
                slice::from_raw_parts_mut(inputs.add(kh * row_len), row_len),
                slice::from_raw_parts_mut(inputs.add(height * row_len), len),
            )
        };
        if T::AS_IT_IS {
            // SAFETY: elements are inputs.
            let inputs = unsafe { slice::from_raw_parts(source.as_ptr().cast(), len) };
            lay_out::<T>(planes, columns, inputs, own);
            continue;
        }
        for (place, &x) in converted.iter_mut().zip(source) {
            *place = T::input(x);
        }
        lay_out::<T>(planes, columns, converted, own);
    }
    let work = Work::<T> {
        planes,
        kernel: shape.own_kernel(),
        inputs,
        packed: row.packed.as_ptr().cast(),
        output: row.filter.output,
    };
    let most = T::POINTS.iter().filter(|&&points| points > 0).count();
    // Channels whose weights lie in the same place.
    let like = shape.channels / if shape.phases { 4 } else { 1 };
    let mut vector = 0;
    for vectors in parts(planes.vectors, most) {
        let mut channel = 0;
        while channel < shape.channels {
            for count in parts(like, T::POINTS[vectors - 1]) {
                let place = Place {
                    channel,
                    corner: shape.corner(channel),
                    x: vector * T::LANES,
                    results: results.as_mut_ptr(),
                };
                // SAFETY: there are so many channels and vectors.
                unsafe { of_tile(&work, count, vectors, place) }
                channel += count;
            }
        }
        vector += vectors;
    }
    put_back(results, planes.points::<T>(), shape, row.out_step, out);
}

/// Puts the results of all channels, `apart` from channel to channel, together by points.
#[inline(always)]
fn put_back<E: Copy + Default>(
    results: &[E],
    apart: usize,
    shape: &ConvShape,
    out_step: usize,
    out: &mut [E],
) {
    let points = shape.width as usize;
    let mut fours = results[..shape.channels * apart].chunks_exact(4 * apart);
    let mut channel = 0;
    for own in fours.by_ref() {
        let (own, _) = own.as_chunks::<TOGETHER>();
        let (a, rest) = own.split_at(apart / TOGETHER);
        let (b, rest) = rest.split_at(a.len());
        let (c, d) = rest.split_at(a.len());
        let mut places = out[channel..].chunks_mut(out_step).take(points);
        for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
            let mut together = [[E::default(); 4]; TOGETHER];
            for (i, point) in together.iter_mut().enumerate() {
                *point = [a[i], b[i], c[i], d[i]];
            }
            for (point, place) in together.iter().zip(places.by_ref()) {
                place[..4].copy_from_slice(point);
            }
        }
        channel += 4;
    }
    for own in fours.remainder().chunks_exact(apart) {
        let places = out[channel..].iter_mut().step_by(out_step);
        for (place, &result) in places.zip(&own[..points]) {
            *place = result;
        }
        channel += 1;
    }
}

/// Puts the words of all columns behind each other.
#[inline(always)]
fn lay_out<T: Tiles>(planes: &Planes, columns: usize, row: &[T::Input], places: &mut [T::Input]) {
    let (words, apart) = (planes.words, planes.columns);
    assert!(columns <= apart && columns * words * T::TAPS <= row.len());
    assert!(places.len() >= words * apart * T::TAPS);
    if T::TAPS * size_of::<T::Input>() == size_of::<u32>() && columns.min(words) >= BLOCK {
        let (from, to) = (
            row.as_ptr().cast::<u32>(),
            places.as_mut_ptr().cast::<u32>(),
        );
        for x in blocks(columns) {
            for word in blocks(words) {
                // SAFETY: rows have so many columns of so many words of four bytes, and so many places are there.
                unsafe {
                    let mut block = [[0; BLOCK]; BLOCK];
                    for (i, own) in block.iter_mut().enumerate() {
                        *own = from
                            .add((x + i) * words + word)
                            .cast::<[u32; BLOCK]>()
                            .read_unaligned();
                    }
                    for (i, own) in T::transposed(block).into_iter().enumerate() {
                        to.add((word + i) * apart + x)
                            .cast::<[u32; BLOCK]>()
                            .write_unaligned(own);
                    }
                }
            }
        }
        return;
    }
    for (x, column) in row.chunks_exact(words * T::TAPS).enumerate() {
        for (word, own) in column.chunks_exact(T::TAPS).enumerate() {
            places[(word * apart + x) * T::TAPS..][..T::TAPS].copy_from_slice(own);
        }
    }
}

/// Where blocks start that cover so many; the last two may overlap.
#[inline(always)]
fn blocks(count: usize) -> impl Iterator<Item = usize> {
    (0..count)
        .step_by(BLOCK)
        .map(move |first| first.min(count - BLOCK))
}

/// What all tiles of a row have in common.
struct Work<'a, T: Tiles> {
    planes: &'a Planes,
    /// A channel's own.
    kernel: Kernel,
    inputs: *const T::Input,
    packed: *const u8,
    output: Output,
}

/// Where a tile lies.
#[derive(Debug, Clone, Copy)]
struct Place<E> {
    /// The first channel.
    channel: usize,
    /// Where its kernel lies.
    corner: (usize, usize),
    /// The first point.
    x: usize,
    results: *mut E,
}

impl<T: Tiles> OfTile for Work<'_, T> {
    type Tiles = T;
    type Place = Place<T::Element>;

    /// Some channels by some vectors of points.
    #[inline(always)]
    unsafe fn tile<const C: usize, const V: usize>(&self, place: Self::Place) {
        let Self { planes, kernel, .. } = *self;
        // SAFETY: windows, blocks and results lie where the pointers say.
        unsafe {
            let block = self.packed.add(place.channel * planes.block_bytes);
            let head = |c: usize| block.add(c * planes.block_bytes).cast::<T::Head>();
            // Each element on its own: the sums are to stay in registers.
            let mut sums = [[T::start(head(0)); V]; C];
            for (c, sums) in sums.iter_mut().enumerate() {
                let start = T::start(head(c));
                for sum in sums {
                    *sum = start;
                }
            }
            let mut weights = head(0).add(1).cast::<T::Weight>();
            let (py, px) = place.corner;
            for kh in 0..usize::from(kernel.height) {
                let row = self.inputs.add((kh + py) * planes.row_len::<T>());
                for kw in 0..usize::from(kernel.width) {
                    let inputs = row.add((place.x + kw + px) * T::TAPS);
                    self.accumulate::<C, V>(&mut sums, inputs, weights);
                    weights = weights.add(planes.words * T::TAPS);
                }
            }
            let apart = planes.points::<T>();
            let out = place.results.add(place.channel * apart + place.x);
            let mut is_quick = true;
            for c in 0..C {
                is_quick &= (*head(c)).is_quick();
            }
            if is_quick {
                for (c, sums) in sums.into_iter().enumerate() {
                    let scale = T::scale(head(c));
                    for (v, sum) in sums.into_iter().enumerate() {
                        let out = out.add(c * apart + v * T::LANES);
                        T::finish(sum, scale, self.output, out, T::LANES);
                    }
                }
            } else {
                let kept = sums;
                self.finish_slowly(&kept, block, out);
            }
        }
    }
}

impl<T: Tiles> Work<'_, T> {
    /// Adds the products of one point of the kernel.
    ///
    /// # Safety
    /// As [`OfTile::tile`].
    #[inline(always)]
    unsafe fn accumulate<const C: usize, const V: usize>(
        &self,
        sums: &mut [[T::Sums; V]; C],
        mut inputs: *const T::Input,
        mut weights: *const T::Weight,
    ) {
        let Planes {
            words,
            columns,
            block_bytes,
            ..
        } = *self.planes;
        // SAFETY: as promised by the caller.
        unsafe {
            for _ in 0..words {
                let mut own = [T::weights(inputs.cast()); V];
                for (v, own) in own.iter_mut().enumerate().skip(1) {
                    *own = T::weights(inputs.add(v * T::LANES * T::TAPS).cast());
                }
                for (c, sums) in sums.iter_mut().enumerate() {
                    let weights = T::inputs(weights.byte_add(c * block_bytes).cast());
                    for (sum, &own) in sums.iter_mut().zip(&own) {
                        *sum = T::multiply_add_points(*sum, own, weights);
                    }
                }
                inputs = inputs.add(columns * T::TAPS);
                weights = weights.add(T::TAPS);
            }
        }
    }

    /// # Safety
    /// As [`OfTile::tile`].
    #[cold]
    #[inline(never)]
    unsafe fn finish_slowly<const C: usize, const V: usize>(
        &self,
        sums: &[[T::Sums; V]; C],
        block: *const u8,
        out: *mut T::Element,
    ) {
        for (c, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                // SAFETY: as promised by the caller; the vector is an array of sums.
                unsafe {
                    let head = block.add(c * self.planes.block_bytes).cast::<T::Head>();
                    let sums = slice::from_raw_parts((&raw const *sum).cast(), T::LANES);
                    let out = out.add(c * self.planes.points::<T>() + v * T::LANES);
                    (*head).finish(sums, self.output, slice::from_raw_parts_mut(out, T::LANES));
                }
            }
        }
    }
}
