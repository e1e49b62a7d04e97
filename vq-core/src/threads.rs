//! Large pictures with several threads, a strip of rows for each.

use crate::decode::Decoder;
use crate::element::Element;
use crate::error::RunError;
use crate::run::Engine;
use std::thread;
use std::vec::Vec;

/// Decodes a picture into `pixels`, height * [`Layout::row_bytes`] bytes, with a thread for each engine, of which this is
/// one. The engines' plans are all for this picture; `codes` are as for [`Decoder::new`].
///
/// The pixels are those of a single thread. Each thread also makes the rows around its strip that convolutions see,
/// so that a strip is best many times as high as those.
///
/// # Errors
/// [`RunError::Pixels`] when `pixels` has another length; as [`Decoder::new`].
///
/// [`Layout::row_bytes`]: crate::Layout::row_bytes
pub fn decode_strips<E: Element + Send + Sync>(
    engines: &mut [Engine<'_, E>],
    codes: &[u16],
    pixels: &mut [u8],
) -> Result<(), RunError> {
    let Some(Engine { layout, .. }) = engines.first() else {
        return Ok(());
    };
    let row_bytes = layout.row_bytes();
    let (needed, given) = (row_bytes * usize::from(layout.size().height), pixels.len());
    if needed != given {
        return Err(RunError::Pixels { needed, given });
    }
    // Whole codes, so that no row of them is begun twice.
    let rows_of_codes = usize::from(layout.grid().rows).div_ceil(engines.len());
    let rows = rows_of_codes * usize::from(layout.model.down());
    thread::scope(|scope| {
        let mut strips = engines.iter_mut().zip(pixels.chunks_mut(rows * row_bytes));
        let own = strips.next();
        let decode =
            |(first, (engine, pixels))| scope.spawn(move || strip(engine, codes, first, pixels));
        let others: Vec<_> = (rows..).step_by(rows).zip(strips).map(decode).collect();
        own.map_or(Ok(()), |(engine, pixels)| strip(engine, codes, 0, pixels))?;
        let mut joined = others.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.try_for_each(|result| result)
    })
}

/// The rows from `first` on for which there is room.
fn strip<E: Element>(
    engine: &mut Engine<'_, E>,
    codes: &[u16],
    first: usize,
    pixels: &mut [u8],
) -> Result<(), RunError> {
    let row_bytes = engine.layout.row_bytes();
    let last = first + pixels.len() / row_bytes;
    let mut decoder = Decoder::strip(engine, codes, first as u16..last as u16)?;
    for row in pixels.chunks_exact_mut(row_bytes) {
        decoder.next_row(row)?;
    }
    Ok(())
}
