//! Fixed-width numbers in bytes, most significant bit first.

use core::slice;

/// Writes numbers of up to 16 bits; what does not fit the bytes given is dropped.
pub(super) struct BitWriter<'a> {
    bytes: slice::IterMut<'a, u8>,
    /// The lowest `held` bits wait for their byte to fill up.
    hold: u32,
    held: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self {
            bytes: bytes.iter_mut(),
            hold: 0,
            held: 0,
        }
    }

    /// Appends the lowest `width` <= 16 bits of `value`.
    pub(super) fn push(&mut self, value: u16, width: u32) {
        self.hold = self.hold << width | u32::from(value);
        self.held += width;
        while self.held >= 8 {
            self.held -= 8;
            self.put((self.hold >> self.held) as u8);
        }
    }

    /// Fills the last byte up with zeros.
    pub(super) fn finish(mut self) {
        if self.held > 0 {
            self.put((self.hold << (8 - self.held)) as u8);
        }
    }

    fn put(&mut self, byte: u8) {
        if let Some(place) = self.bytes.next() {
            *place = byte;
        }
    }
}

/// Reads numbers of up to 16 bits; behind the end there are zeros.
#[derive(Clone, Debug)]
pub(in crate::bitstream) struct BitReader<'a> {
    bytes: slice::Iter<'a, u8>,
    /// The lowest `held` bits are yet to be read.
    hold: u32,
    held: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: bytes.iter(),
            hold: 0,
            held: 0,
        }
    }

    /// The next `width` <= 16 bits.
    pub(super) fn pull(&mut self, width: u32) -> u16 {
        while self.held < width {
            self.hold = self.hold << 8 | u32::from(self.bytes.next().copied().unwrap_or(0));
            self.held += 8;
        }
        self.held -= width;
        (self.hold >> self.held & ((1 << width) - 1)) as u16
    }

    /// Whether the bits begun but not read are all zero.
    pub(super) fn padding_is_zero(&self) -> bool {
        self.hold & ((1 << self.held) - 1) == 0
    }
}
