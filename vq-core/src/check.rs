//! Compares the backends' kernels with the reference, on drawn shapes and numbers. For tests, on the host and on
//! the device; see the feature `check-kernels`.

mod drawn;
mod rows;
mod search;
mod whole_map;

use crate::element::AddScale;
use crate::kernels::{AddRow, Backend, ConvRow, ConvShape, Filter};
use crate::shape::{Kernel, MAX_KERNEL};
use crate::tensor::{Params, Quant, Rescale};
use core::fmt;

pub use drawn::{Drawn, Random};
pub use rows::single_rows;
pub use search::searches;
pub use whole_map::whole_maps;

/// A kernel has given another number than the reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mismatch {
    /// Which draw it was.
    pub draw: u32,
    /// Where in the row.
    pub index: usize,
    /// What the kernel has given.
    pub found: f32,
    /// What the reference gives.
    pub expected: f32,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            draw,
            index,
            found,
            expected,
        } = self;
        write!(
            f,
            "draw {draw}: element {index} is {found} instead of {expected}"
        )
    }
}

impl core::error::Error for Mismatch {}

/// Elements of all rows under a kernel. Miri, which interprets, is a thousand times slower than a processor.
const ROWS: usize = if cfg!(miri) { 1 << 8 } else { 1 << 13 };
/// Bytes of weights.
const WEIGHTS: usize = ROWS;
/// Bytes of a codebook.
const ENTRIES: usize = if cfg!(miri) {
    1 << 11
} else if cfg!(target_os = "none") {
    1 << 13
} else {
    1 << 16
};
/// Elements of room.
const ROOM: usize = 1 << 16;
/// Elements of packed weights; devices read them as they are.
const PACKED: usize = if cfg!(target_os = "none") { 0 } else { 1 << 18 };
/// Elements of a row of results.
const OUT: usize = 1 << 10;
/// Channels of a row of results.
const CHANNELS: usize = 80;
/// Memory for the drawn rows.
#[derive(Debug)]
pub struct Memory<E> {
    rows: [E; ROWS],
    weights: [u8; WEIGHTS],
    entries: [u8; ENTRIES],
    params: [u8; 9 * CHANNELS],
    room: [E; ROOM],
    packed: Aligned<[E; PACKED]>,
    out: [E; OUT],
}

/// As packed weights are in a scratch.
#[derive(Debug)]
#[repr(align(64))]
struct Aligned<T>(T);

impl<E: Copy> Memory<E> {
    /// All of it zeros, as at power-on.
    pub const fn new(zero: E) -> Self {
        Self {
            rows: [zero; ROWS],
            weights: [0; WEIGHTS],
            entries: [0; ENTRIES],
            params: [0; 9 * CHANNELS],
            room: [zero; ROOM],
            packed: Aligned([zero; PACKED]),
            out: [zero; OUT],
        }
    }
}

impl Memory<i8> {
    /// For a device's static.
    pub const NEW: Self = Self::new(0);
}

/// Draws `count` rows of convolutions, from seeds `seed` on, and compares each result.
///
/// # Errors
/// The first difference.
pub fn convolutions<E: Drawn>(
    backend: Backend,
    seed: u32,
    count: u32,
    memory: &mut Memory<E>,
) -> Result<(), Mismatch> {
    (0..count).try_for_each(|i| convolution(backend, seed.wrapping_add(i), memory))
}

/// Draws `count` additions, from seeds `seed` on, and compares each result.
///
/// # Errors
/// The first difference.
pub fn additions<E: Drawn>(
    backend: Backend,
    seed: u32,
    count: u32,
    memory: &mut Memory<E>,
) -> Result<(), Mismatch> {
    (0..count).try_for_each(|i| addition(backend, seed.wrapping_add(i), memory))
}

fn addition<E: Drawn>(backend: Backend, draw: u32, memory: &mut Memory<E>) -> Result<(), Mismatch> {
    let mut random = Random(u64::from(draw));
    let extreme = random.below(4) == 0;
    memory.rows.fill_with(|| E::draw(&mut random, extreme));
    memory.out.fill(E::UNTOUCHED);
    let len = random.below(100) as usize;
    let (a, b) = memory.rows.split_at(ROWS / 2);
    // Exporters write factors below 2^21; the format allows any.
    let (factors, shift) = match random.below(3) {
        0 => (random.between(0, i32::MAX as u32), random.between(1, 62)),
        1 => ((1 << 21) - 1, random.between(16, 22)),
        _ => (1 << 30, random.between(27, 35)),
    };
    let row = AddRow {
        b: &b[random.below(4) as usize..][..len],
        scale: AddScale {
            zero_a: random.pick(&[0, -128, 3, 127]),
            zero_b: random.pick(&[0, -128, -9, 127]),
            rescale: Rescale {
                input: random.between(0, factors) as i32,
                skip: random.between(0, factors) as i32,
                shift: shift as u8,
            },
            output: random.output(),
        },
    };
    memory.out[..len].copy_from_slice(&a[..len]);
    (E::kernels(backend).add_row)(&row, &mut memory.out[..len]);
    let expected = |index: usize| match a[..len].get(index).zip(row.b.get(index)) {
        Some((&a, &b)) => E::add(a, b, &row.scale),
        None => E::UNTOUCHED,
    };
    compare(draw, &memory.out, expected)?;
    #[cfg(test)]
    compare(
        draw,
        &tests::added_apart(backend, &row, &a[..len]),
        expected,
    )?;
    Ok(())
}

