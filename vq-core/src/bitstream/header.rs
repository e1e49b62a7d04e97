//! A packet's header as a plain value, and the packet's outer shape: version, fields, check sum.
//!
//! ```text
//! byte 0     version << 4 | coded << 3 | dithered << 2 | sized << 1 | fragment
//! bytes 1-2  model id, little-endian
//! sized:     width, height             varints
//! fragment:  image id, index, count    varints
//! payload
//! last two   CRC-16/IBM-3740 of all bytes before, little-endian
//! ```

use crc::{CRC_16_IBM_3740, Crc};

use super::{MAX_PACKETS, PacketError, PictureSize, Scan, VERSION};

const FRAGMENT: u8 = 1;
const SIZED: u8 = 2;
const DITHERED: u8 = 4;
/// The payload is entropy-coded: not in this version.
const CODED: u8 = 8;

static CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_3740);
const CRC_BYTES: usize = 2;
/// Byte 0 and the model id.
const FIXED_BYTES: usize = 3;

/// What a packet says about itself: everything but the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Low half of the model's code id.
    pub model: u16,
    /// The picture's size; `None` is the model's native one.
    pub size: Option<PictureSize>,
    /// The order of the codes.
    pub scan: Scan,
    /// Which part of the picture this is; `None` is the whole.
    pub fragment: Option<Fragment>,
}

/// One packet of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Tells pictures of one sender apart; below 128 it takes one byte, below 16384 two.
    pub image: u16,
    /// 0..count
    pub index: u16,
    /// How many packets make the picture: 2..=[`MAX_PACKETS`].
    pub count: u16,
}

impl Header {
    /// Reads the header of a packet of any model, and checks the packet's outer shape.
    ///
    /// # Errors
    /// `Truncated`, `NotAPacket`, `Newer`, `Crc`, `Varint`, `Size`, `Fragment` of [`PacketError`].
    pub fn read(packet: &[u8]) -> Result<Self, PacketError> {
        Self::split(packet).map(|(header, _)| header)
    }

    /// Header and payload of a packet.
    pub(super) fn split(packet: &[u8]) -> Result<(Self, &[u8]), PacketError> {
        let flags = version_flags(packet)?;
        let (body, crc) = packet
            .split_last_chunk::<CRC_BYTES>()
            .ok_or(PacketError::Truncated)?;
        if CRC.checksum(body) != u16::from_le_bytes(*crc) {
            return Err(PacketError::Crc);
        }
        let mut rest = body;
        let [_, low, high] = take(&mut rest)?;
        let size = if flags & SIZED != 0 {
            Some(read_size(&mut rest)?)
        } else {
            None
        };
        let fragment = if flags & FRAGMENT != 0 {
            Some(read_fragment(&mut rest)?)
        } else {
            None
        };
        let scan = if flags & DITHERED != 0 {
            Scan::Dithered
        } else {
            Scan::Raster
        };
        let model = u16::from_le_bytes([low, high]);
        Ok((
            Self {
                model,
                size,
                scan,
                fragment,
            },
            rest,
        ))
    }

    /// Bytes of a packet beside its payload.
    pub fn overhead(&self) -> usize {
        let size = self
            .size
            .map_or(0, |s| varint_len(s.width) + varint_len(s.height));
        let fragment = self.fragment.map_or(0, |f| {
            varint_len(f.image) + varint_len(f.index) + varint_len(f.count)
        });
        FIXED_BYTES + size + fragment + CRC_BYTES
    }

