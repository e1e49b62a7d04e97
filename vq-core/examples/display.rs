#![doc = "From packets to the rows of a display, RGB565, in memory whose sizes a build script has written down."]
#![cfg_attr(target_os = "none", no_std)]

use vq_core::bitstream::{Event, Receiver};
use vq_core::{Decoder, Error, Memory, Model};

/// What [`vq_core::needs`] says of `micro` for 128x128 pixels on a Cortex-M4: `Memory<V, B>`, codes and a row.
pub type Needed = Memory<33, 25_611>;
/// 16 x 16 codes.
pub type Codes = [u16; 256];

/// Takes a packet from the radio, and draws the picture when it is complete.
pub fn take(
    packet: &[u8],
    model: &Model<'_>,
    receiver: &mut Receiver<Codes>,
    memory: &mut Needed,
    mut draw: impl FnMut(u16, &[u16]),
) -> Result<(), Error> {
    if let Event::OtherPicture { newer: true, .. } = receiver.push(packet)? {
        receiver.restart();
        receiver.push(packet)?;
    }
    if receiver.is_complete() {
        let mut row = [0; 128];
        let mut decoder = Decoder::new(model, model.native(), memory)?;
        let mut rows = decoder.picture(receiver.codes())?;
        while let Some(y) = rows.next_row_rgb565(&mut row)? {
            draw(y, &row);
        }
    }
    Ok(())
}