fn convolution<E: Drawn>(
    backend: Backend,
    draw: u32,
    memory: &mut Memory<E>,
) -> Result<(), Mismatch> {
    let mut random = Random(u64::from(draw));
    let weight_bytes = E::DTYPE.size();
    let Row {
        mut shape,
        out_step,
        first,
    } = Row::new(&mut random, WEIGHTS / weight_bytes);
    let channels = shape.channels;
    let extreme = random.below(4) == 0;
    let height = usize::from(shape.kernel.height);
    let row_len = shape.columns() * usize::from(shape.in_channels);
    memory.rows[..height * row_len].fill_with(|| E::draw(&mut random, extreme));
    let weights = memory.weights.chunks_exact_mut(weight_bytes);
    for weight in weights.take(channels * height * shape.run()) {
        E::draw_weight(&mut random, extreme, weight);
    }
    E::draw_params(&mut random, &mut memory.params, channels);
    memory.out.fill(E::UNTOUCHED);

    let kernels = E::kernels(backend);
    // Only kernels that gather are asked to add columns of padding and to cut rows off.
    let im2col = kernels.im2col && random.below(2) == 0;
    let [left, right] = [0; 2].map(|_| {
        let most = u32::from(im2col) * (u32::from(shape.kernel.width) - 1);
        (random.between(0, most) as usize).min((shape.columns() - 1) / 2)
    });
    let held = (shape.columns() - left - right) * usize::from(shape.in_channels);
    let mut rows = [&memory.rows[..]; MAX_KERNEL];
    for (row, part) in rows.iter_mut().zip(memory.rows.chunks_exact(row_len)) {
        *row = &part[..held];
    }
    // Only kernels with lanes are asked for phases.
    let threes = shape.kernel.height == 3 && shape.kernel.width == 3 && shape.stride == 1;
    let fours = kernels.lanes > 1 && threes && channels.is_multiple_of(4);
    shape.phases = fours && random.below(2) == 0;
    let own = shape.own_kernel();
    let points = usize::from(own.height) * usize::from(own.width);
    let taps = points * usize::from(shape.in_channels);
    let params = Params::len(E::DTYPE, channels as u64) as usize;
    let filter = Filter {
        shape,
        weights: E::stored(&memory.weights[..channels * taps * weight_bytes]),
        params: Params::split(&memory.params[..params], E::DTYPE, channels),
        output: random.output(),
    };
    let packed = &mut memory.packed.0[..(kernels.packed_len)(&shape)];
    (kernels.pack)(&filter, packed);
    let row = ConvRow {
        filter,
        packed,
        rows: &rows[..height],
        left,
        zero: E::zero(random.pick(&[-128, 0, 3, 127])),
        cut: im2col && random.below(2) == 0,
        out_step,
    };
    let len = first + (shape.width as usize - 1) * out_step + channels;
    let start = random.below(4) as usize;
    let room = &mut memory.room[start..][..(kernels.conv_workspace)(&shape)];
    (kernels.conv_row)(&row, room, &mut memory.out[first..len]);

    let expected = |index: usize| {
        let point = index.checked_sub(first).filter(|_| index < len);
        let place = point.map(|at| (at / out_step, at % out_step));
        match place {
            Some((x, channel)) if channel < channels => row.element(x, channel),
            _ => E::UNTOUCHED,
        }
    };
    compare(draw, &memory.out, expected)?;
    #[cfg(test)]
    if !cfg!(miri) {
        let found = tests::apart(kernels, &row, start);
        compare(draw, &found, |index| expected(first + index))?;
    }
    Ok(())
}

fn compare<E: Drawn>(
    draw: u32,
    found: &[E],
    expected: impl Fn(usize) -> E,
) -> Result<(), Mismatch> {
    for (index, &found) in found.iter().enumerate() {
        let expected = expected(index);
        if found != expected {
            return Err(Mismatch {
                draw,
                index,
                found: found.real(Quant::UNIT),
                expected: expected.real(Quant::UNIT),
            });
        }
    }
    Ok(())
}

/// A row's shape.
struct Row {
    shape: ConvShape,
    out_step: usize,
    /// Where the first result lies.
    first: usize,
}

