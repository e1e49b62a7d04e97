//! Packets, in any order and with any of them lost, damaged or repeated, back into a picture's codes.

use super::packet::Contents;
use super::{Fragment, Header, MISSING, Packet, PacketError, PictureId, PictureSize, Stream};

/// Collects the packets of one picture at a time.
///
/// It holds its own copy of the stream's description and the memory for codes, so it borrows nothing but what `C`
/// borrows: `[u16; N]` for a `static` or a task's state, `&mut [u16]` for memory that lies elsewhere, `Vec<u16>`
/// on a host. It reads no bytes by itself and waits for nothing.
///
/// The first good packet says which picture is followed; [`Receiver::restart`] gives it up. Packets of other
/// pictures are told of ([`Event::OtherPicture`]) and not taken, so that the caller can push them once more to this
/// receiver, after a restart, or to another one.
///
/// ```
/// use vq_core::bitstream::{CodedPicture, Event, PacketError, Packets, PictureSize, Receiver, Stream};
///
/// # fn main() -> Result<(), PacketError> {
/// let size = PictureSize { width: 64, height: 64 };
/// let stream = Stream::new(0x2a5c, size, 8, &[512])?;
/// let mut receiver = Receiver::new(&stream, [0; 64]);
///
/// # let mut sent = Vec::new();
/// # for image in [3, 4] {
/// #     let codes = [image; 64];
/// #     let packets = Packets::new(&stream, CodedPicture { size, image, codes: &codes }, 40)?;
/// #     for index in 0..packets.count() {
/// #         sent.push(packets.write(index, &mut [0; 40])?.to_vec());
/// #     }
/// # }
/// # let damaged = sent[1].iter().map(|byte| byte ^ 4).collect();
/// # sent.insert(1, damaged);
/// # let mut complete = 0;
/// for packet in &sent {
///     match receiver.push(packet) {
///         Ok(Event::Codes | Event::Repeated) => {}
///         Ok(Event::Complete) => {
///             // receiver.codes() are ready for a decoder.
/// #           complete += 1;
///         }
///         Ok(Event::OtherPicture { newer: true, .. }) => {
///             // What has come of the picture before is worth decoding too; missing codes are concealed.
///             receiver.restart();
///             receiver.push(packet)?;
///         }
///         Ok(Event::OtherPicture { newer: false, .. }) => {} // a straggler
///         Err(_) => {} // damaged, or not for us: as if it were lost
///     }
///     for _index in receiver.missing() {
///         // A link with a way back can ask for it.
///     }
/// }
/// # assert_eq!((complete, receiver.image(), receiver.codes()), (2, Some(4), &[4; 64][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Receiver<C> {
    stream: Stream,
    codes: C,
    picture: Option<PictureId>,
    /// The picture that was given up last.
    before: Option<PictureId>,
    /// How many codes the picture has.
    count: usize,
    present: usize,
    packets: u16,
    repeated: u32,
}

/// What a good packet meant to a [`Receiver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It brought codes that were missing; others still are.
    Codes,
    /// It brought the last codes that were missing.
    Complete,
    /// It had come before.
    Repeated,
    /// It belongs to another picture than the one that is followed, and was not taken.
    OtherPicture {
        /// Which one.
        picture: PictureId,
        /// Whether it has begun after the one that is followed: false for late packets of the picture that was
        /// given up last.
        newer: bool,
    },
}

impl<C: AsRef<[u16]> + AsMut<[u16]>> Receiver<C> {
    /// Waits for the first packet. `codes` is room for as many codes as the largest picture to be received
    /// has ([`Stream::code_count`]); what it holds is overwritten.
    pub fn new(stream: &Stream, codes: C) -> Self {
        let mut receiver = Self {
            stream: stream.clone(),
            codes,
            picture: None,
            before: None,
            count: 0,
            present: 0,
            packets: 0,
            repeated: 0,
        };
        receiver.restart();
        receiver
    }

    /// Gives the picture up, with all that has come of it, and follows that of the next good packet.
    pub fn restart(&mut self) {
        self.codes.as_mut().fill(MISSING);
        self.before = self.picture.take().or(self.before);
        (self.count, self.present) = (0, 0);
        (self.packets, self.repeated) = (0, 0);
    }

    /// Takes the codes out of one packet, if it is one of the picture that is followed. After an error, and after
    /// [`Event::OtherPicture`], all is as it was before.
    ///
    /// # Errors
    /// Those of [`Packet::check`]; `Buffer` if the picture has more codes than there is room.
    pub fn push(&mut self, packet: &[u8]) -> Result<Event, PacketError> {
        let packet = Packet::check(packet, &self.stream)?;
        let picture = packet.picture();
        if self.picture.is_some_and(|followed| followed != picture) {
            let newer = self.before != Some(picture);
            return Ok(Event::OtherPicture { picture, newer });
        }
        let codes = self.codes.as_mut();
        if packet.code_count() > codes.len() {
            return Err(PacketError::Buffer);
        }
        // The parts of a picture do not overlap: either all codes of a packet are there, or none.
        let is_there = |(index, _)| codes.get(index) != Some(&MISSING);
        if packet.codes().next().is_some_and(is_there) {
            let is_same = |(index, code)| codes.get(index) == Some(&code);
            if !packet.codes().all(is_same) {
                // A sender that has begun anew, with the number that the picture before had.
                let newer = true;
                return Ok(Event::OtherPicture { picture, newer });
            }
            self.repeated = self.repeated.saturating_add(1);
            return Ok(Event::Repeated);
        }
        for (index, code) in packet.codes() {
            if let Some(place) = codes.get_mut(index) {
                *place = code;
                self.present += 1;
            }
        }
        self.packets += 1;
        self.count = packet.code_count();
        self.picture = Some(picture);
        Ok(if self.is_complete() {
            Event::Complete
        } else {
            Event::Codes
        })
    }

    /// The picture's codes so far, stage by stage and row by row, [`MISSING`] where none has come;
    /// empty before the first packet.
    pub fn codes(&self) -> &[u16] {
        self.codes.as_ref().get(..self.count).unwrap_or(&[])
    }

    /// The indices of the packets that have not come, from the lowest; none before the first packet.
    ///
    /// Nothing is kept for this: a packet is there if its first code is.
    pub fn missing(&self) -> impl Iterator<Item = u16> + '_ {
        let picture = self.picture.filter(|_| !self.is_complete());
        let packets = picture.map_or(0, |picture| picture.packets);
        (0..packets).filter(move |&index| picture.is_some_and(|picture| !self.has(picture, index)))
    }

    /// Whether packet `index` of the picture has come.
    fn has(&self, picture: PictureId, index: u16) -> bool {
        let fragment = picture.image.map(|image| Fragment {
            image,
            index,
            count: picture.packets,
        });
        let header = Header {
            model: self.stream.model(),
            size: Some(picture.size).filter(|&size| size != self.stream.native()),
            scan: picture.scan,
            fragment,
        };
        let first = Contents::new(&header, &self.stream)
            .ok()
            .and_then(|contents| contents.places(header.scan).next());
        first.is_some_and(|place| {
            let code = self.codes.as_ref().get(place.index);
            code.is_some_and(|&code| code != MISSING)
        })
    }

    /// Which picture is followed, once a packet has come.
    pub fn picture(&self) -> Option<PictureId> {
        self.picture
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
        self.count
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
        self.picture.is_some() && self.count == self.present
    }

    /// The memory for codes, with what has come.
    pub fn into_codes(self) -> C {
        self.codes
    }
}
