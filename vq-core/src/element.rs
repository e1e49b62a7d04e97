//! The three element types, and the arithmetic that differs between them.
//!
//! `i8` is integers only; `f16` is stored in half and computed in single precision; `f32` is plain.

use crate::conceal::Blend;
use crate::curves::{self, ActivationKind, CURVE_LEN};
use crate::dtype::Dtype;
use crate::fused::fused;
use crate::slices::Parts;
use crate::tensor::{Params, Quant, Rescale, word};
use bytemuck::Pod;
use core::fmt::Debug;
use half::f16;

/// A type that activations and weights can have: `i8`, [`half::f16`] or `f32`.
pub trait Element:
    Arithmetic + Blend + Debug + Default + PartialEq + Send + Sync + 'static
{
    /// How a model names it.
    const DTYPE: Dtype;

    /// The real number that a stored one means; for reports, not for decoding.
    fn real(self, quant: Quant) -> f32;
}

/// What the operators need of an element. Sealed: it can be named, but not implemented elsewhere.
pub trait Arithmetic: Pod + sealed::Sealed {
    /// A weight as it lies in the file, little-endian.
    type Stored: Copy + Debug + 'static;
    /// What products are summed in.
    type Sum: Copy;
    /// What an activation needs at work.
    type Curve<'a>: Copy;
    /// What squared distances are summed in.
    type Distance: Copy + PartialOrd;
    /// The distance of equals.
    const NO_DISTANCE: Self::Distance;
    /// More than a distance can be, if it is a number.
    const NO_ENTRY: Self::Distance;