    /// Writes all but payload and check sum; `buffer` holds [`Header::overhead`] bytes or more.
    /// Returns the rest of it.
    pub(super) fn put<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b mut [u8], PacketError> {
        let mut out = buffer;
        let dithered = if self.scan == Scan::Dithered {
            DITHERED
        } else {
            0
        };
        let sized = if self.size.is_some() { SIZED } else { 0 };
        let fragment = if self.fragment.is_some() { FRAGMENT } else { 0 };
        put_byte(&mut out, VERSION << 4 | dithered | sized | fragment)?;
        for byte in self.model.to_le_bytes() {
            put_byte(&mut out, byte)?;
        }
        if let Some(PictureSize { width, height }) = self.size {
            put_varint(&mut out, width)?;
            put_varint(&mut out, height)?;
        }
        if let Some(Fragment {
            image,
            index,
            count,
        }) = self.fragment
        {
            put_varint(&mut out, image)?;
            put_varint(&mut out, index)?;
            put_varint(&mut out, count)?;
        }
        Ok(out)
    }
}

/// Puts the check sum of all bytes before them into a packet's last two.
pub(super) fn seal(packet: &mut [u8]) {
    if let Some((body, crc)) = packet.split_last_chunk_mut::<CRC_BYTES>() {
        *crc = CRC.checksum(body).to_le_bytes();
    }
}

/// The check sum of numbers of 16 bits, little-endian.
pub(super) fn sum_of(numbers: impl Iterator<Item = u16>) -> u16 {
    let mut digest = CRC.digest();
    numbers.for_each(|number| digest.update(&number.to_le_bytes()));
    digest.finalize()
}

/// The flags of a packet of this version. Looked at before the check sum, which a later version
/// may compute in another way.
fn version_flags(packet: &[u8]) -> Result<u8, PacketError> {
    let &first = packet.first().ok_or(PacketError::Truncated)?;
    match first >> 4 {
        0 => Err(PacketError::NotAPacket),
        VERSION if first & CODED == 0 => Ok(first & 0xf),
        _ => Err(PacketError::Newer),
    }
}

fn read_size(rest: &mut &[u8]) -> Result<PictureSize, PacketError> {
    let size = PictureSize {
        width: read_varint(rest)?,
        height: read_varint(rest)?,
    };
    if size.width == 0 || size.height == 0 {
        Err(PacketError::Size)
    } else {
        Ok(size)
    }
}

fn read_fragment(rest: &mut &[u8]) -> Result<Fragment, PacketError> {
    let (image, index, count) = (read_varint(rest)?, read_varint(rest)?, read_varint(rest)?);
    let fragment = Fragment {
        image,
        index,
        count,
    };
    if fragment.is_possible() {
        Ok(fragment)
    } else {
        Err(PacketError::Fragment)
    }
}

impl Fragment {
    pub(super) fn is_possible(self) -> bool {
        (2..=MAX_PACKETS).contains(&self.count) && self.index < self.count
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], PacketError> {
    let (head, tail) = rest
        .split_first_chunk::<N>()
        .ok_or(PacketError::Truncated)?;
    *rest = tail;
    Ok(*head)
}

fn put_byte(out: &mut &mut [u8], byte: u8) -> Result<(), PacketError> {
    let (place, rest) = core::mem::take(out)
        .split_first_mut()
        .ok_or(PacketError::Buffer)?;
    *place = byte;
    *out = rest;
    Ok(())
}

/// Seven bits a byte, low ones first, the top bit set on all but the last byte; the last byte is
/// not 0 unless it is the only one, so that each number has one form.
///
/// Not inlined: a header has up to five.
#[inline(never)]
fn read_varint(rest: &mut &[u8]) -> Result<u16, PacketError> {
    let mut value = 0u32;
    for shift in [0, 7, 14] {
        let [byte] = take(rest)?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let shortest = byte != 0 || shift == 0;
            let value = u16::try_from(value).ok().filter(|_| shortest);
            return value.ok_or(PacketError::Varint);
        }
    }
    Err(PacketError::Varint)
}

fn put_varint(out: &mut &mut [u8], value: u16) -> Result<(), PacketError> {
    let mut rest = value;
    while rest >= 0x80 {
        put_byte(out, rest as u8 | 0x80)?;
        rest >>= 7;
    }
    put_byte(out, rest as u8)
}

const fn varint_len(value: u16) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        _ => 3,
    }
}
