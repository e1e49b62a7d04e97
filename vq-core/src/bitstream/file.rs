//! Packets in a file, or in flash: each behind its length, two bytes, little-endian.

use super::PacketError;

/// The packets of a `.vqc` file, in order. Ends after the first error; a file of no bytes has no
/// packets. The packets themselves are not looked at.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// `file` is the whole file.
    pub fn new(file: &'a [u8]) -> Self {
        Self { rest: file }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<&'a [u8], PacketError>;

    /// # Errors
    /// `FileTruncated` and `FileEmptyPacket`.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = core::mem::take(&mut self.rest);
        let framed = rest
            .split_first_chunk::<2>()
            .and_then(|(length, rest)| rest.split_at_checked(u16::from_le_bytes(*length).into()));
        let Some((packet, rest)) = framed else {
            return Some(Err(PacketError::FileTruncated));
        };
        if packet.is_empty() {
            return Some(Err(PacketError::FileEmptyPacket));
        }
        self.rest = rest;
        Some(Ok(packet))
    }
}

/// What stands before `packet` in a file.
///
/// # Errors
/// `FileEmptyPacket`, and `PacketSize` beyond 65535 bytes.
pub fn frame_length(packet: &[u8]) -> Result<[u8; 2], PacketError> {
    match u16::try_from(packet.len()) {
        Ok(0) => Err(PacketError::FileEmptyPacket),
        Ok(length) => Ok(length.to_le_bytes()),
        Err(_) => Err(PacketError::PacketSize),
    }
}