impl Row {
    /// Of those that fit into the memory.
    fn new(random: &mut Random, most_weights: usize) -> Self {
        loop {
            let side = |random: &mut Random| random.pick(&[1, 2, 3, 3, 4, 5, MAX_KERNEL as u8]);
            let (height, width) = (side(random), side(random));
            let in_channels = match random.below(3) {
                0 => 4 * random.between(1, 20),
                _ => random.between(1, 40),
            };
            let most = random.pick(&[12, CHANNELS as u32]);
            let channels = random.between(1, most) as usize;
            let most = random.pick(&[30, 30, 80]);
            let shape = ConvShape {
                kernel: Kernel { height, width },
                stride: random.between(1, height.min(width).into()) as u8,
                in_channels: in_channels as u16,
                channels,
                width: random.between(1, most),
                phases: false,
            };
            let out_step = channels * random.pick(&[1, 2]);
            let first = random.below(out_step as u32 - channels as u32 + 1) as usize;
            let numbers = shape.columns() * usize::from(shape.in_channels) * usize::from(height);
            let weights = usize::from(height) * shape.run() * channels;
            if numbers <= ROWS && weights <= most_weights && out_step * shape.width as usize <= OUT
            {
                return Self {
                    shape,
                    out_step,
                    first,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;

    #[cfg(any(feature = "f16", feature = "f32"))]
    use crate::element::Real;
    use crate::kernels::{ALIGN, EMULATED, Kernels};
    use std::boxed::Box;
    use std::vec;
    use std::vec::Vec;

    /// Convolves once more, each slice in memory of its own that ends where the slice does (or, of weights, within a cache
    /// line): what reads beyond has other numbers there, and is seen by AddressSanitizer and valgrind. Miri sees it anyway.
    pub(super) fn apart<E: Drawn>(
        kernels: &Kernels<E>,
        row: &ConvRow<'_, E>,
        start: usize,
    ) -> Vec<E> {
        let shape = &row.filter.shape;
        let rows: Vec<_> = row.rows.iter().map(|row| row.to_vec()).collect();
        let rows: Vec<_> = rows.iter().map(|row| &row[..]).collect();
        let mut packed = vec![E::UNTOUCHED; row.packed.len() + ALIGN / size_of::<E>()];
        let aligned = packed.as_ptr().align_offset(ALIGN);
        let packed = &mut packed[aligned..][..row.packed.len()];
        packed.copy_from_slice(row.packed);
        let own = ConvRow {
            packed,
            rows: &rows,
            ..*row
        };
        let mut room = vec![E::UNTOUCHED; start + (kernels.conv_workspace)(shape)];
        let points = shape.width as usize;
        let mut out = vec![E::UNTOUCHED; (points - 1) * row.out_step + shape.channels];
        (kernels.conv_row)(&own, &mut room[start..], &mut out);
        out
    }

    /// Adds once more, each slice in memory of its own.
    pub(super) fn added_apart<E: Drawn>(backend: Backend, row: &AddRow<'_, E>, a: &[E]) -> Vec<E> {
        let (b, mut sum) = (row.b.to_vec(), a.to_vec());
        let own = AddRow {
            b: &b,
            scale: row.scale,
        };
        (E::kernels(backend).add_row)(&own, &mut sum);
        sum
    }

    /// Of so many draws, as many as a slow tool has time for: `VQ_FEWER=50` takes one in fifty.
    fn draws(all: u32) -> u32 {
        let fewer = std::env::var("VQ_FEWER").map_or(1, |n| n.parse().expect("a number"));
        (all / fewer).max(1)
    }

    /// The backends that this build has kernels of.
    fn built() -> impl Iterator<Item = Backend> {
        let all = Backend::ALL.into_iter();
        all.filter(|backend| backend.is_native() || EMULATED)
    }

    /// In memory that lies on no stack.
    fn check<E: Drawn>() {
        let mut memory = Box::new(Memory::new(E::zero(0)));
        for backend in built() {
            // What is no more than plain loops here is tested at length where it is at home.
            let count = draws(if backend.is_native() { 10_000 } else { 2_000 });
            let convolved = convolutions(backend, 1, count, &mut memory);
            let added = additions(backend, 1, count, &mut memory);
            let found = searches(backend, 1, count, &mut memory);
            let others = single_rows(backend, 1, count, &mut memory);
            if let Err(mismatch) = convolved.and(added).and(found).and(others) {
                panic!("{} of {:?}: {mismatch}", backend.name(), E::DTYPE);
            }
        }
    }

    #[cfg(any(feature = "f16", feature = "f32"))]
    fn check_whole_maps<R: Drawn + Real>() {
        let mut memory = Box::new(Memory::<R>::new(R::zero(0)));
        for backend in built() {
            if let Err(mismatch) = whole_maps(backend, 1, draws(500), &mut memory) {
                panic!("{} of {:?}: {mismatch}", backend.name(), R::DTYPE);
            }
        }
    }

    #[test]
    fn every_backend_gives_the_integers_of_the_reference() {
        check::<i8>();
    }

    #[test]
    #[cfg(feature = "f32")]
    fn every_backend_gives_the_singles_of_the_reference() {
        check::<f32>();
        check_whole_maps::<f32>();
    }

    #[test]
    #[cfg(feature = "f16")]
    fn every_backend_gives_the_halves_of_the_reference() {
        check::<half::f16>();
        check_whole_maps::<half::f16>();
    }
}
