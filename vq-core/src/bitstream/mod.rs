//! Codes on the wire: `.vqc`, as FORMAT.md defines it. Everything here is integer arithmetic.
//!
//! Data's path, one module a step:
//!
//! ```text
//! send:     codes -> Packets (how many, which codes in which) -> Header::emit -> bytes
//! receive:  bytes -> Packet::check -> Receiver -> codes, MISSING where a packet was lost
//! keep:     bytes of a file -> Frames -> one packet after the other
//! ```
//!
//! What both ends know beforehand is a [`Stream`]; where in a picture the codes of a packet lie is
//! the business of its [`Scan`], and how they become bytes that of its coder. Nothing here knows about codebooks'
//! contents or pixels' values.

mod error;
mod stream;
mod header;
mod scan;
mod places;
mod coder;
mod packet;
mod send;
mod receiver;
mod file;

pub use crate::shape::{Grid, MAX_STAGES, PictureSize};
pub use error::PacketError;
pub use file::{Frames, frame_length};
pub use header::{Fragment, Header};
pub use packet::{Codes, Packet, PictureId};
pub use receiver::{Event, Receiver};
pub use scan::{Cells, Scan};
pub use send::{CodedPicture, Packets, image_number};
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

/// What [`image_number`] gives: all that take two bytes in a header.
pub const DERIVED_NUMBERS: core::ops::RangeInclusive<u16> = 1 << 7..=(1 << 14) - 1;
