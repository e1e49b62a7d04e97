//! Packets in a file, or in flash: each behind its length, two bytes, little-endian.

use super::{Header, PacketError, VERSION};

/// How many bytes are summed up, at most, in looking for the next packet behind damage; it takes a file that was
/// made for it to come near.
const SEARCH: usize = 1 << 28;

/// The packets of a `.vqc` file, in order, and what is damaged between them; a file of no bytes has no packets.
///
/// Damage costs what is in its place. Packets with a good check sum are good. Bytes that are none are handed over as
/// they are if their length leads no farther than to the next good packet: to say what is wrong with them is the
/// receiver's part. If it leads astray, all up to the next good packet is one fault; but where the end of it is a
/// packet, and only its length was damaged, that packet is handed over too.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    file: &'a [u8],
    /// Where the next frame begins, or should.
    at: usize,
    /// If beyond `at`: where the packet without a length begins that ends at `good`, or else `good`.
    mended: usize,
    /// If beyond `at`: where the next good frame begins, or else the file's end.
    good: usize,
    /// How many bytes may still be summed up in a search.
    search: usize,
}

impl<'a> Frames<'a> {
    /// `file` is the whole file.
    pub fn new(file: &'a [u8]) -> Self {
        Self {
            file,
            at: 0,
            mended: 0,
            good: 0,
            search: SEARCH,
        }
    }

    /// How many bytes of the file have been read: where the next packet, with its length, begins.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The packet that the length at `at` leads over.
    fn framed(&self, at: usize) -> Option<&'a [u8]> {
        let (length, rest) = self.file.get(at..)?.split_first_chunk::<LENGTH>()?;
        let packet = rest.get(..u16::from_le_bytes(*length).into())?;
        Some(packet).filter(|packet| !packet.is_empty())
    }

    /// The first of some places where a good packet begins, or `none`.
    fn find(
        &mut self,
        places: core::ops::Range<usize>,
        none: usize,
        packet: impl Fn(&Self, usize) -> Option<&'a [u8]>,
    ) -> usize {
        for at in places {
            // Of other versions no check sum is known.
            let version = |packet: &&[u8]| packet.first().is_some_and(|byte| byte >> 4 == VERSION);
            if let Some(packet) = packet(self, at).filter(version) {
                let Some(left) = self.search.checked_sub(packet.len()) else {
                    return none;
                };
                self.search = left;
                if is_good(packet) {
                    return at;
                }
            }
        }
        none
    }

    /// Looks for what is good behind the damage at `at`.
    fn look_ahead(&mut self) {
        let end = self.file.len();
        self.good = self.find(self.at + 1..end, end, Self::framed);
        let good = self.good;
        let nearest = self.at.max(good.saturating_sub(u16::MAX.into()));
        self.mended = self.find(nearest..good, good, |frames, at| frames.file.get(at..good));
    }

    /// What is to be made of the bytes from `at` to `good`.
    fn damaged(&mut self) -> Result<&'a [u8], PacketError> {
        let between = self.file.get(self.at..self.mended).unwrap_or(&[]);
        if self.mended < self.good && matches!(between.len(), 0 | LENGTH) {
            let packet = self.file.get(self.mended..self.good).unwrap_or(&[]);
            self.at = self.good;
            return Ok(packet);
        }
        let framed = self.framed(self.at);
        if let Some(packet) = framed.filter(|packet| LENGTH + packet.len() <= between.len()) {
            self.at += LENGTH + packet.len();
            return Ok(packet);
        }
        self.at = self.mended;
        Err(if between.starts_with(&[0; LENGTH]) {
            PacketError::FileEmptyPacket
        } else if self.mended == self.file.len() && between.len() >= LENGTH {
            PacketError::FileTruncated
        } else {
            PacketError::FileStray
        })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<&'a [u8], PacketError>;

    /// # Errors
    /// `FileTruncated`, `FileStray` and `FileEmptyPacket`; the packets behind it still come.
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.file.len() {
            return None;
        }
        if self.at >= self.good {
            if let Some(packet) = self.framed(self.at).filter(|packet| is_good(packet)) {
                self.at += LENGTH + packet.len();
                return Some(Ok(packet));
            }
            self.look_ahead();
        }
        Some(self.damaged())
    }
}

/// Bytes of a packet's length.
const LENGTH: usize = 2;

/// Whether bytes are a packet of some model.
fn is_good(packet: &[u8]) -> bool {
    Header::read(packet).is_ok()
}

/// What stands before `packet` in a file.
///
/// # Errors
/// `FileEmptyPacket`, and `PacketSize` beyond 65535 bytes.
pub fn frame_length(packet: &[u8]) -> Result<[u8; LENGTH], PacketError> {
    match u16::try_from(packet.len()) {
        Ok(0) => Err(PacketError::FileEmptyPacket),
        Ok(length) => Ok(length.to_le_bytes()),
        Err(_) => Err(PacketError::PacketSize),
    }
}
