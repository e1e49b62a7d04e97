//! From the payload in flash to a picture that is ready to be decoded.

use core::fmt;

use vq_core::bitstream::{Event, Frames, Receiver};
use vq_core::{Decoder, Model};

use crate::payload::{CODES, MODEL, NEEDS};
use crate::text::line;
use crate::{board, stack};

/// All memory that decoding needs beside the stack, of exactly the size that the payload needs.
#[derive(Debug)]
pub struct Memory {
    decoder: vq_core::Memory<{ NEEDS.values }, { NEEDS.scratch }>,
    codes: [u16; NEEDS.codes],
    row: [u8; NEEDS.row],
}

impl Memory {
    /// As it is at power-on.
    pub const NEW: Self = Self {
        decoder: vq_core::Memory::new(),
        codes: [0; NEEDS.codes],
        row: [0; NEEDS.row],
    };
}

/// A picture that is ready to be decoded.
#[derive(Debug)]
pub struct Session<'s> {
    /// Planned, with its memory.
    pub decoder: Decoder<'s>,
    /// The picture's codes.
    pub codes: &'s [u16],
    /// Room for a row of pixels.
    pub row: &'s mut [u8],
    /// The proved model.
    pub model: &'s Model<'s>,
    /// What proving, reading the packets and planning took, in [`board::UNIT`]s.
    pub start: u64,
}

/// Proves the model, puts the packets together, plans, says which picture it is, and hands all that to
/// `body`. It is the picture of the first good packet; damaged packets and others' are passed over, as if they were
/// lost.
pub fn open(memory: &mut Memory, body: impl FnOnce(Session)) {
    stack::paint();
    let began = board::now();
    let model = Model::parse(MODEL).unwrap_or_else(|e| fail(&e));
    let mut receiver = Receiver::new(model.stream(), &mut memory.codes);
    let mut refused = 0;
    for packet in Frames::new(CODES) {
        let event = packet.and_then(|packet| receiver.push(packet));
        refused += u32::from(matches!(event, Ok(Event::OtherPicture { .. }) | Err(_)));
    }
    let Some(size) = receiver.size() else {
        fail(&"there is no good packet of this model");
    };
    let decoder = Decoder::new(&model, size, &mut memory.decoder).unwrap_or_else(|e| fail(&e));
    let start = board::now() - began;
    line(format_args!(
        "picture width={} height={} channels={} missing={} refused={refused}",
        size.width,
        size.height,
        model.channels(),
        receiver.code_count() - receiver.codes_present(),
    ));
    body(Session {
        decoder,
        codes: receiver.codes(),
        row: &mut memory.row,
        model: &model,
        start,
    });
}

/// Ends the run with a line `error ...` for the host.
pub fn fail(why: &dyn fmt::Display) -> ! {
    line(format_args!("error {why}"));
    board::exit(false)
}
