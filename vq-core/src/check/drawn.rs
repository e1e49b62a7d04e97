//! Numbers as the comparisons draw them.

use crate::element::Output;
use crate::kernels::HasKernels;

/// An element as tests draw it.
pub trait Drawn: HasKernels {
    /// What stands where no result belongs.
    const UNTOUCHED: Self;

    /// Any number, or one of the two at the ends.
    #[doc(hidden)]
    fn draw(random: &mut Random, extreme: bool) -> Self;
    /// A weight, in bytes.
    #[doc(hidden)]
    fn draw_weight(random: &mut Random, extreme: bool, bytes: &mut [u8]);
    /// The parameters of so many channels.
    #[doc(hidden)]
    fn draw_params(random: &mut Random, params: &mut [u8], channels: usize);
    /// A number near this one, or the same.
    #[doc(hidden)]
    fn near(self, random: &mut Random) -> Self;
    /// A number that no model should have, if there is one.
    #[doc(hidden)]
    fn draw_broken(random: &mut Random) -> Self;
    /// A number as it lies in a file.
    #[doc(hidden)]
    fn store(self, bytes: &mut [u8]);
}

impl Drawn for i8 {
    const UNTOUCHED: i8 = 0x55;

    fn draw(random: &mut Random, extreme: bool) -> i8 {
        match extreme {
            true => random.pick(&[i8::MIN, i8::MAX]),
            false => random.next() as i8,
        }
    }
    fn draw_weight(random: &mut Random, extreme: bool, bytes: &mut [u8]) {
        bytes.copy_from_slice(&i8::draw(random, extreme).to_le_bytes());
    }
    fn draw_params(random: &mut Random, params: &mut [u8], channels: usize) {
        draw_params(random, params, channels);
    }
    fn near(self, random: &mut Random) -> i8 {
        self.saturating_add(random.pick(&[-1, 0, 0, 1]))
    }
    fn draw_broken(random: &mut Random) -> i8 {
        random.pick(&[i8::MIN, i8::MAX])
    }
    fn store(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.to_le_bytes());
    }
}

#[cfg(feature = "f32")]
impl Drawn for f32 {
    const UNTOUCHED: f32 = 7.5;

    fn draw(random: &mut Random, extreme: bool) -> f32 {
        random.single(extreme)
    }
    fn draw_weight(random: &mut Random, extreme: bool, bytes: &mut [u8]) {
        bytes.copy_from_slice(&random.single(extreme).to_le_bytes());
    }
    fn draw_params(random: &mut Random, params: &mut [u8], channels: usize) {
        draw_biases(random, params, channels);
    }
    fn near(self, random: &mut Random) -> f32 {
        random.near(self)
    }
    fn draw_broken(random: &mut Random) -> f32 {
        random.pick(&[f32::NAN, f32::INFINITY, -3e38, 1e25, 1e-40])
    }
    fn store(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.to_le_bytes());
    }
}

#[cfg(feature = "f16")]
impl Drawn for half::f16 {
    const UNTOUCHED: Self = Self::from_f32_const(7.5);

    fn draw(random: &mut Random, extreme: bool) -> Self {
        Self::from_f32(random.single(extreme))
    }
    fn draw_weight(random: &mut Random, extreme: bool, bytes: &mut [u8]) {
        bytes.copy_from_slice(&Self::draw(random, extreme).to_le_bytes());
    }
    fn draw_params(random: &mut Random, params: &mut [u8], channels: usize) {
        draw_biases(random, params, channels);
    }
    fn near(self, random: &mut Random) -> Self {
        Self::from_f32(random.near(self.to_f32()))
    }
    fn draw_broken(random: &mut Random) -> Self {
        random.pick(&[
            Self::NAN,
            Self::INFINITY,
            Self::MIN,
            Self::MIN_POSITIVE_SUBNORMAL,
        ])
    }
    fn store(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.to_le_bytes());
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

/// The biases of floats.
#[cfg(any(feature = "f16", feature = "f32"))]
fn draw_biases(random: &mut Random, params: &mut [u8], channels: usize) {
    for bias in params[..4 * channels].as_chunks_mut().0 {
        *bias = random.single(false).to_le_bytes();
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug)]
pub struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 32) as u32
    }

    /// Less than `n`, which is not 0.
    pub(super) fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(n)) >> 32) as u32
    }

    /// From `low` to `high`.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }

    /// A number from -2 to 2, or of another size.
    #[cfg(any(feature = "f16", feature = "f32"))]
    fn single(&mut self, extreme: bool) -> f32 {
        let x = (self.next() as i32) as f32 / (1u32 << 30) as f32;
        // So that sums round at different places, and some are subnormal.
        let scale = if extreme {
            self.pick(&[1e-38, 1e-3, 1.0, 1e4])
        } else {
            1.0
        };
        x * scale
    }

    /// A number near this one, or the same.
    #[cfg(any(feature = "f16", feature = "f32"))]
    fn near(&mut self, x: f32) -> f32 {
        let step = self.pick(&[0.0, 1e-7, 1e-4, 1e-2]);
        x + step * self.single(false)
    }

    pub(super) fn output(&mut self) -> Output {
        Output {
            zero: self.pick(&[0, -128, -128, 7, 127]),
            relu: self.below(2) == 0,
        }
    }
}
