//! The seam between packets and entropy coding: what codes cost, and how they become a payload's bytes.
//!
//! The codes of a picture are numbered in the order of sending (stage * cells + position in the scan), and a
//! packet holds a [`Part`] of them. A [`Coder`] says which part that is, how many bytes it takes, writes it and
//! reads it. Nothing outside of this module knows how wide a code is. [`Fixed`] is the coder of this version.

mod bits;
mod fixed;

pub(super) use fixed::Fixed;

use core::ops::RangeInclusive;

use super::places::{Part, Place};
use super::{Fragment, PacketError};

/// A code, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    pub(super) place: Place,
    /// Below the K of its place, or none that can be sent.
    pub(super) code: u16,
}

/// Turns the codes of pictures of one stream and one size into payloads, each of which can be read by itself.
///
/// What a code costs may depend on the codes before it in the same packet; so all that asks for costs hands over
/// the codes, in the order of sending.
pub(super) trait Coder: Copy {
    /// Reads the codes of one payload, one after the other.
    type Reader<'p>: Reader;

    /// The part in a packet with this fragment field, or in one with none: at least one code.
    ///
    /// # Errors
    /// `Fragment` if a picture is not divided in this way.
    fn part(self, fragment: Option<Fragment>) -> Result<Part, PacketError>;

    /// Into how many packets a picture may be divided. The least number leaves out what cannot fit payloads of
    /// `payload_bytes`; with the most, each packet still holds a code.
    fn counts(self, payload_bytes: usize) -> RangeInclusive<u16>;

    /// How many bytes the payload of these codes takes, which are those of `part`.
    fn payload_len(self, part: Part, codes: impl Iterator<Item = Symbol>) -> usize;

    /// Writes the payload of these codes, which are those of `part`, into the front of `buffer`, and returns its
    /// length in bytes.
    ///
    /// # Errors
    /// `Buffer` if it does not fit, `Code` if one of the codes is not below its K.
    fn write(
        self,
        part: Part,
        codes: impl Iterator<Item = Symbol>,
        buffer: &mut [u8],
    ) -> Result<usize, PacketError>;

    /// Checks that `payload` is what [`Coder::write`] writes for some codes at these places, which are those of
    /// `part`. Only then do the codes of a [`Reader`] mean anything.
    ///
    /// # Errors
    /// `Length`, `Code` or `Padding`.
    fn check(
        self,
        part: Part,
        places: impl Iterator<Item = Place>,
        payload: &[u8],
    ) -> Result<(), PacketError>;

    /// Reads a payload from its first code on.
    fn reader(self, payload: &[u8]) -> Self::Reader<'_>;
}

/// Reads the codes of one payload.
pub(super) trait Reader {
    /// The next code, which belongs at `place`.
    fn next(&mut self, place: Place) -> u16;
}
