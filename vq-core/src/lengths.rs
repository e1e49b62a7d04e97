//! How long postcard's messages are when each of their numbers is as short as can be.
//!
//! Postcard reads longer numbers, too, and its own count takes its serialiser along, into programs that only read: so the
//! lengths are spelt out. What does not vary has a constant; the rest are numbers and what is as long as they say.

/// A byte, a bool, or which variant it is.
pub(crate) const BYTE: usize = 1;
/// Single precision.
pub(crate) const SINGLE: usize = 4;
/// A [`Quant`](crate::tensor::Quant).
pub(crate) const QUANT: usize = SINGLE + BYTE;
/// A [`Kernel`](crate::shape::Kernel).
pub(crate) const KERNEL: usize = 2 * BYTE;
/// A [`Pad`](crate::shape::Pad).
pub(crate) const PAD: usize = 4 * BYTE;

/// Bytes of a string of bytes, behind its length.
pub(crate) fn bytes_len(bytes: &[u8]) -> usize {
    count_len(bytes.len()) + bytes.len()
}

/// Bytes of a length.
pub(crate) fn count_len(count: usize) -> usize {
    // What is too large for 32 bits takes as much as the largest of them, up to 35 bits.
    number(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Bytes of some numbers.
pub(crate) fn numbers<const N: usize>(values: [u32; N]) -> usize {
    values.iter().map(|&value| number(value)).sum()
}

/// Bytes of a number: seven bits a byte. Not inlined: it is asked in some twenty places.
#[inline(never)]
pub(crate) fn number(value: u32) -> usize {
    let bits = u32::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Numbers around each length; the larger ones are those of 32 bits alone.
#[cfg(test)]
pub(crate) const NUMBERS: [u32; 11] = [
    0,
    1,
    0x7f,
    0x80,
    0x3fff,
    0x4000,
    0x1f_ffff,
    0x20_0000,
    0xfff_ffff,
    0x1000_0000,
    u32::MAX,
];
