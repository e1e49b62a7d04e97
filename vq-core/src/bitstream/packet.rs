//! One packet: the checked view of received bytes, and the writing of a packet from its header.

use super::bits::{BitReader, BitWriter};
use super::header::{CRC_BYTES, seal};
use super::stream::code_bits;
use super::{Cells, Grid, Header, PacketError, PictureSize, Scan, Stream};

/// A packet that has passed every check: no accessor can fail.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    header: Header,
    extent: Extent<'a>,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks `bytes`, all of them one packet, against the stream that the receiver decodes.
    ///
    /// # Errors
    /// See [`PacketError`], from `Truncated` down to `Code`. What passes is byte for byte what
    /// [`Header::emit`] writes for the same header and codes.
    pub fn check(bytes: &'a [u8], stream: &'a Stream) -> Result<Self, PacketError> {
        let (header, payload) = Header::split(bytes)?;
        let extent = Extent::new(&header, stream)?;
        if payload.len() != extent.payload_len() {
            return Err(PacketError::Length);
        }
        let mut bits = BitReader::new(payload);
        if !extent.codebooks().all(|k| bits.pull(code_bits(k)) < k) {
            return Err(PacketError::Code);
        }
        if !bits.padding_is_zero() {
            return Err(PacketError::Padding);
        }
        Ok(Self {
            header,
            extent,
            payload,
        })
    }

    /// The header as a plain value.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The picture's size, said or native.
    pub fn size(&self) -> PictureSize {
        self.header.size.unwrap_or(self.extent.stream.native())
    }

    /// The packet's codes, each with its index in the picture's codes: stage * cells + row *
    /// columns + column.
    pub fn codes(&self) -> Codes<'a> {
        let places = Places::new(self.extent, self.header.scan);
        Codes {
            places,
            bits: BitReader::new(self.payload),
        }
    }
}

/// The codes of a packet with their indices.
#[derive(Clone, Debug)]
pub struct Codes<'a> {
    places: Places<'a>,
    bits: BitReader<'a>,
}

impl Iterator for Codes<'_> {
    type Item = (usize, u16);

    fn next(&mut self) -> Option<(usize, u16)> {
        let place = self.places.next()?;
        Some((place.index, self.bits.pull(code_bits(place.k))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl ExactSizeIterator for Codes<'_> {}

impl Header {
    /// Length in bytes of the packet with this header.
    ///
    /// # Errors
    /// `WrongModel`, `Size` or `Fragment` if the stream has no such packet.
    pub fn packet_len(&self, stream: &Stream) -> Result<usize, PacketError> {
        Ok(self.overhead() + Extent::new(self, stream)?.payload_len())
    }

    /// Writes the packet with this header into the front of `buffer` and returns its length.
    /// `codes` are those of the whole picture, stage by stage and row by row.
    ///
    /// # Errors
    /// As [`Header::packet_len`]; `CodeCount` and `Buffer` for wrong lengths; `Code` where a code
    /// of the packet is not below its stage's K, as a missing one.
    pub fn emit(
        &self,
        stream: &Stream,
        codes: &[u16],
        buffer: &mut [u8],
    ) -> Result<usize, PacketError> {
        let extent = Extent::new(self, stream)?;
        if codes.len() != stream.numbers(extent.grid) as usize {
            return Err(PacketError::CodeCount);
        }
        let length = self.overhead() + extent.payload_len();
        let packet = buffer.get_mut(..length).ok_or(PacketError::Buffer)?;
        let rest = self.put(packet)?;
        let payload = rest.len() - CRC_BYTES;
        let mut bits = BitWriter::new(&mut rest[..payload]);
        for Place { index, k } in Places::new(extent, self.scan) {
            let code = codes[index];
            if code >= k {
                return Err(PacketError::Code);
            }
            bits.push(code, code_bits(k));
        }
        bits.finish();
        seal(packet);
        Ok(length)
    }
}

/// Which code numbers of which grid a packet holds.
#[derive(Clone, Copy, Debug)]
struct Extent<'a> {
    stream: &'a Stream,
    grid: Grid,
    first: u32,
    end: u32,
}

impl<'a> Extent<'a> {
    fn new(header: &Header, stream: &'a Stream) -> Result<Self, PacketError> {
        if header.model != stream.model() {
            return Err(PacketError::WrongModel);
        }
        if header.size == Some(stream.native()) {
            return Err(PacketError::Size);
        }
        let grid = stream.grid(header.size.unwrap_or(stream.native()))?;
        let Some(part) = header.fragment else {
            return Ok(Self {
                stream,
                grid,
                first: 0,
                end: stream.numbers(grid),
            });
        };
        if !part.is_possible() || u32::from(part.count) > stream.most_packets(grid) {
            return Err(PacketError::Fragment);
        }
        let first = stream.first_of(grid, part.index, part.count);
        let end = stream.first_of(grid, part.index + 1, part.count);
        Ok(Self {
            stream,
            grid,
            first,
            end,
        })
    }

    fn payload_len(&self) -> usize {
        let bit = |number| self.stream.bit_of(self.grid, number);
        (bit(self.end) - bit(self.first)).div_ceil(8) as usize
    }

    /// The K of each code's codebook, in the order of the payload.
    fn codebooks(self) -> impl Iterator<Item = u16> {
        Places::new(self, Scan::Raster).map(|place| place.k)
    }
}

/// Where one code of a packet belongs.
struct Place {
    /// In the picture's codes.
    index: usize,
    /// Of its stage's codebook.
    k: u16,
}

/// The places of a packet's codes, in the order of the payload.
#[derive(Clone, Debug)]
struct Places<'a> {
    extent: Extent<'a>,
    scan: Scan,
    stage: usize,
    cells: Cells,
}

impl<'a> Places<'a> {
    fn new(extent: Extent<'a>, scan: Scan) -> Self {
        let cells = extent.grid.cells();
        let cells = cells.max(1);
        let (stage, position) = (extent.first / cells, extent.first % cells);
        Self {
            extent,
            scan,
            stage: stage as usize,
            cells: scan.cells(extent.grid, position),
        }
    }

    fn left(&self) -> usize {
        (self.extent.end - self.extent.first) as usize
    }
}

impl Iterator for Places<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        if self.left() == 0 {
            return None;
        }
        self.extent.first += 1;
        if self.cells.len() == 0 {
            self.stage += 1;
            self.cells = self.scan.cells(self.extent.grid, 0);
        }
        let cell = self.cells.next()?;
        let k = *self.extent.stream.stages().get(self.stage)?;
        Some(Place {
            index: self.stage * self.extent.grid.cells() as usize + cell,
            k,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left(), Some(self.left()))
    }
}
