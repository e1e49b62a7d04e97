//! Packets on the host: those of a file, or of a link, of however many pictures in whatever order.
//!
//! ```text
//! bytes of a .vqc file -> frames -> sort -> a Bundle for each picture -> its codes
//! codes -> Codec::packets -> join -> bytes of a .vqc file
//! ```

use std::collections::{HashMap, HashSet};

use vq_core::bitstream::{
    DERIVED_NUMBERS, Frames, MISSING, Packet, PacketError, PictureId, PictureSize, Receiver,
    Stream, frame_length, image_number,
};

use crate::codec::{CodecError, picture_size};
use crate::picture::Size;

/// A packet of a file, or what is damaged in its place.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where it begins, in bytes from the start of the file.
    pub at: usize,
    /// How many bytes it takes, its length field included.
    pub bytes: usize,
    /// The packet, unchecked.
    pub packet: Result<&'a [u8], PacketError>,
}

/// Walks through the bytes of a `.vqc` file, past whatever is damaged; see [`Frames`].
pub fn frames(file: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut frames = Frames::new(file);
    std::iter::from_fn(move || {
        let at = frames.position();
        let packet = frames.next()?;
        let bytes = frames.position() - at;
        Some(Frame { at, bytes, packet })
    })
}

/// Packets as the bytes of a `.vqc` file.
///
/// # Errors
/// A packet too long for the file's framing.
pub fn join<P: AsRef<[u8]>>(packets: &[P]) -> Result<Vec<u8>, PacketError> {
    let mut file = Vec::new();
    for packet in packets.iter().map(P::as_ref) {
        file.extend(frame_length(packet)?);
        file.extend(packet);
    }
    Ok(file)
}

/// Numbers the pictures of one run, so that no two have the same.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    counted: Option<u16>,
    derived: HashSet<u16>,
}

impl From<Option<u16>> for Numbers {
    /// Counts from `first`; without one, each picture's number is made from its codes ([`image_number`]).
    fn from(first: Option<u16>) -> Self {
        Self {
            counted: first,
            derived: HashSet::new(),
        }
    }
}

impl Numbers {
    /// The number of the next picture.
    pub fn next(&mut self, size: PictureSize, codes: &[u16]) -> u16 {
        if let Some(number) = self.counted {
            self.counted = Some(number.wrapping_add(1));
            return number;
        }
        let mut number = image_number(size, codes);
        // Once all are taken, two pictures may have the same.
        if self.derived.len() < DERIVED_NUMBERS.len() {
            while !self.derived.insert(number) {
                number += 1;
                if !DERIVED_NUMBERS.contains(&number) {
                    number = *DERIVED_NUMBERS.start();
                }
            }
        }
        number
    }
}

/// The packets that have come, by picture.
#[derive(Clone, Debug, Default)]
pub struct Sorted<'a> {
    /// In the order in which their first packets came.
    pub pictures: Vec<Bundle<'a>>,
    /// What could not be used.
    pub faults: Vec<Fault>,
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it was: bytes from the start of the file, or how many packets came before it.
    pub at: usize,
    /// What it was.
    pub error: PacketError,
}

/// The good packets of one picture, each once.
#[derive(Clone, Debug)]
pub struct Bundle<'a> {
    /// What they have in common.
    pub picture: PictureId,
    /// In the order in which they came.
    pub packets: Vec<&'a [u8]>,
    /// How many came again.
    pub repeated: usize,
}

/// A picture put together from packets.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its size in pixels.
    pub size: Size,
    /// Stage by stage, row by row; [`MISSING`] where no packet told.
    pub codes: Vec<u16>,
    /// Packets that it was put together from.
    pub packets: usize,
    /// Packets that it was sent in.
    pub sent: usize,
}

