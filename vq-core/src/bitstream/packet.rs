//! One packet: the checked view of received bytes, and the writing of a packet from its header.

use super::coder::{Coder, Fixed, Reader, Symbol};
use super::header::seal;
use super::places::{Part, Place, Places};
use super::{Grid, Header, MISSING, PacketError, PictureSize, Scan, Stream};

/// A packet that has passed every check: no accessor can fail.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    header: Header,
    picture: PictureId,
    contents: Contents<'a>,
    payload: &'a [u8],
}

/// What all packets of one picture have in common, and by which pictures are told apart.
///
/// A packet without a fragment field has no image id: it is a picture by itself, and two of them with other codes
/// are two pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PictureId {
    /// The image id of its fragments.
    pub image: Option<u16>,
    /// In pixels.
    pub size: PictureSize,
    /// The order of its codes.
    pub scan: Scan,
    /// How many packets it takes.
    pub packets: u16,
}

impl<'a> Packet<'a> {
    /// Checks `bytes`, all of them one packet, against the stream that the receiver decodes.
    ///
    /// # Errors
    /// See [`PacketError`], from `Truncated` down to `Code`. What passes is byte for byte what
    /// [`Header::emit`] writes for the same header and codes.
    pub fn check(bytes: &'a [u8], stream: &'a Stream) -> Result<Self, PacketError> {
        let (header, payload) = Header::split(bytes)?;
        let contents = Contents::new(&header, stream)?;
        let places = contents.places_if_asked(header.scan);
        contents.coder.check(contents.part, places, payload)?;
        Ok(Self {
            header,
            picture: header.picture(stream),
            contents,
            payload,
        })
    }

    /// The header as a plain value.
    pub fn header(&self) -> Header {
        self.header
    }

    /// Which picture it belongs to.
    pub fn picture(&self) -> PictureId {
        self.picture
    }

    /// The picture's size, said or native.
    pub fn size(&self) -> PictureSize {
        self.picture.size
    }

    /// How many codes the picture has, all stages counted.
    pub fn code_count(&self) -> usize {
        self.contents.code_count()
    }

    /// The packet's codes, each with its index in the picture's codes: stage * cells + row *
    /// columns + column.
    pub fn codes(&self) -> Codes<'a> {
        Codes {
            places: self.contents.places(self.header.scan),
            reader: self.contents.coder.reader(self.payload),
        }
    }
}

/// The codes of a packet with their indices.
#[derive(Clone, Debug)]
pub struct Codes<'a> {
    places: Places<'a>,
    reader: <Fixed<'a> as Coder>::Reader<'a>,
}

impl Iterator for Codes<'_> {
    type Item = (usize, u16);

    fn next(&mut self) -> Option<(usize, u16)> {
        let place = self.places.next()?;
        Some((place.index, self.reader.next(place)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl ExactSizeIterator for Codes<'_> {}

impl Header {
    /// Length in bytes of the packet with this header and its part of `codes`, which are those of the whole
    /// picture, stage by stage and row by row.
    ///
    /// # Errors
    /// `WrongModel`, `Size` or `Fragment` if the stream has no such packet; `CodeCount` for a wrong number of codes.
    pub fn packet_len(&self, stream: &Stream, codes: &[u16]) -> Result<usize, PacketError> {
        let contents = Contents::of(self, stream, codes)?;
        let places = contents.places_if_asked(self.scan);
        let symbols = places.map(|place| symbol(codes, place));
        let payload = contents.coder.payload_len(contents.part, symbols);
        Ok(self.overhead() + payload)
    }

    /// Writes the packet with this header into the front of `buffer` and returns its length.
    /// `codes` are those of the whole picture, stage by stage and row by row.
    ///
    /// # Errors
    /// As [`Header::packet_len`]; `Buffer` if it does not fit; `Code` where a code of the packet is not below its
    /// stage's K, as a missing one.
    pub fn emit(
        &self,
        stream: &Stream,
        codes: &[u16],
        buffer: &mut [u8],
    ) -> Result<usize, PacketError> {
        let contents = Contents::of(self, stream, codes)?;
        let places = contents.places(self.scan);
        let symbols = places.map(|place| symbol(codes, place));
        let rest = self.put(buffer)?;
        let payload = contents.coder.write(contents.part, symbols, rest)?;
        let length = self.overhead() + payload;
        seal(buffer.get_mut(..length).ok_or(PacketError::Buffer)?);
        Ok(length)
    }

    /// The picture that this packet of `stream` belongs to.
    pub(super) fn picture(&self, stream: &Stream) -> PictureId {
        PictureId {
            image: self.fragment.map(|part| part.image),
            size: self.size.unwrap_or(stream.native()),
            scan: self.scan,
            packets: self.fragment.map_or(1, |part| part.count),
        }
    }
}

/// Which codes of which grid a packet holds, and how they are coded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contents<'a> {
    stages: &'a [u16],
    grid: Grid,
    coder: Fixed<'a>,
    part: Part,
}

impl<'a> Contents<'a> {
    pub(super) fn new(header: &Header, stream: &'a Stream) -> Result<Self, PacketError> {
        if header.model != stream.model() {
            return Err(PacketError::WrongModel);
        }
        if header.size == Some(stream.native()) {
            return Err(PacketError::Size);
        }
        let grid = stream.grid(header.size.unwrap_or(stream.native()))?;
        let coder = stream.coder(grid);
        Ok(Self {
            stages: stream.stages(),
            grid,
            coder,
            part: coder.part(header.fragment)?,
        })
    }

    /// As [`Contents::new`], for a picture of these codes.
    fn of(header: &Header, stream: &'a Stream, codes: &[u16]) -> Result<Self, PacketError> {
        let contents = Self::new(header, stream)?;
        if codes.len() == contents.code_count() {
            Ok(contents)
        } else {
            Err(PacketError::CodeCount)
        }
    }

    fn code_count(&self) -> usize {
        self.stages.len() * self.grid.cells() as usize
    }

    /// Where the packet's codes belong, in the order in which they are sent.
    pub(super) fn places(&self, scan: Scan) -> Places<'a> {
        Places::new(self.stages, self.grid, scan, self.part)
    }

    /// The same, for a coder that may have no use for them: where the scan begins is looked for with the first.
    fn places_if_asked(self, scan: Scan) -> impl Iterator<Item = Place> + use<'a> {
        core::iter::once(self).flat_map(move |contents| contents.places(scan))
    }
}

/// The code at a place, out of all of the picture's.
fn symbol(codes: &[u16], place: Place) -> Symbol {
    let code = codes.get(place.index).copied().unwrap_or(MISSING);
    Symbol { place, code }
}
