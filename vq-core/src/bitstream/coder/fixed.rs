//! Codes of fixed width: each takes as many bits as the largest code of its stage.
//!
//! Where a code stands in the picture's row of bits follows from its number, so a fragment's index and count say
//! which codes it holds, and its header need not.

use core::ops::RangeInclusive;

use super::bits::{BitReader, BitWriter};
use super::{Coder, Reader, Symbol};
use crate::bitstream::places::{Part, Place};
use crate::bitstream::{Fragment, MAX_PACKETS, PacketError};

/// The coder of pictures of one stream and one size.
#[derive(Clone, Copy, Debug)]
pub(in crate::bitstream) struct Fixed<'a> {
    /// K of each stage's codebook; none is 0.
    pub(in crate::bitstream) stages: &'a [u16],
    /// Codes of a stage.
    pub(in crate::bitstream) cells: u32,
}

impl Coder for Fixed<'_> {
    type Reader<'p> = BitReader<'p>;

    fn part(self, fragment: Option<Fragment>) -> Result<Part, PacketError> {
        let Some(part) = fragment else {
            return Ok(Part {
                first: 0,
                end: self.numbers(),
            });
        };
        if !part.is_possible() || part.count > self.most_packets() {
            return Err(PacketError::Fragment);
        }
        Ok(Part {
            first: self.first_of(part.index, part.count),
            end: self.first_of(part.index + 1, part.count),
        })
    }

    fn counts(self, payload_bytes: usize) -> RangeInclusive<u16> {
        let most = self.most_packets();
        let bytes = (self.bit_of(self.numbers()) / 8) as usize;
        let least = bytes.checked_div(payload_bytes).unwrap_or(bytes).max(1);
        least.min(most.into()) as u16..=most
    }

    fn payload_len(self, part: Part, _: impl Iterator<Item = Symbol>) -> usize {
        (self.bit_of(part.end) - self.bit_of(part.first)).div_ceil(8) as usize
    }

    fn write(
        self,
        part: Part,
        codes: impl Iterator<Item = Symbol>,
        buffer: &mut [u8],
    ) -> Result<usize, PacketError> {
        let length = self.payload_len(part, core::iter::empty());
        let payload = buffer.get_mut(..length).ok_or(PacketError::Buffer)?;
        let mut bits = BitWriter::new(payload);
        for Symbol { place, code } in codes {
            if code >= place.k {
                return Err(PacketError::Code);
            }
            bits.push(code, code_bits(place.k));
        }
        bits.finish();
        Ok(length)
    }

    fn check(
        self,
        part: Part,
        _: impl Iterator<Item = Place>,
        payload: &[u8],
    ) -> Result<(), PacketError> {
        if payload.len() != self.payload_len(part, core::iter::empty()) {
            return Err(PacketError::Length);
        }
        let mut bits = BitReader::new(payload);
        let mut first = 0;
        for &k in self.stages {
            let end = first + self.cells;
            // The part's codes of this stage.
            let codes = part.first.max(first)..part.end.min(end);
            if codes.into_iter().any(|_| bits.pull(code_bits(k)) >= k) {
                return Err(PacketError::Code);
            }
            first = end;
        }
        if !bits.padding_is_zero() {
            return Err(PacketError::Padding);
        }
        Ok(())
    }

    fn reader(self, payload: &[u8]) -> BitReader<'_> {
        BitReader::new(payload)
    }
}

impl Reader for BitReader<'_> {
    fn next(&mut self, place: Place) -> u16 {
        self.pull(code_bits(place.k))
    }
}

impl Fixed<'_> {
    /// One more than the highest code number.
    fn numbers(self) -> u32 {
        self.stages.len() as u32 * self.cells
    }

    /// Where code `number` starts, in bits, when all codes of the picture stand in one row.
    ///
    /// Not inlined: once a packet is not often, and there are four callers.
    #[inline(never)]
    fn bit_of(self, number: u32) -> u32 {
        let mut left = number;
        let mut bit = 0;
        for &k in self.stages {
            let codes = left.min(self.cells);
            bit += codes * code_bits(k);
            left -= codes;
        }
        bit
    }

    /// The number of the first code that starts at `bit` or behind it.
    fn number_at(self, bit: u32) -> u32 {
        let mut left = bit;
        let mut number = 0;
        for &k in self.stages {
            let bits = code_bits(k);
            if left <= self.cells * bits {
                // A stage of one code has no bits: all of it starts at the same place.
                return number + left.div_ceil(bits.max(1));
            }
            left -= self.cells * bits;
            number += self.cells;
        }
        number
    }

    /// The first code of packet `index` of `count`: the codes' bits are dealt out evenly, so that
    /// neither the first code nor the number of codes needs a place in the header.
    ///
    /// Not inlined: a part asks for two.
    #[inline(never)]
    fn first_of(self, index: u16, count: u16) -> u32 {
        if index >= count {
            return self.numbers();
        }
        let bits = self.bit_of(self.numbers());
        let (index, count) = (u32::from(index), u32::from(count));
        // floor(index * bits / count) in 32 bits: both products stay below 2^28.
        let share = index * (bits / count.max(1)) + index * (bits % count.max(1)) / count.max(1);
        self.number_at(share)
    }

    /// Most packets that a picture may be divided into: each is then sure to hold a code.
    fn most_packets(self) -> u16 {
        let widest = self.stages.iter().map(|&k| code_bits(k)).max().unwrap_or(0);
        let bits = self.bit_of(self.numbers());
        let most = bits.checked_div(widest).unwrap_or(1);
        most.min(MAX_PACKETS.into()) as u16
    }
}

/// Width of a code of a codebook of `k` codes, in bits: ceil(log2 k).
const fn code_bits(k: u16) -> u32 {
    16 - k.saturating_sub(1).leading_zeros()
}