    /// The stored number that means 0 in a tensor with this zero point.
    fn zero(zero_point: i8) -> Self;
    /// Bytes of the file as weights; a rest that is no whole weight is dropped.
    fn stored(bytes: &[u8]) -> &[Self::Stored];
    /// A weight from its bytes.
    fn read(stored: Self::Stored) -> Self;
    /// A pixel's byte p as the network sees it: (p - 128) / 128.
    fn from_pixel(byte: u8) -> Self;
    /// The inverse: saturated, ties away from zero.
    fn to_pixel(self) -> u8;
    /// The bias of a channel.
    fn bias(params: &Params<'_>, channel: usize) -> Self::Sum;
    /// sum + x * weight, rounded once.
    fn multiply_add(sum: Self::Sum, x: Self, weight: Self) -> Self::Sum;
    /// A channel's finished sum as an element.
    fn finish(sum: Self::Sum, params: &Params<'_>, channel: usize, output: Output) -> Self;
    /// The sum of two activations.
    fn add(a: Self, b: Self, scale: &AddScale) -> Self;
    /// max(self, zero).
    fn at_least(self, zero: Self) -> Self;
    /// An activation of a proved model; its lookup table, if it has one, starts at byte `table` of `blob`.
    fn curve(kind: ActivationKind, table: u32, blob: &[u8]) -> Self::Curve<'_>;
    /// The curve's value here.
    fn bend(self, curve: Self::Curve<'_>) -> Self;
    /// self + other, saturated: stages of a codebook.
    fn plus(self, other: Self) -> Self;
    /// self - other, saturated: what a stage leaves for the next.
    fn minus(self, other: Self) -> Self;
    /// distance + (self - other)^2.
    fn distance(self, other: Self, distance: Self::Distance) -> Self::Distance;
}

/// What the operators that only the float types have need of an element.
pub trait Real: Element + Arithmetic<Distance = f32> {
    /// Elements that have room for a single's bits.
    const PER_SINGLE: usize;

    /// The same number in single precision.
    fn single(self) -> f32;
    /// A result in single precision as it is stored: rounded to nearest, not beyond the largest.
    fn rounded(x: f32) -> Self;
    /// A single's bits in `place`, which has [`Real::PER_SINGLE`] elements.
    fn keep(x: f32, place: &mut [Self]);
    /// The single that [`Real::keep`] has put there.
    fn kept(place: &[Self]) -> f32;
}

/// How results are stored.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Zero point of the output.
    pub zero: i8,
    /// Whether negative results become 0.
    pub relu: bool,
}

/// What an addition needs to know.
#[derive(Debug, Clone, Copy)]
pub struct AddScale {
    /// Zero point of the first summand.
    pub zero_a: i8,
    /// Zero point of the second summand.
    pub zero_b: i8,
    /// Factors and shift.
    pub rescale: Rescale,
    /// How the result is stored.
    pub output: Output,
}

/// Shifted by more than this, a number of two words has all that is left in its upper word.
pub(crate) const UPPER: u8 = 32;

impl Output {
    /// The one requantisation of the integer type: `wide` / 2^`shift`, rounded to nearest, ties
    /// upwards, moved to the zero point and saturated. `shift` is 1 ..= 62 and |wide| <= 2^62.
    ///
    /// ```text
    /// clamp(zero + floor((wide + 2^(shift - 1)) / 2^shift), low, 127)
    /// ```
    ///
    /// 1. The sum is taken behind the shift but for one bit, which gives the same.
    /// 2. What is shifted by more than a word needs only the upper word.
    #[inline(always)]
    pub(crate) fn requantise(self, wide: i64, shift: u8) -> i8 {
        let rounded = if shift > UPPER {
            (((wide >> UPPER) as i32 >> (shift - UPPER - 1)) + 1) >> 1
        } else {
            let rounded = ((wide >> (shift - 1)) + 1) >> 1;
            rounded.clamp(-512, 512) as i32
        };
        (rounded + i32::from(self.zero)).clamp(self.low().into(), i8::MAX.into()) as i8
    }

    /// The least result.
    pub(crate) fn low(self) -> i8 {
        if self.relu { self.zero } else { i8::MIN }
    }

    pub(crate) fn rectify(self, x: f32) -> f32 {
        if self.relu && x < 0.0 { 0.0 } else { x }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for i8 {}
    impl Sealed for half::f16 {}
    impl Sealed for f32 {}
}

impl Element for i8 {
    const DTYPE: Dtype = Dtype::I8;

    fn real(self, quant: Quant) -> f32 {
        quant.scale * f32::from(i16::from(self) - i16::from(quant.zero))
    }
}

impl Arithmetic for i8 {
    type Stored = [u8; 1];
    type Sum = i32;
    type Curve<'a> = &'a [u8; CURVE_LEN];
    // 65535 * 255^2 fits.
    type Distance = u32;
    const NO_DISTANCE: u32 = 0;
    const NO_ENTRY: u32 = u32::MAX;

    fn zero(zero_point: i8) -> Self {
        zero_point
    }
    fn stored(bytes: &[u8]) -> &[[u8; 1]] {
        bytes.as_chunks().0
    }
    #[inline(always)]
    fn read(stored: [u8; 1]) -> Self {
        i8::from_le_bytes(stored)
    }
    fn from_pixel(byte: u8) -> Self {
        byte.wrapping_sub(128) as i8
    }
    fn to_pixel(self) -> u8 {
        (self as u8).wrapping_add(128)
    }
    fn bias(params: &Params<'_>, channel: usize) -> i32 {
        params.bias(channel)
    }
    #[inline(always)]
    fn multiply_add(sum: i32, x: i8, weight: i8) -> i32 {
        sum + i32::from(x) * i32::from(weight)
    }
    fn finish(sum: i32, params: &Params<'_>, channel: usize, output: Output) -> i8 {
        let (multiplier, shift) = params.scale(channel);
        output.requantise(i64::from(sum) * i64::from(multiplier), shift)
    }
    fn add(a: i8, b: i8, scale: &AddScale) -> i8 {
        let a = i64::from(i32::from(a) - i32::from(scale.zero_a));
        let b = i64::from(i32::from(b) - i32::from(scale.zero_b));
        let rescale = &scale.rescale;
        let wide = a * i64::from(rescale.input) + b * i64::from(rescale.skip);
        scale.output.requantise(wide, rescale.shift)
    }
    fn at_least(self, zero: i8) -> i8 {
        self.max(zero)
    }
    fn curve(_: ActivationKind, table: u32, blob: &[u8]) -> &[u8; CURVE_LEN] {
        // The model has proved that the table is there.
        let table = blob.part(table as usize, CURVE_LEN).first_chunk();
        table.unwrap_or(&[0; CURVE_LEN])
    }
    #[inline(always)]
    fn bend(self, table: &[u8; CURVE_LEN]) -> i8 {
        table[usize::from((self as u8).wrapping_add(128))] as i8
    }
    fn plus(self, other: i8) -> i8 {
        self.saturating_add(other)
    }
    fn minus(self, other: i8) -> i8 {
        self.saturating_sub(other)
    }
    #[inline(always)]
    fn distance(self, other: i8, distance: u32) -> u32 {
        let difference = i32::from(self) - i32::from(other);
        distance + (difference * difference) as u32
    }
}

impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;

    fn real(self, _: Quant) -> f32 {
        self
    }
}

impl Arithmetic for f32 {
    type Stored = [u8; 4];
    type Sum = f32;
    type Curve<'a> = ActivationKind;
    type Distance = f32;
    const NO_DISTANCE: f32 = 0.0;
    const NO_ENTRY: f32 = f32::INFINITY;

    fn zero(_: i8) -> Self {
        0.0
    }
    fn stored(bytes: &[u8]) -> &[[u8; 4]] {
        bytes.as_chunks().0
    }
    #[inline(always)]
    fn read(stored: [u8; 4]) -> Self {
        f32::from_le_bytes(stored)
    }
    fn from_pixel(byte: u8) -> Self {
        (f32::from(byte) - 128.0) / 128.0
    }
    fn to_pixel(self) -> u8 {
        // The cast cuts off and saturates, NaN becomes 0: adding a half first rounds what is positive.
        (128.0 * self + 128.5) as u8
    }
    fn bias(params: &Params<'_>, channel: usize) -> f32 {
        f32::from_le_bytes(word(params.bias, channel))
    }
    #[inline(always)]
    fn multiply_add(sum: f32, x: f32, weight: f32) -> f32 {
        fused(x, weight, sum)
    }
    fn finish(sum: f32, _: &Params<'_>, _: usize, output: Output) -> f32 {
        output.rectify(sum)
    }
    fn add(a: f32, b: f32, scale: &AddScale) -> f32 {
        scale.output.rectify(a + b)
    }
    fn at_least(self, zero: f32) -> f32 {
        if self < zero { zero } else { self }
    }
    fn curve(kind: ActivationKind, _: u32, _: &[u8]) -> ActivationKind {
        kind
    }
    fn bend(self, kind: ActivationKind) -> f32 {
        curves::bend(kind, self)
    }
    fn plus(self, other: f32) -> f32 {
        self + other
    }
    fn minus(self, other: f32) -> f32 {
        self - other
    }
    #[inline(always)]
    fn distance(self, other: f32, distance: f32) -> f32 {
        distance + (self - other) * (self - other)
    }
}

impl Real for f32 {
    const PER_SINGLE: usize = 1;

    fn single(self) -> f32 {
        self
    }
    fn rounded(x: f32) -> Self {
        x
    }
    fn keep(x: f32, place: &mut [Self]) {
        place[0] = x;
    }
    fn kept(place: &[Self]) -> f32 {
        place[0]
    }
}

impl Element for f16 {
    const DTYPE: Dtype = Dtype::F16;

    fn real(self, _: Quant) -> f32 {
        widen(self)
    }
}

impl Arithmetic for f16 {
    type Stored = [u8; 2];
    type Sum = f32;
    type Curve<'a> = ActivationKind;
    type Distance = f32;
    const NO_DISTANCE: f32 = 0.0;
    const NO_ENTRY: f32 = f32::INFINITY;

    fn zero(_: i8) -> Self {
        f16::ZERO
    }
    fn stored(bytes: &[u8]) -> &[[u8; 2]] {
        bytes.as_chunks().0
    }
    #[inline(always)]
    fn read(stored: [u8; 2]) -> Self {
        f16::from_le_bytes(stored)
    }
    fn from_pixel(byte: u8) -> Self {
        narrow(f32::from_pixel(byte))
    }
    fn to_pixel(self) -> u8 {
        widen(self).to_pixel()
    }
    fn bias(params: &Params<'_>, channel: usize) -> f32 {
        f32::bias(params, channel)
    }
    #[inline(always)]
    fn multiply_add(sum: f32, x: f16, weight: f16) -> f32 {
        fused(widen(x), widen(weight), sum)
    }
    fn finish(sum: f32, _: &Params<'_>, _: usize, output: Output) -> f16 {
        narrow(output.rectify(sum))
    }
    fn add(a: f16, b: f16, scale: &AddScale) -> f16 {
        narrow(scale.output.rectify(widen(a) + widen(b)))
    }
    fn at_least(self, zero: f16) -> f16 {
        if self < zero { zero } else { self }
    }
    fn curve(kind: ActivationKind, _: u32, _: &[u8]) -> ActivationKind {
        kind
    }
    fn bend(self, kind: ActivationKind) -> f16 {
        narrow(curves::bend(kind, widen(self)))
    }
    fn plus(self, other: f16) -> f16 {
        narrow(widen(self) + widen(other))
    }
    fn minus(self, other: f16) -> f16 {
        narrow(widen(self) - widen(other))
    }
    #[inline(always)]
    fn distance(self, other: f16, distance: f32) -> f32 {
        widen(self).distance(widen(other), distance)
    }
}

impl Real for f16 {
    const PER_SINGLE: usize = 2;

    #[inline(always)]
    fn single(self) -> f32 {
        widen(self)
    }
    fn rounded(x: f32) -> Self {
        narrow(x)
    }
    fn keep(x: f32, place: &mut [Self]) {
        let bits = x.to_bits();
        place[0] = f16::from_bits(bits as u16);
        place[1] = f16::from_bits((bits >> 16) as u16);
    }
    fn kept(place: &[Self]) -> f32 {
        f32::from_bits(u32::from(place[0].to_bits()) | u32::from(place[1].to_bits()) << 16)
    }
}

/// Exact for every finite number. Infinities, which are never stored, would become 65536.
///
/// Shifting exponent and mantissa into place leaves the exponent 112 too small; the product mends
/// it, for subnormal numbers too. Unlike a conversion by cases it is the same few instructions for
/// all numbers, so that loops over rows become vector code.
#[inline(always)]
fn widen(x: f16) -> f32 {
    const TWO_POW_112: f32 = f32::from_bits((112 + 127) << 23);
    let bits = u32::from(x.to_bits());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * TWO_POW_112;
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

/// Rounded to nearest, ties to even; too large numbers become the largest finite one.
fn narrow(x: f32) -> f16 {
    let most = f16::MAX.to_f32_const();
    f16::from_f32(x.clamp(-most, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_is_exact_for_all_finite_halves() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            if half.is_finite() {
                assert_eq!(
                    widen(half).to_bits(),
                    half.to_f32().to_bits(),
                    "{bits:#06x}"
                );
            }
        }
    }

    #[test]
    fn narrowing_saturates() {
        assert_eq!(narrow(1e30), f16::MAX);
        assert_eq!(narrow(-65_519.9), f16::MIN);
    }

    #[test]
    fn pixels_survive_in_every_type() {
        for byte in 0..=255 {
            assert_eq!(i8::from_pixel(byte).to_pixel(), byte);
            assert_eq!(f16::from_pixel(byte).to_pixel(), byte);
            assert_eq!(f32::from_pixel(byte).to_pixel(), byte);
        }
        assert_eq!((-1.1f32).to_pixel(), 0);
        assert_eq!(f32::NAN.to_pixel(), 0);
        assert_eq!(2f32.to_pixel(), 255);
        assert_eq!((0.5f32 / 128.0).to_pixel(), 129);
    }

    #[test]
    fn requantisation_rounds_to_nearest_and_saturates() {
        let plain = Output {
            zero: 0,
            relu: false,
        };
        let moved = Output {
            zero: -5,
            relu: true,
        };
        let cases = [
            (3, 2),
            (-3, -1),
            (-4, -2),
            (5, 3),
            (1000, 127),
            (-1000, -128),
        ];
        for (wide, expected) in cases {
            assert_eq!(plain.requantise(wide, 1), expected, "{wide}");
        }
        assert_eq!(moved.requantise(20, 1), 5);
        assert_eq!(moved.requantise(-20, 1), -5);
        assert_eq!(plain.requantise(-(1 << 62), 62), -1);
    }

    #[test]
    fn requantisation_follows_its_formula_at_every_shift() {
        let output = Output {
            zero: -7,
            relu: false,
        };
        for shift in 1..=62u8 {
            // Around the multiples of half a step, and far beyond both ends.
            for halves in (-600..600).chain([-(1 << 20), 1 << 20]) {
                for beside in [-1i128, 0, 1] {
                    let wide = halves * (1i128 << (shift - 1)) + beside;
                    let wide = wide.clamp(-(1 << 62), 1 << 62);
                    let rounded = (wide + (1 << (shift - 1))).div_euclid(1 << shift);
                    let expected = (rounded - 7).clamp(-128, 127) as i8;
                    assert_eq!(
                        output.requantise(wide as i64, shift),
                        expected,
                        "{wide} >> {shift}"
                    );
                }
            }
        }
    }
}