impl<'a> Sorted<'a> {
    /// Checks packets and puts those of one picture together. Each stands behind its place; see [`Fault::at`].
    ///
    /// Two pictures of which everything but the codes agree, their number too, are told apart as soon as both have
    /// sent the same part; what comes then of other parts belongs to the later one.
    pub fn new(
        stream: &Stream,
        packets: impl IntoIterator<Item = (usize, Result<&'a [u8], PacketError>)>,
    ) -> Self {
        let mut sorted = Self::default();
        // By a packet's bytes, which are the same only if header and codes are.
        let mut seen: HashMap<&[u8], usize> = HashMap::new();
        let mut newest: HashMap<PictureId, usize> = HashMap::new();
        let mut parts: HashSet<(usize, u16)> = HashSet::new();
        for (at, packet) in packets {
            let checked = packet.and_then(|bytes| Ok((bytes, Packet::check(bytes, stream)?)));
            let (bytes, packet) = match checked {
                Ok(checked) => checked,
                Err(error) => {
                    sorted.faults.push(Fault { at, error });
                    continue;
                }
            };
            if let Some(&bundle) = seen.get(bytes) {
                sorted.pictures[bundle].repeated += 1;
                continue;
            }
            let picture = packet.picture();
            let index = packet.header().fragment.map_or(0, |part| part.index);
            let known = newest.get(&picture).copied();
            let bundle = known.filter(|&bundle| !parts.contains(&(bundle, index)));
            let bundle = bundle.unwrap_or_else(|| sorted.begin(picture));
            sorted.pictures[bundle].packets.push(bytes);
            newest.insert(picture, bundle);
            parts.insert((bundle, index));
            seen.insert(bytes, bundle);
        }
        sorted
    }

    fn begin(&mut self, picture: PictureId) -> usize {
        self.pictures.push(Bundle {
            picture,
            packets: Vec::new(),
            repeated: 0,
        });
        self.pictures.len() - 1
    }

    /// Numbers that several pictures have, of which nothing but the codes differs: their packets may be mixed.
    pub fn shared_numbers(&self) -> Vec<u16> {
        let mut ids: Vec<_> = self.pictures.iter().map(|bundle| bundle.picture).collect();
        ids.sort_unstable();
        let twice = ids.windows(2).filter(|pair| pair[0] == pair[1]);
        let mut numbers: Vec<u16> = twice.filter_map(|pair| pair[0].image).collect();
        numbers.dedup();
        numbers
    }
}

impl Bundle<'_> {
    /// The picture's size in pixels.
    pub fn size(&self) -> Size {
        Size {
            width: self.picture.size.width.into(),
            height: self.picture.size.height.into(),
        }
    }

    /// The share of the picture's codes that has come, 0 to 1.
    pub fn share(&self, stream: &Stream) -> f64 {
        let checked = self
            .packets
            .iter()
            .filter_map(|packet| Packet::check(packet, stream).ok());
        let come: usize = checked.map(|packet| packet.codes().len()).sum();
        let all = stream.code_count(self.picture.size).unwrap_or(usize::MAX);
        come as f64 / all as f64
    }

    /// The picture's codes.
    ///
    /// # Errors
    /// [`CodecError::TooLarge`], and [`CodecError::Packet`] if the packets are not of this stream.
    pub fn receive(&self, stream: &Stream) -> Result<Received, CodecError> {
        picture_size(self.size())?;
        let codes = vec![MISSING; stream.code_count(self.picture.size)?];
        let mut receiver = Receiver::new(stream, codes);
        for packet in &self.packets {
            receiver.push(packet)?;
        }
        Ok(Received {
            size: self.size(),
            packets: receiver.packets_present().into(),
            sent: self.picture.packets.into(),
            codes: receiver.into_codes(),
        })
    }
}

/// Puts the first picture together of which a packet came.
///
/// # Errors
/// [`CodecError::Nothing`] when not one of them is usable, and those of [`Bundle::receive`].
pub fn receive(stream: &Stream, packets: &[&[u8]]) -> Result<Received, CodecError> {
    let packets = packets.iter().map(|packet| Ok(*packet));
    let sorted = Sorted::new(stream, packets.enumerate());
    let first = sorted.faults.first().map(|fault| fault.error);
    let nothing = CodecError::Nothing(first.unwrap_or(PacketError::Truncated));
    sorted.pictures.first().ok_or(nothing)?.receive(stream)
}
