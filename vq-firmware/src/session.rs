//! From the payload in flash to a picture that is ready to be decoded.

use core::fmt;

use vq_core::bitstream::{Assembly, Frames};
use vq_core::{Layout, Model, Plan};

use crate::payload::{CODE_COUNT, CODES, Element, MODEL, ROW_BYTES, SCRATCH_LEN, VALUES};
use crate::text::line;
use crate::{board, stack};

/// All memory that decoding needs beside the stack, of exactly the size that the payload needs.
#[derive(Debug)]
pub struct Memory {
    plan: Plan<VALUES>,
    codes: [u16; CODE_COUNT],
    scratch: [Element; SCRATCH_LEN],
    row: [u8; ROW_BYTES],
}

impl Memory {
    /// As it is at power-on.
    pub const NEW: Self = Self {
        plan: Plan::new(),
        codes: [0; CODE_COUNT],
        scratch: [ZERO; SCRATCH_LEN],
        row: [0; ROW_BYTES],
    };
}

/// `0 as Element`, which the half-precision type does not know.
// SAFETY: all bits zero are a number, 0, in each of the three element types.
const ZERO: Element = unsafe { core::mem::zeroed() };

/// A picture that is ready to be decoded.
#[derive(Debug)]
pub struct Session<'s, 'p> {
    /// Where rows are kept.
    pub layout: &'s mut Layout<'p>,
    /// The rows' memory.
    pub scratch: &'s mut [Element],
    /// The picture's codes.
    pub codes: &'s [u16],
    /// Room for a row of pixels.
    pub row: &'s mut [u8],
    /// The proved model.
    pub model: &'s Model<'p>,
    /// What proving, reading the packets and planning took, in [`board::UNIT`]s.
    pub start: u64,
}

/// Proves the model, puts the packets together, plans, says which picture it is, and hands all that to
/// `body`. Damaged and foreign packets are passed over, as if they were lost.
pub fn open(memory: &mut Memory, body: impl FnOnce(Session)) {
    stack::paint();
    let began = board::now();
    let model = Model::parse(MODEL).unwrap_or_else(|e| fail(e));
    let mut assembly = Assembly::new(model.stream(), &mut memory.codes);
    let mut refused = 0;
    for packet in Frames::new(CODES) {
        let packet = packet.unwrap_or_else(|e| fail(e));
        refused += u32::from(assembly.add(packet).is_err());
    }
    let Some(size) = assembly.size() else {
        fail("there is no good packet of this model");
    };
    let mut layout = memory
        .plan
        .decoder(&model, size)
        .unwrap_or_else(|e| fail(e));
    let start = board::now() - began;
    line(format_args!(
        "picture width={} height={} channels={} missing={} refused={refused}",
        size.width,
        size.height,
        model.channels(),
        assembly.code_count() - assembly.codes_present(),
    ));
    body(Session {
        layout: &mut layout,
        scratch: &mut memory.scratch,
        codes: assembly.codes(),
        row: &mut memory.row,
        model: &model,
        start,
    });
}

/// Ends the run with a line `error ...` for the host.
pub fn fail(why: impl fmt::Display) -> ! {
    line(format_args!("error {why}"));
    board::exit(false)
}
