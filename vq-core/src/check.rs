//! Compares the backends' kernels with the reference, on drawn shapes and numbers. For tests, on the host and on
//! the device; see the feature `check-kernels`.

use crate::backend::Backend;
use crate::element::{AddScale, Arithmetic, Output};
use crate::format::{Kernel, MAX_KERNEL, Params, Rescale};
use crate::kernels::{AddRow, ConvRow, ConvShape, Filter};
use core::fmt;

/// A kernel has given another number than the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// Which draw it was.
    pub draw: u32,
    /// Where in the row.
    pub index: usize,
    /// What the kernel has given.
    pub found: i8,
    /// What the reference gives.
    pub expected: i8,
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

/// Elements of all rows under a kernel.
const ROWS: usize = 1 << 13;
/// Bytes of weights.
const WEIGHTS: usize = 1 << 13;
/// Elements of room.
const ROOM: usize = 1 << 16;
/// Elements of packed weights; devices read them as they are.
const PACKED: usize = if cfg!(target_os = "none") { 0 } else { 1 << 18 };
/// Elements of a row of results.
const OUT: usize = 1 << 10;
/// Channels of a row of results.
const CHANNELS: usize = 80;
/// What stands where no result belongs.
const UNTOUCHED: i8 = 0x55;

/// Memory for the drawn rows.
#[derive(Debug)]
pub struct Memory {
    rows: [i8; ROWS],
    weights: [u8; WEIGHTS],
    params: [u8; 9 * CHANNELS],
    room: [i8; ROOM],
    packed: Aligned,
    out: [i8; OUT],
}

/// As packed weights are in a scratch.
#[derive(Debug)]
#[repr(align(64))]
struct Aligned([i8; PACKED]);

impl Memory {
    /// As it is at power-on.
    pub const NEW: Self = Self {
        rows: [0; ROWS],
        weights: [0; WEIGHTS],
        params: [0; 9 * CHANNELS],
        room: [0; ROOM],
        packed: Aligned([0; PACKED]),
        out: [0; OUT],
    };
}

/// Draws `count` rows of convolutions, from seeds `seed` on, and compares each result.
///
/// # Errors
/// The first difference.
pub fn integer_convolutions(
    backend: Backend,
    seed: u32,
    count: u32,
    memory: &mut Memory,
) -> Result<(), Mismatch> {
    (0..count).try_for_each(|i| integer_convolution(backend, seed.wrapping_add(i), memory))
}

/// Draws `count` additions, from seeds `seed` on, and compares each result.
///
/// # Errors
/// The first difference.
pub fn integer_additions(
    backend: Backend,
    seed: u32,
    count: u32,
    memory: &mut Memory,
) -> Result<(), Mismatch> {
    (0..count).try_for_each(|i| integer_addition(backend, seed.wrapping_add(i), memory))
}

