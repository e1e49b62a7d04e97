//! The check sum of packets, by the letter of FORMAT.md.

use crc::{CRC_16_IBM_3740, Crc};

/// Puts a packet's check sum behind its other bytes.
pub fn seal(mut body: Vec<u8>) -> Vec<u8> {
    let crc = Crc::<u16>::new(&CRC_16_IBM_3740).checksum(&body);
    body.extend(crc.to_le_bytes());
    body
}
