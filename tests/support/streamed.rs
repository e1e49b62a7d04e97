//! The core's own way, in one call: plan, scratch, rows.

use std::ops::Range;
use vq_core::{
    Backend, Decoder, Element, Encoder, Engine, Model, Picture, PictureSize, Plan, Probe, RunError,
};

/// Room for every graph that the format allows.
pub type FullPlan = Plan<129>;

/// Decodes a whole picture.
pub fn decode<E: Element>(model: &Model<'_>, size: PictureSize, codes: &[u16]) -> Vec<u8> {
    decode_with::<E>(model, size, codes, &mut vq_core::NoProbe).unwrap()
}

/// Decodes a whole picture while somebody looks on.
pub fn decode_with<E: Element>(
    model: &Model<'_>,
    size: PictureSize,
    codes: &[u16],
    probe: &mut impl Probe<E>,
) -> Result<Vec<u8>, RunError> {
    decode_rows(Backend::best(), model, size, codes, 0..size.height, probe)
}

/// Decodes some rows of a picture with a backend while somebody looks on.
pub fn decode_rows<E: Element>(
    backend: Backend,
    model: &Model<'_>,
    size: PictureSize,
    codes: &[u16],
    rows: Range<u16>,
    probe: &mut impl Probe<E>,
) -> Result<Vec<u8>, RunError> {
    let mut plan = FullPlan::on(backend);
    let mut layout = plan.decoder(model, size).unwrap();
    let mut scratch = vec![E::default(); layout.scratch_len()];
    let mut pixels = vec![0; layout.row_bytes() * rows.len()];
    let mut places = pixels.chunks_exact_mut(layout.row_bytes());
    let mut engine = Engine::new(&mut layout, &mut scratch)?;
    let mut decoder = Decoder::strip(&mut engine, codes, rows.clone())?;
    for (y, row) in rows.zip(&mut places) {
        assert_eq!(decoder.next_row_with(probe, row)?, Some(y));
    }
    assert_eq!(
        decoder.next_row(&mut vec![0; usize::from(size.width) * 3])?,
        None
    );
    Ok(pixels)
}

/// Encodes a whole picture.
pub fn encode<E: Element>(model: &Model<'_>, size: PictureSize, pixels: &[u8]) -> Vec<u16> {
    let mut plan = FullPlan::new();
    let mut layout = plan.encoder(model, size).unwrap();
    let mut scratch = vec![E::default(); layout.scratch_len()];
    let mut codes = vec![0; layout.code_count()];
    let picture = Picture {
        pixels,
        row_bytes: layout.row_bytes(),
    };
    let mut engine = Engine::new(&mut layout, &mut scratch).unwrap();
    let encoder = Encoder::new(&mut engine, picture).unwrap();
    encoder.encode(&mut codes).unwrap();
    codes
}
