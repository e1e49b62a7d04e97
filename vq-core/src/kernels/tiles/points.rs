//! Convolution with output points in the lanes, for filters of so few channels that most lanes would lie idle.
//!
//! The rows are laid out anew, so that the same TAPS channels of neighbouring points lie behind each other, and the
//! results lie apart by channel before they are put together again:
//!
//! ```text
//! block     := head, weights[height][width][channels / TAPS][TAPS]   of one channel's own kernel
//! workspace := inputs[kernel height][channels / TAPS][columns][TAPS], results[channels][points], row[columns][channels]
//! ```

use super::elements::{Head as _, TilesOf, block_mut, elements, packed_elements};
use super::sums::{Finish, Sums, most_vectors, parts};
use super::tile::{Place, Run, Strides, Tiles, Walk};
use crate::element::Element;
use crate::kernels::{ALIGN, ConvRow, ConvShape, Filter};
use crate::shape::{Kernel, MAX_KERNEL};
use core::ptr;

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
        // By a quarter: nearly as much is not worth the memory.
        let is_less =
            vectors.saturating_mul(by_points + by_points / 4) < width.saturating_mul(by_channels);
        let weights = points(own) * words * T::TAPS * size_of::<T::Number>();
        is_less.then(|| Self {
            words,
            vectors,
            columns: (vectors * T::LANES).saturating_add(usize::from(kernel.width - 1)),
            block_bytes: (size_of::<T::Head>() + weights).next_multiple_of(align_of::<T::Head>()),
        })
    }

    /// See [`Kernels::packed_len`](crate::kernels::Kernels::packed_len).
    pub(super) fn packed_len<E>(&self, shape: &ConvShape) -> usize {
        packed_elements::<E>(self.block_bytes, shape.channels)
    }

    /// Numbers of a row, as far as vectors reach.
    fn row_len<T: Tiles>(&self) -> usize {
        self.words
            .saturating_mul(self.columns)
            .saturating_mul(T::TAPS)
    }

    /// Results of a channel in the workspace: more than vectors reach.
    fn points<T: Tiles>(&self) -> usize {
        (self.vectors * T::LANES).next_multiple_of(TOGETHER)
    }

    /// Elements of workspace for the rows as numbers, and for results.
    fn workspace<T: Tiles, E>(&self, shape: &ConvShape) -> [usize; 2] {
        // One more for a row as it comes.
        let rows = 1 + usize::from(shape.kernel.height);
        let numbers = self.row_len::<T>().saturating_mul(rows);
        let bytes = numbers.saturating_mul(size_of::<T::Number>());
        let results = shape.channels.saturating_mul(self.points::<T>());
        [elements::<E>(bytes.saturating_add(ALIGN)), results]
    }

    /// See [`Kernels::conv_workspace`](crate::kernels::Kernels::conv_workspace).
    pub(super) fn conv_workspace<T: Tiles, E>(&self, shape: &ConvShape) -> usize {
        let [numbers, results] = self.workspace::<T, E>(shape);
        numbers.saturating_add(results)
    }
}

/// See [`super::pack`]; `packed` consists of zeros.
#[inline(always)]
pub(super) fn pack<T: TilesOf<E>, E: Element>(
    planes: &Planes,
    filter: &Filter<'_, E>,
    packed: &mut [u8],
) {
    let channels = usize::from(filter.shape.in_channels);
    let blocks = packed.chunks_exact_mut(planes.block_bytes);
    for (channel, block) in blocks.take(filter.shape.channels).enumerate() {
        let own = filter.channel(channel);
        let (head, weights) = block_mut::<T>(block);
        for lane in 0..T::LANES {
            head.set(lane, &filter.params, channel, own, T::OFFSET);
        }
        let places = weights.chunks_exact_mut(planes.words * T::TAPS);
        for (places, own) in places.zip(own.chunks_exact(channels)) {
            for (place, &weight) in places.iter_mut().zip(own) {
                *place = T::weight(E::read(weight));
            }
        }
    }
}

/// See [`super::conv_row`].
///
/// ```text
/// lay out the rows: inputs[kh][word][x][tap] = row[kh][x][word * TAPS + tap]
/// for some vectors of points, for some channels:
///     sums = starts
///     for each kh, kw of the channels' own kernel, for each word:
///         sums[c] += inputs[kh][word][x + kw..] * weights[c][kh][kw][word]
///     results[c][x..] = finish(sums[c])
/// put back the results: out[x][c] = results[c][x]
/// ```
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
pub(super) unsafe fn conv_row<T: TilesOf<E>, E: Element>(
    planes: &Planes,
    row: &ConvRow<'_, E>,
    workspace: &mut [E],
    out: &mut [E],
) {
    let shape = &row.filter.shape;
    let [numbers, results_len] = planes.workspace::<T, E>(shape);
    let (numbers, results) = workspace.split_at_mut(numbers);
    let results = &mut results[..results_len];
    let bytes = bytemuck::cast_slice_mut::<E, u8>(numbers);
    let first = bytes.as_ptr().align_offset(ALIGN);
    let row_len = planes.row_len::<T>();
    let height = usize::from(shape.kernel.height);
    let bytes = &mut bytes[first..][..(height + 1) * row_len * size_of::<T::Number>()];
    let (inputs, own) = bytemuck::cast_slice_mut(bytes).split_at_mut(height * row_len);
    // SAFETY: the caller guarantees that the processor has the instruction set.
    unsafe { lay_out_rows::<T, E>(planes, row, own, inputs) }

    let mut sums = Sums::<T>::new();
    let like = shape.channels / if shape.phases { 4 } else { 1 };
    let mut first = 0;
    while first < shape.channels {
        // These have their kernels in the same place.
        let phase = Phase {
            planes,
            first,
            like,
        };
        // SAFETY: the caller guarantees that the processor has the instruction set.
        unsafe { phase.convolve::<T, E>(row, inputs, &mut sums, results) }
        first += like;
    }
    put_back(results, planes.points::<T>(), shape, row.out_step, out);
}

