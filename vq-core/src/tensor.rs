//! Tensors inside a model's blob, and how their numbers are stored: quantisation and its parameters.

use crate::dtype::Dtype;
use crate::slices::Parts;
use serde::{Deserialize, Serialize};

/// How stored numbers q relate to real ones: x = scale * (q - zero).
///
/// Only the integer type uses it; in the float types every quantisation is [`Quant::UNIT`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Quant {
    /// Size of one step, finite and positive.
    pub scale: f32,
    /// The stored number that means 0.
    pub zero: i8,
}

/// Equal are those of the same bits, so that comparing them takes no floating point.
impl PartialEq for Quant {
    fn eq(&self, other: &Self) -> bool {
        self.scale.to_bits() == other.scale.to_bits() && self.zero == other.zero
    }
}

impl Quant {
    /// Stored numbers are the real ones.
    pub const UNIT: Self = Self {
        scale: 1.0,
        zero: 0,
    };

    /// A byte p of a picture is stored as p - 128 and means (p - 128) / 128.
    pub const PIXEL: Self = Self {
        scale: 1.0 / 128.0,
        zero: 0,
    };

    /// The quantisation of pixels in a model of this element type.
    pub const fn pixel(dtype: Dtype) -> Self {
        match dtype {
            Dtype::I8 => Self::PIXEL,
            Dtype::F16 | Dtype::F32 => Self::UNIT,
        }
    }

    /// Whether a value of a model of this element type may have this quantisation.
    pub(crate) fn is_valid(self, dtype: Dtype) -> bool {
        match dtype {
            // Finite and positive, which the bits tell: integer models are read without floating point.
            Dtype::I8 => (1..f32::INFINITY.to_bits()).contains(&self.scale.to_bits()),
            Dtype::F16 | Dtype::F32 => self == Self::UNIT,
        }
    }
}

/// Every tensor starts at a multiple of this many bytes from the blob's start.
pub(crate) const ALIGN: usize = 4;

/// `len` bytes of the blob at `offset`, if they are inside it and aligned.
pub(crate) fn tensor(blob: &[u8], offset: u32, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    if !start.is_multiple_of(ALIGN) {
        return None;
    }
    blob.get(start..end)
}

/// Per-channel parameters of a convolution, as they lie in the blob.
///
/// `i8`: bias i32\[n\], multiplier i32\[n\], shift u8\[n\], one behind the other.
/// `f16`, `f32`: bias f32\[n\]; the other two are empty.
#[derive(Debug, Clone, Copy)]
pub struct Params<'a> {
    /// Little-endian i32 or f32, one for each channel.
    pub bias: &'a [u8],
    /// Little-endian i32 in 2^30 .. 2^31, one for each channel.
    pub multiplier: &'a [u8],
    /// 1 ..= 62, one for each channel.
    pub shift: &'a [u8],
}

impl<'a> Params<'a> {
    /// Bytes that the parameters of `channels` channels take.
    pub const fn len(dtype: Dtype, channels: u64) -> u64 {
        match dtype {
            Dtype::I8 => channels * 9,
            Dtype::F16 | Dtype::F32 => channels * 4,
        }
    }

    /// Splits `bytes`, which are exactly [`Params::len`] long, into the arrays of `channels` channels.
    pub(crate) fn split(bytes: &'a [u8], dtype: Dtype, channels: usize) -> Self {
        match dtype {
            Dtype::I8 => {
                let (bias, rest) = bytes.parted(channels * 4);
                let (multiplier, shift) = rest.parted(channels * 4);
                Self {
                    bias,
                    multiplier,
                    shift,
                }
            }
            Dtype::F16 | Dtype::F32 => Self {
                bias: bytes,
                multiplier: &[],
                shift: &[],
            },
        }
    }

    /// A channel's bias, of the integer type.
    pub(crate) fn bias(&self, channel: usize) -> i32 {
        i32::from_le_bytes(word(self.bias, channel))
    }

    /// A channel's multiplier and shift, of the integer type.
    pub(crate) fn scale(&self, channel: usize) -> (i32, u8) {
        let multiplier = i32::from_le_bytes(word(self.multiplier, channel));
        (multiplier, self.shift.get(channel).copied().unwrap_or(1))
    }

    /// Whether every number keeps the integer arithmetic from overflowing; see `FORMAT.md`.
    pub(crate) fn in_range(&self) -> bool {
        let i32s = |bytes: &'a [u8]| {
            bytes
                .chunks_exact(4)
                .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        };
        self.multiplier.is_empty()
            || (i32s(self.bias).all(|b| b.unsigned_abs() <= 1 << 30)
                && i32s(self.multiplier).all(|m| m >= 1 << 30)
                && self.shift.iter().all(|s| (1..=62).contains(s)))
    }
}

/// Number `index` of an array of little-endian words.
pub(crate) fn word(bytes: &[u8], index: usize) -> [u8; 4] {
    let word = bytes.part(index * 4, 4).first_chunk();
    word.copied().unwrap_or_default()
}

/// Factors of an integer addition:
/// (a - zero_a) * input + (b - zero_b) * skip, shifted right by `shift` with rounding to nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescale {
    /// Factor of the input, not negative.
    pub input: i32,
    /// Factor of the skip, not negative.
    pub skip: i32,
    /// 1 ..= 62.
    pub shift: u8,
}

impl Rescale {
    /// What the float types write.
    pub const NONE: Self = Self {
        input: 0,
        skip: 0,
        shift: 0,
    };

    /// Whether an addition of a model of this element type may have these factors.
    pub(crate) fn is_valid(&self, dtype: Dtype) -> bool {
        match dtype {
            Dtype::I8 => self.input >= 0 && self.skip >= 0 && (1..=62).contains(&self.shift),
            Dtype::F16 | Dtype::F32 => *self == Self::NONE,
        }
    }
}
