//! The same packets decoded here, for comparison with what a board makes of them.

use vq_core::bitstream::{Assembly, Frames};
use vq_core::format::{Dtype, MAX_OPS};
use vq_core::{Decoder, Element, Layout, Model, Plan, f16};

use super::FlashError;
use crate::picture::{Picture, Size};

/// The picture that the packets hold, as this machine decodes it.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) picture: Picture,
    /// Multiplications of weights.
    pub(super) macs: u64,
}

/// Decodes the first picture of `codes`; what is damaged or foreign is passed over, as on the board.
pub(super) fn decode(model: &Model, codes: &[u8]) -> Result<Expected, FlashError> {
    let frames: Vec<&[u8]> = Frames::new(codes).collect::<Result<_, _>>()?;
    // Room for the largest of the pictures, for it is not known yet which one comes first.
    let sizes = frames.iter().filter_map(|frame| {
        let packet = vq_core::bitstream::Packet::check(frame, model.stream()).ok()?;
        model.stream().code_count(packet.size()).ok()
    });
    let mut room = vec![0; sizes.max().ok_or(FlashError::NoPicture)?];
    let mut assembly = Assembly::new(model.stream(), &mut room);
    for frame in frames {
        // Refused packets count as lost.
        let _ = assembly.add(frame);
    }
    let size = assembly.size().ok_or(FlashError::NoPicture)?;
    let mut plan = Plan::<{ MAX_OPS + 1 }>::new();
    let mut layout = plan.decoder(model, size)?;
    let macs = model.decoder().macs(layout.grid());
    let codes = assembly.codes();
    let pixels = match model.dtype() {
        Dtype::I8 => pixels(&mut layout, codes, 0i8),
        Dtype::F16 => pixels(&mut layout, codes, f16::ZERO),
        Dtype::F32 => pixels(&mut layout, codes, 0f32),
    }?;
    let size = Size {
        width: size.width.into(),
        height: size.height.into(),
    };
    let picture = Picture::new(size, model.channels().into(), pixels);
    Ok(Expected { picture, macs })
}

fn pixels<E: Element>(layout: &mut Layout, codes: &[u16], zero: E) -> Result<Vec<u8>, FlashError> {
    let mut scratch = vec![zero; layout.scratch_len()];
    let mut row = vec![0; layout.row_bytes()];
    let mut pixels = Vec::new();
    let mut decoder = Decoder::new(layout, &mut scratch, codes)?;
    while decoder.next_row(&mut row)?.is_some() {
        pixels.extend_from_slice(&row);
    }
    Ok(pixels)
}