/// Brings the rows under the kernel into the order of the tiles; `own` is room for one of them as numbers.
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn lay_out_rows<T: TilesOf<E>, E: Element>(
    planes: &Planes,
    row: &ConvRow<'_, E>,
    own: &mut [T::Number],
    inputs: &mut [T::Number],
) {
    let columns = row.filter.shape.columns();
    let len = columns * usize::from(row.filter.shape.in_channels);
    let places = inputs.chunks_exact_mut(planes.row_len::<T>());
    for (places, source) in places.zip(row.rows) {
        let source = &source[..len];
        let numbers = if T::AS_IT_IS {
            bytemuck::cast_slice(source)
        } else {
            let own = &mut own[..len];
            for (place, &x) in own.iter_mut().zip(source) {
                *place = T::activation(x);
            }
            own
        };
        // SAFETY: the caller guarantees that the processor has the instruction set.
        unsafe { lay_out::<T>(planes, columns, numbers, places) }
    }
}

/// Channels whose own kernels lie in the same place of the shape's kernel.
struct Phase<'a> {
    planes: &'a Planes,
    first: usize,
    like: usize,
}

impl Phase<'_> {
    /// Convolves all points.
    ///
    /// # Safety
    /// The processor has the instruction set.
    #[inline(always)]
    unsafe fn convolve<T: TilesOf<E>, E: Element>(
        &self,
        row: &ConvRow<'_, E>,
        inputs: &[T::Number],
        sums: &mut Sums<T>,
        results: &mut [E],
    ) {
        let Self { planes, .. } = *self;
        let packed = bytemuck::cast_slice::<E, u8>(row.packed);
        assert!(packed.len() >= row.filter.shape.channels * planes.block_bytes);
        let heads = packed.as_ptr().cast::<T::Head>();
        assert!(heads.is_aligned() && planes.block_bytes.is_multiple_of(align_of::<T::Head>()));
        let own = row.filter.shape.own_kernel();
        let (py, px) = row.filter.shape.corner(self.first);
        let none = Run {
            vectors: ptr::null(),
            splats: ptr::null(),
        };
        let mut runs = [none; MAX_KERNEL * MAX_KERNEL];
        let runs = &mut runs[..usize::from(own.height) * usize::from(own.width)];
        let weights = heads.wrapping_add(1).cast::<T::Number>();
        for (i, run) in runs.iter_mut().enumerate() {
            let (kh, kw) = (i / usize::from(own.width), i % usize::from(own.width));
            let window = (kh + py) * planes.row_len::<T>() + (kw + px) * T::TAPS;
            run.vectors = inputs[window..].as_ptr();
            run.splats = weights.wrapping_add(i * planes.words * T::TAPS);
        }
        let block = planes.block_bytes / size_of::<T::Number>();
        let walk = Walk {
            runs,
            steps: planes.words,
            strides: Strides {
                step: planes.columns * T::TAPS,
                vectors: T::LANES * T::TAPS,
                splats: Strides::every(block),
            },
            vector_heads: 0,
            splat_heads: planes.block_bytes,
        };
        let apart = planes.points::<T>();
        let results = &mut results[..row.filter.shape.channels * apart];
        let mut vector = 0;
        for vectors in parts(planes.vectors, most_vectors::<T>()) {
            let mut channel = self.first;
            for count in parts(self.like, T::SPLATS[vectors - 1]) {
                let place = Place {
                    head: heads.wrapping_byte_add(channel * planes.block_bytes),
                    vectors: vector * walk.strides.vectors,
                    splats: channel * block,
                };
                // SAFETY: there are so many channels, each with an aligned head and the weights of all runs; and the
                // inputs of a row, and the results of a channel, are as many as all vectors reach.
                unsafe {
                    if const { T::IS_SYMMETRIC } {
                        sums.compute::<false>(&walk, place, count, vectors);
                    } else {
                        sums.compute::<true>(&walk, place, count, vectors);
                    }
                    for c in 0..count {
                        let at = (channel + c) * apart + vector * T::LANES;
                        let finish = Finish {
                            first: c * vectors,
                            step: 1,
                            count: vectors,
                            out: results.as_mut_ptr().add(at),
                            out_step: T::LANES,
                            lanes: T::LANES,
                        };
                        let head = &*place.head.byte_add(c * planes.block_bytes);
                        sums.finish(head, row.filter.output, &finish);
                    }
                }
                channel += count;
            }
            vector += vectors;
        }
    }
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
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn lay_out<T: Tiles>(
    planes: &Planes,
    columns: usize,
    row: &[T::Number],
    places: &mut [T::Number],
) {
    let (words, apart) = (planes.words, planes.columns);
    assert!(columns <= apart && columns * words * T::TAPS <= row.len());
    assert!(places.len() >= words * apart * T::TAPS);
    if T::TAPS * size_of::<T::Number>() == size_of::<u32>() && columns.min(words) >= BLOCK {
        let (from, to) = (
            row.as_ptr().cast::<u32>(),
            places.as_mut_ptr().cast::<u32>(),
        );
        for x in blocks(columns) {
            for word in blocks(words) {
                // SAFETY: the row has so many columns of so many words of four bytes, and so many places are there; the
                // caller guarantees that the processor has the instruction set.
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
