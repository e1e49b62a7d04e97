//! `vq flash`: a model on a microcontroller, measured, its picture compared with the host's.
//!
//! ```text
//! model -> without its encoder (strip) -> firmware with model and packets in flash (toolchain, firmware)
//!       -> run on the board (board, run) -> lines (report) -> FlashReport
//! ```
//!
//! The firmware's sources and boards are in `vq-firmware/`; they are found where this program was
//! compiled. Nothing is installed here: `tests/setup.sh` does that.

mod board;
mod elf;
mod error;
mod firmware;
mod report;
mod run;
mod toolchain;

use std::time::Duration;

use serde::Serialize;
use vq_core::format::container::CRC;

use crate::codec::{Codec, CodecError};
use crate::packets::{frames, receive};
use crate::picture::{Picture, Size};

pub use board::{Board, Runner, names as boards};
pub use error::FlashError;
pub use firmware::Payload;

use elf::Footprint;
use firmware::Firmware;
use report::{Line, Transcript};

/// What is to be run, and where.
#[derive(Clone, Debug)]
pub struct Job {
    /// The board.
    pub board: Board,
    /// What is flashed.
    pub payload: Payload,
    /// How long a run may take.
    pub timeout: Duration,
}

/// What decoding on a board has shown; the JSON object of `vq flash --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlashReport {
    /// The board's name.
    pub board: String,
    /// Instructions of decoding, on boards that count those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<u64>,
    /// Cycles of decoding, on boards that count those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycles: Option<u64>,
    /// The same of what comes before: proving the model, reading the packets, planning.
    pub start: u64,
    /// Multiplications of weights for this picture.
    pub macs: u64,
    /// Memory of the decoder's rows.
    pub scratch_bytes: u64,
    /// The stack's deepest reach.
    pub stack_bytes: u64,
    /// All variables in RAM, the scratch among them; the stack comes on top.
    pub ram_bytes: u64,
    /// Code, constants, model and packets.
    pub flash_bytes: u64,
    /// Codes that did not come, and were concealed.
    pub missing: u64,
    /// CRC-32 of the pixels as the board computed it.
    pub crc32: String,
    /// Whether every byte of the picture is the one that this machine decodes.
    pub identical: bool,
    /// What each operator costs; empty unless [`bench()`] was asked too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerCost>,
}

/// What one operator of the decoder costs on a board.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerCost {
    /// The value that it makes: 0 is the embedding, i is operator i - 1; the last is what lies between.
    pub index: u64,
    /// What it is called.
    pub op: String,
    /// Multiplications of weights.
    pub macs: u64,
    /// Instructions or cycles, as the board counts.
    pub cost: u64,
}

/// A finished run of `decode`.
#[derive(Clone, Debug)]
pub struct Flashed {
    /// Its figures.
    pub report: FlashReport,
    /// The picture that the board sent.
    pub picture: Picture,
}

/// Decodes the payload's picture on the board, measures that, and compares it with this machine's.
///
/// # Errors
/// [`FlashError`]. A picture that differs is no error but `identical: false`.
pub fn decode(job: &Job) -> Result<Flashed, FlashError> {
    let expected = Expected::of(&job.payload)?;
    let (text, footprint) = transcript(job, "decode")?;
    let seen = Transcript(&text);
    let (head, end) = (seen.one("picture")?, seen.one("report")?);
    let picture = picture(head, seen.bytes("row")?)?;
    let crc32 = end.text("crc32")?.to_owned();
    let unit = end.text("unit")?;
    let cost: u64 = end.get("decode")?;
    let sent_whole = format!("{:08x}", CRC.checksum(&picture.pixels)) == crc32;
    let report = FlashReport {
        board: job.board.name.clone(),
        instructions: (unit == "instructions").then_some(cost),
        cycles: (unit == "cycles").then_some(cost),
        start: end.get("start")?,
        macs: expected.macs,
        scratch_bytes: end.get("scratch")?,
        stack_bytes: end.get("stack")?,
        ram_bytes: footprint.ram,
        flash_bytes: footprint.flash,
        missing: head.get("missing")?,
        crc32,
        identical: sent_whole && picture == expected.picture,
        layers: Vec::new(),
    };
    Ok(Flashed { report, picture })
}

/// Measures each operator of the decoder on the board. Looking on costs up to about a hundred
/// instructions a row, which are counted with the operators.
///
/// # Errors
/// [`FlashError`].
pub fn bench(job: &Job) -> Result<Vec<LayerCost>, FlashError> {
    let (text, _) = transcript(job, "bench")?;
    let layers = Transcript(&text);
    let layer = |line: Line| {
        Ok(LayerCost {
            index: line.get("index")?,
            op: line.text("op")?.to_owned(),
            macs: line.get("macs")?,
            cost: line.get("cost")?,
        })
    };
    layers.all("layer").map(layer).collect()
}

/// Runs the instruments' own test on the board and returns its lines; see
/// `vq-firmware/src/bin/selftest.rs`.
///
/// # Errors
/// [`FlashError`].
pub fn selftest(job: &Job) -> Result<String, FlashError> {
    Ok(transcript(job, "selftest")?.0)
}

/// Compares the board's kernels with the reference and returns its lines; see
/// `vq-firmware/src/bin/kernels.rs`.
///
/// # Errors
/// [`FlashError`]; a difference is [`FlashError::Device`].
pub fn kernels(job: &Job) -> Result<String, FlashError> {
    Ok(transcript(job, "kernels")?.0)
}

/// What this machine makes of a payload.
struct Expected {
    picture: Picture,
    macs: u64,
}

impl Expected {
    fn of(payload: &Payload) -> Result<Self, CodecError> {
        let codec = Codec::from_bytes(payload.model.clone())?;
        let packets: Vec<&[u8]> = frames(&payload.codes)
            .filter_map(|frame| frame.packet.ok())
            .collect();
        let received = receive(codec.model().stream(), &packets)?;
        let picture = codec.decode(&received.codes, received.size)?;
        let model = codec.model();
        let macs = model.decoder().macs(codec.grid(received.size)?);
        Ok(Self { picture, macs })
    }
}

fn picture(head: Line, pixels: Vec<u8>) -> Result<Picture, FlashError> {
    let size = Size {
        width: head.get("width")?,
        height: head.get("height")?,
    };
    let channels = head.get("channels")?;
    if pixels.len() != size.width * size.height * channels {
        return Err(FlashError::Report("rows of pixels".to_owned()));
    }
    Ok(Picture::new(size, channels, pixels))
}

/// Builds the firmware `bin` for the job, runs it, and returns what it printed.
fn transcript(job: &Job, bin: &str) -> Result<(String, Footprint), FlashError> {
    let Job {
        board,
        payload,
        timeout,
    } = job;
    let firmware = Firmware::build(board, bin, payload)?;
    let ended = run::run(
        board.command(&firmware.elf()),
        *timeout,
        board.install_hint(),
    )?;
    if ended.status.success() {
        return Ok((ended.stdout, firmware.footprint));
    }
    Err(FlashError::Device(reason(&ended)))
}

/// Why a run failed: what the firmware said of it, else what its runner said.
fn reason(ended: &run::Ended) -> String {
    let said = Transcript(&ended.stdout);
    let line = said.all("panic").chain(said.all("error")).next();
    line.map_or_else(
        || format!("{}; {}", ended.status, ended.stderr.trim()),
        |line| line.rest.to_owned(),
    )
}
