//! Codes on the wire: `.vqc`, as FORMAT.md defines it. Everything here is integer arithmetic.
//!
//! Data's path, one module a step:
//!
//! ```text
//! send:     codes -> Packets (how many, which codes in which) -> Header::emit -> bytes
//! receive:  bytes -> Packet::check -> Assembly -> codes, MISSING where a packet was lost
//! keep:     bytes of a file -> Frames -> one packet after the other
//! ```
//!
//! What both ends know beforehand is a [`Stream`]; where in a picture the codes of a packet lie is
//! the business of its [`Scan`]. Nothing here knows about codebooks' contents or pixels' values.

mod assembly;
mod bits;
mod error;
mod file;
mod header;
mod packet;
mod scan;
mod send;
mod stream;

pub use crate::shape::{Grid, MAX_STAGES, PictureSize};
pub use assembly::{Added, Assembly};
pub use error::PacketError;
pub use file::{Frames, frame_length};
pub use header::{Fragment, Header};
pub use packet::{Codes, Packet};
pub use scan::{Cells, Scan};
pub use send::{CodedPicture, Packets};
pub use stream::Stream;

/// The version of the packet format that this crate writes, and the newest that it reads.
pub const VERSION: u8 = 1;

/// Stands in a grid of codes where none has arrived; never a code, for K is at most 65535.
pub const MISSING: u16 = u16::MAX;

/// Most codes of one picture, all stages counted: what keeps every product within 32 bits.
pub const MAX_CODES: u32 = 1 << 24;

/// Most packets of one picture: index and count take at most two bytes each.
pub const MAX_PACKETS: u16 = (1 << 14) - 1;

/// Packets may be limited to any number of bytes in this range.
pub const PACKET_BYTES: core::ops::RangeInclusive<usize> = 20..=65535;
