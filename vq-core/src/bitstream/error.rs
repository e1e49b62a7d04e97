//! What can be wrong with a packet, a grid of codes or a file of packets.

use core::fmt;

/// Why packets could not be read, put together or written. Each is named for what failed, in the
/// order in which a reader meets them.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// Fewer bytes than a packet's fixed fields, or a header that ends early.
    Truncated,
    /// The first byte is not that of a packet.
    NotAPacket,
    /// Written by a later version of the format, or with an entropy-coded payload.
    Newer,
    /// The check sum does not match the bytes.
    Crc,
    /// A number in the header is longer than need be, or beyond 65535.
    Varint,
    /// The codes belong to another model's codebooks.
    WrongModel,
    /// The picture's size is zero, too large, or said although it is the native one.
    Size,
    /// The packet's index or count contradict each other or the picture's size.
    Fragment,
    /// The payload is not as long as the header demands.
    Length,
    /// The unused bits of the last payload byte are not zero.
    Padding,
    /// A code is not below its codebook's number of codes.
    Code,
    /// The packet belongs to another picture than the ones before it.
    OtherPicture,
    /// The caller's buffer is too small.
    Buffer,
    /// The stream's description is impossible: no stages or too many, K or a size of 0, K of 65536.
    Stream,
    /// The number of codes given is not that of the picture.
    CodeCount,
    /// Packets cannot be limited to this size.
    PacketSize,
    /// The picture needs more packets than the format can count.
    TooManyPackets,
    /// The file ends within a packet or its length field.
    FileTruncated,
    /// The file holds a packet of no bytes.
    FileEmptyPacket,
}

impl PacketError {
    /// One line for people.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Truncated => "packet: ends within its header",
            Self::NotAPacket => "packet: the first byte is not that of a packet",
            Self::Newer => "packet: written by a newer version of the format",
            Self::Crc => "packet: damaged (check sum differs)",
            Self::Varint => "packet: a number in the header is too long or too large",
            Self::WrongModel => "packet: made with another model",
            Self::Size => "packet: impossible picture size",
            Self::Fragment => "packet: impossible index or count",
            Self::Length => "packet: the payload has the wrong length",
            Self::Padding => "packet: unused bits are set",
            Self::Code => "packet: a code is outside of its codebook",
            Self::OtherPicture => "packet: belongs to another picture",
            Self::Buffer => "packet: the buffer is too small",
            Self::Stream => "stream: impossible parameters",
            Self::CodeCount => "stream: not as many codes as the picture has",
            Self::PacketSize => "stream: a packet must be limited to 20..=65535 bytes",
            Self::TooManyPackets => "stream: the picture needs too many packets of this size",
            Self::FileTruncated => "packet file: ends within a packet",
            Self::FileEmptyPacket => "packet file: a packet without bytes",
        }
    }
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl core::error::Error for PacketError {}
