//! The lines that the host reads: a word that says what it is, then its values.
//!
//! Text, because it passes every channel (semihosting, a UART, RTT); pixels are hexadecimal, a row a
//! line. This module does not know what the lines mean.

use core::fmt::{self, Write};

use crate::board;

/// Output as a `fmt::Write`, gathered into pieces: each call to the host is slow.
struct Gather {
    bytes: [u8; 64],
    len: usize,
}

impl Gather {
    const EMPTY: Self = Self {
        bytes: [0; 64],
        len: 0,
    };

    fn push(&mut self, byte: u8) {
        if self.len >= self.bytes.len() {
            self.flush();
        }
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn flush(&mut self) {
        if let Some(bytes) = self.bytes.get(..self.len) {
            board::write(bytes);
        }
        self.len = 0;
    }
}

impl Write for Gather {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

/// Writes one line.
pub fn line(text: fmt::Arguments) {
    let mut out = Gather::EMPTY;
    // `Gather` never fails, and neither do the values that are printed.
    let _ = out.write_fmt(text);
    out.push(b'\n');
    out.flush();
}

/// Writes a line of `word` and the bytes in hexadecimal.
pub fn hex_line(word: &str, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = Gather::EMPTY;
    word.bytes().for_each(|byte| out.push(byte));
    out.push(b' ');
    for &byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
    out.push(b'\n');
    out.flush();
}
