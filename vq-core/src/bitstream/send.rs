//! A picture's codes as packets: how many it takes, and each of them on demand.

use super::coder::Coder;
use super::header::{Fragment, Header, sum_of};
use super::{DERIVED_NUMBERS, PACKET_BYTES, PacketError, PictureSize, Scan, Stream};

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct CodedPicture<'a> {
    /// In pixels.
    pub size: PictureSize,
    /// Tells pictures of one sender apart when they take several packets; not sent when one packet
    /// holds all. Below 128 it costs one byte a packet, below 16384 two.
    pub image: u16,
    /// Stage by stage, row by row; none missing.
    pub codes: &'a [u16],
}

/// A number for a picture that nobody has numbered: made from the CRC-16 of its size and codes, so that two
/// pictures share one in some 16,000 cases, and a picture that is sent again keeps its own.
///
/// It lies in [`DERIVED_NUMBERS`] and so costs two bytes a packet. A sender that counts its pictures from 0 can do
/// with one, but it has to remember the count when it starts again.
pub fn image_number(size: PictureSize, codes: &[u16]) -> u16 {
    let (first, last) = DERIVED_NUMBERS.into_inner();
    let numbers = [size.width, size.height].into_iter();
    first + sum_of(numbers.chain(codes.iter().copied())) % (last - first + 1)
}

/// The packets of one picture. If it fits one packet, that packet is in raster order; if not, the
/// codes are dealt out evenly to as few as possible in the dithered one.
///
/// Any of them can be written at any time, so one that was lost can be sent again.
#[derive(Clone, Copy, Debug)]
pub struct Packets<'a> {
    stream: &'a Stream,
    picture: CodedPicture<'a>,
    count: u16,
}

impl<'a> Packets<'a> {
    /// Divides a picture into packets of at most `packet_bytes`, within [`PACKET_BYTES`].
    ///
    /// # Errors
    /// `PacketSize`, `Size`, `CodeCount`, `TooManyPackets`, and `Code` if one of the codes is not
    /// below its stage's K.
    pub fn new(
        stream: &'a Stream,
        picture: CodedPicture<'a>,
        packet_bytes: usize,
    ) -> Result<Self, PacketError> {
        if !PACKET_BYTES.contains(&packet_bytes) {
            return Err(PacketError::PacketSize);
        }
        let grid = stream.grid(picture.size)?;
        if picture.codes.len() != stream.code_count(picture.size)? {
            return Err(PacketError::CodeCount);
        }
        let stages = picture
            .codes
            .chunks(grid.cells() as usize)
            .zip(stream.stages());
        for (codes, k) in stages {
            if codes.iter().any(|code| code >= k) {
                return Err(PacketError::Code);
            }
        }
        let packets = |count| Self {
            stream,
            picture,
            count,
        };
        // Without headers every payload could be as long as a packet.
        let mut counts = stream.coder(grid).counts(packet_bytes);
        let fitting = counts.find_map(|count| Some(packets(count)).filter(|p| p.fit(packet_bytes)));
        fitting.ok_or(PacketError::TooManyPackets)
    }

    /// How many packets the picture takes: 1..=[`MAX_PACKETS`](super::MAX_PACKETS).
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The header of packet `index`.
    pub fn header(&self, index: u16) -> Header {
        let size = Some(self.picture.size).filter(|&size| size != self.stream.native());
        let model = self.stream.model();
        if self.count == 1 {
            return Header {
                model,
                size,
                scan: Scan::Raster,
                fragment: None,
            };
        }
        let fragment = Fragment {
            image: self.picture.image,
            index,
            count: self.count,
        };
        Header {
            model,
            size,
            scan: Scan::Dithered,
            fragment: Some(fragment),
        }
    }

    /// Writes packet `index` of `0..count()` into the front of `buffer` and returns it.
    ///
    /// # Errors
    /// `Fragment` if there is no such packet; `Buffer` if it does not fit, which cannot happen with
    /// a buffer of the packet size asked for.
    pub fn write<'b>(&self, index: u16, buffer: &'b mut [u8]) -> Result<&'b [u8], PacketError> {
        if index >= self.count {
            return Err(PacketError::Fragment);
        }
        let length = self
            .header(index)
            .emit(self.stream, self.picture.codes, buffer)?;
        Ok(&buffer[..length])
    }

    fn fit(&self, packet_bytes: usize) -> bool {
        (0..self.count).all(|index| {
            let length = self
                .header(index)
                .packet_len(self.stream, self.picture.codes);
            length.is_ok_and(|length| length <= packet_bytes)
        })
    }
}
