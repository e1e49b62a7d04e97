//! What can be wrong with a packet, a grid of codes or a file of packets.

/// Declares the errors, so that each one's message is its documentation too.
macro_rules! errors {
    ($(#[$of_all:meta])* $name:ident { $($variant:ident: $message:literal,)* }) => {
        $(#[$of_all])*
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum $name {
            $(
                #[doc = $message]
                #[error($message)]
                $variant,
            )*
        }
    };
}

errors! {
    /// Why packets could not be read, put together or written. Each is named for what failed, in the
    /// order in which a reader meets them.
    PacketError {
        Truncated: "packet: ends within its header",
        NotAPacket: "packet: the first byte is not that of a packet",
        Newer: "packet: of a newer version of the format, or entropy-coded",
        Crc: "packet: damaged (check sum differs)",
        Varint: "packet: a number in the header is longer than need be, or beyond 65535",
        WrongModel: "packet: made with another model",
        Size: "packet: the picture's size is zero, too large, or said although it is the model's own",
        Fragment: "packet: impossible index or count",
        Length: "packet: the payload has the wrong length",
        Code: "packet: a code is outside of its codebook",
        Padding: "packet: unused bits are set",
        Buffer: "packet: the buffer is too small",
        Stream: "stream: there are 1 to 8 stages of 1 to 65535 codes, and at least 1 pixel a code",
        CodeCount: "stream: not as many codes as the picture has",
        PacketSize: "stream: a packet must be limited to 20..=65535 bytes",
        TooManyPackets: "stream: the picture needs too many packets of this size",
        FileTruncated: "packet file: ends within a packet",
        FileStray: "packet file: bytes that belong to no packet",
        FileEmptyPacket: "packet file: a packet without bytes",
    }
}
