//! Packets, in any order and with any of them lost or repeated, back into a picture's codes.

use super::{MISSING, Packet, PacketError, PictureSize, Scan, Stream};

/// The codes of one picture while its packets come in. The first packet says which picture it is.
#[derive(Debug)]
pub struct Assembly<'a> {
    stream: &'a Stream,
    codes: &'a mut [u16],
    picture: Option<Picture>,
    present: usize,
    packets: u16,
    repeated: u32,
}

/// What all packets of a picture have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Picture {
    size: PictureSize,
    scan: Scan,
    image: Option<u16>,
    packets: u16,
    codes: usize,
}

/// What a packet brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// Codes that were missing.
    Codes,
    /// Nothing new: the packet had come before.
    Repeated,
}

impl<'a> Assembly<'a> {
    /// Starts a picture. `codes` is room for as many codes as the largest picture to be received
    /// has ([`Stream::code_count`]); what it holds is overwritten.
    pub fn new(stream: &'a Stream, codes: &'a mut [u16]) -> Self {
        codes.fill(MISSING);
        Self {
            stream,
            codes,
            picture: None,
            present: 0,
            packets: 0,
            repeated: 0,
        }
    }

    /// Takes the codes out of one packet. After an error all is as it was before.
    ///
    /// # Errors
    /// Those of [`Packet::check`]; `OtherPicture` if size, scan, image id, count or codes
    /// contradict the packets before; `Buffer` if the picture has more codes than there is room.
    pub fn add(&mut self, bytes: &[u8]) -> Result<Added, PacketError> {
        let packet = Packet::check(bytes, self.stream)?;
        let picture = self.picture_of(&packet)?;
        if self.picture.is_some_and(|known| known != picture) {
            return Err(PacketError::OtherPicture);
        }
        if picture.codes > self.codes.len() {
            return Err(PacketError::Buffer);
        }
        // The parts of a picture do not overlap: either all codes of a packet are there, or none.
        if packet
            .codes()
            .next()
            .is_some_and(|(index, _)| self.codes.get(index) != Some(&MISSING))
        {
            if packet
                .codes()
                .any(|(index, code)| self.codes.get(index) != Some(&code))
            {
                return Err(PacketError::OtherPicture);
            }
            self.repeated = self.repeated.saturating_add(1);
            return Ok(Added::Repeated);
        }
        for (index, code) in packet.codes() {
            if let Some(place) = self.codes.get_mut(index) {
                *place = code;
                self.present += 1;
            }
        }
        self.packets += 1;
        self.picture = Some(picture);
        Ok(Added::Codes)
    }

    /// The picture's codes so far, stage by stage and row by row, [`MISSING`] where none has come;
    /// empty before the first packet.
    pub fn codes(&self) -> &[u16] {
        &self.codes[..self.code_count()]
    }

    /// The picture's size, once a packet has come.
    pub fn size(&self) -> Option<PictureSize> {
        self.picture.map(|picture| picture.size)
    }

    /// The picture's image id, if it comes in several packets and one is there.
    pub fn image(&self) -> Option<u16> {
        self.picture.and_then(|picture| picture.image)
    }

    /// How many codes the picture has, all stages counted; 0 before the first packet.
    pub fn code_count(&self) -> usize {
        self.picture.map_or(0, |picture| picture.codes)
    }

    /// How many of them have come.
    pub fn codes_present(&self) -> usize {
        self.present
    }

    /// How many packets the picture takes; 0 before the first.
    pub fn packet_count(&self) -> u16 {
        self.picture.map_or(0, |picture| picture.packets)
    }

    /// How many different ones have come.
    pub fn packets_present(&self) -> u16 {
        self.packets
    }

    /// How many have come again.
    pub fn packets_repeated(&self) -> u32 {
        self.repeated
    }

    /// Whether no code is missing.
    pub fn is_complete(&self) -> bool {
        self.picture
            .is_some_and(|picture| picture.codes == self.present)
    }

    fn picture_of(&self, packet: &Packet<'_>) -> Result<Picture, PacketError> {
        let (header, size) = (packet.header(), packet.size());
        Ok(Picture {
            size,
            scan: header.scan,
            image: header.fragment.map(|part| part.image),
            packets: header.fragment.map_or(1, |part| part.count),
            codes: self.stream.code_count(size)?,
        })
    }
}