fn integer_addition(backend: Backend, draw: u32, memory: &mut Memory) -> Result<(), Mismatch> {
    let mut random = Random(u64::from(draw));
    let extreme = random.below(4) == 0;
    memory.rows.fill_with(|| random.number(extreme));
    memory.out.fill(UNTOUCHED);
    let len = random.below(100) as usize;
    let (a, b) = memory.rows.split_at(ROWS / 2);
    // Exporters write factors of about 2^30; a format allows any.
    let (factors, shift) = match random.below(3) {
        0 => (random.between(0, i32::MAX as u32), random.between(1, 62)),
        1 => (1 << 20, random.between(18, 24)),
        _ => (1 << 30, random.between(27, 35)),
    };
    let row = AddRow {
        a: &a[..len],
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
    (i8::kernels(backend).add_row)(&row, &mut memory.out[..len]);
    let expected = |index: usize| match row.a.get(index).zip(row.b.get(index)) {
        Some((&a, &b)) => i8::add(a, b, &row.scale),
        None => UNTOUCHED,
    };
    compare(draw, &memory.out, expected)
}

fn integer_convolution(backend: Backend, draw: u32, memory: &mut Memory) -> Result<(), Mismatch> {
    let mut random = Random(u64::from(draw));
    let Drawn {
        shape,
        out_step,
        first,
    } = Drawn::new(&mut random);
    let channels = shape.channels;
    let extreme = random.below(4) == 0;
    let mut number = || random.number(extreme);
    memory.rows.fill_with(&mut number);
    memory.weights.fill_with(|| number() as u8);
    draw_params(&mut random, &mut memory.params, channels);
    memory.out.fill(UNTOUCHED);

    let height = usize::from(shape.kernel.height);
    let row_len = shape.columns() * usize::from(shape.in_channels);
    let mut rows = [&memory.rows[..]; MAX_KERNEL];
    for (row, part) in rows.iter_mut().zip(memory.rows.chunks_exact(row_len)) {
        *row = part;
    }
    let kernels = i8::kernels(backend);
    // Only kernels with lanes are asked for phases.
    let threes = shape.kernel.height == 3 && shape.kernel.width == 3 && shape.stride == 1;
    let fours = kernels.lanes > 1 && threes && channels.is_multiple_of(4);
    let phases = fours && random.below(2) == 0;
    let points = if phases {
        4
    } else {
        height * usize::from(shape.kernel.width)
    };
    let taps = points * usize::from(shape.in_channels);
    let filter = Filter {
        shape,
        phases,
        weights: i8::stored(&memory.weights[..channels * taps]),
        params: Params::split(
            &memory.params[..9 * channels],
            crate::format::Dtype::I8,
            channels,
        ),
        output: random.output(),
    };
    let packed = &mut memory.packed.0[..(kernels.packed_len)(&shape)];
    (kernels.pack)(&filter, packed);
    let row = ConvRow {
        filter,
        packed,
        rows: &rows[..height],
        out_step,
    };
    let len = first + (shape.width as usize - 1) * out_step + channels;
    let start = random.below(4) as usize;
    let room = &mut memory.room[start..][..(kernels.conv_room)(&shape)];
    (kernels.conv_row)(&row, room, &mut memory.out[first..len]);

    let expected = |index: usize| {
        let point = index.checked_sub(first).filter(|_| index < len);
        let place = point.map(|at| (at / out_step, at % out_step));
        match place {
            Some((x, channel)) if channel < channels => row.element(x, channel),
            _ => UNTOUCHED,
        }
    };
    compare(draw, &memory.out, expected)
}

fn compare(draw: u32, found: &[i8], expected: impl Fn(usize) -> i8) -> Result<(), Mismatch> {
    for (index, &found) in found.iter().enumerate() {
        let expected = expected(index);
        if found != expected {
            return Err(Mismatch {
                draw,
                index,
                found,
                expected,
            });
        }
    }
    Ok(())
}

/// A row's shape.
struct Drawn {
    shape: ConvShape,
    out_step: usize,
    /// Where the first result lies.
    first: usize,
}

impl Drawn {
    /// Of those that fit into the memory.
    fn new(random: &mut Random) -> Self {
        loop {
            let side = |random: &mut Random| random.pick(&[1, 2, 3, 3, 4, 5, MAX_KERNEL as u8]);
            let (height, width) = (side(random), side(random));
            let in_channels = match random.below(3) {
                0 => 4 * random.between(1, 20),
                _ => random.between(1, 40),
            };
            let most = random.pick(&[12, CHANNELS as u32]);
            let channels = random.between(1, most) as usize;
            let shape = ConvShape {
                kernel: Kernel { height, width },
                stride: random.between(1, height.min(width).into()) as u8,
                in_channels: in_channels as u16,
                channels,
                width: random.between(1, 30),
            };
            let out_step = channels * random.pick(&[1, 2]);
            let first = random.below(out_step as u32 - channels as u32 + 1) as usize;
            let numbers = shape.columns() * usize::from(shape.in_channels) * usize::from(height);
            let weights = usize::from(height) * shape.run() * channels;
            if numbers <= ROWS && weights <= WEIGHTS && out_step * shape.width as usize <= OUT {
                return Self {
                    shape,
                    out_step,
                    first,
                };
            }
        }
    }
}

/// Sums that fill the range, and now and then any that the format allows.
fn draw_params(random: &mut Random, params: &mut [u8], channels: usize) {
    let any = random.below(4) == 0;
    let (words, shifts) = params[..9 * channels].split_at_mut(8 * channels);
    let (biases, multipliers) = words.as_chunks_mut().0.split_at_mut(channels);
    for bias in biases {
        let reach = if any { 1 << 30 } else { 1 << 16 };
        *bias = (random.between(0, 2 * reach) as i32 - reach as i32).to_le_bytes();
    }
    for multiplier in multipliers {
        *multiplier = (random.between(1 << 30, (1 << 31) - 1) as i32).to_le_bytes();
    }
    for shift in shifts {
        *shift = if any {
            random.between(1, 62)
        } else {
            random.between(36, 44)
        } as u8;
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 32) as u32
    }

    /// Less than `n`, which is not 0.
    fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(n)) >> 32) as u32
    }

    /// From `low` to `high`.
    fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }

    fn output(&mut self) -> Output {
        Output {
            zero: self.pick(&[0, -128, -128, 7, 127]),
            relu: self.below(2) == 0,
        }
    }

    /// Any number, or one of the two at the ends.
    fn number(&mut self, extreme: bool) -> i8 {
        match extreme {
            true => self.pick(&[i8::MIN, i8::MAX]),
            false => self.next() as i8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_gives_the_numbers_of_the_reference() {
        let mut memory = Memory::NEW;
        for backend in Backend::ALL {
            let convolved = integer_convolutions(backend, 1, 10_000, &mut memory);
            let added = integer_additions(backend, 1, 10_000, &mut memory);
            if let Err(mismatch) = convolved.and(added) {
                panic!("{}: {mismatch}", backend.name());
            }
        }
    }
}
