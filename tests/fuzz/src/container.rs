//! What must hold for any bytes as a model; run by the fuzzer and, on what it found, by the tests.
//!
//! Input: byte 0 chooses between bytes that are a file, and numbers from which a sound model is
//! drawn and then damaged; and whether the file's length and check sum are put right afterwards,
//! without which nothing damaged would get past them.

use vq_core::bitstream::MISSING;
use vq_core::format::container::{CRC, MAGIC, PREAMBLE, VERSION};
use vq_core::format::{Dtype, MAX_OPS};
use vq_core::{Decoder, Element, Encoder, Engine, Model, Picture, PictureSize, Plan, f16};
use vq_tests::Draft;

/// Bits of byte 0.
const MEND: u8 = 0x80;
const DRAWN: u8 = 0x40;

/// What is not worth the time: multiplications and elements of scratch.
const MOST_MACS: u64 = 1 << 16;
const MOST_SCRATCH: usize = 1 << 18;

/// Panics if a promise is broken; returns whether the model was accepted.
pub(crate) fn run(data: &[u8]) -> bool {
    let Some((&choice, rest)) = data.split_first() else {
        return false;
    };
    let drawn = (choice & DRAWN != 0).then(|| damaged(choice, rest));
    let mut file = drawn.unwrap_or_else(|| rest.to_vec());
    if choice & MEND != 0 {
        mend(&mut file);
    }
    let Ok(model) = Model::parse(&file) else {
        return false;
    };
    inspect(&model);
    match model.dtype() {
        Dtype::I8 => play::<i8>(&model),
        Dtype::F16 => play::<f16>(&model),
        Dtype::F32 => play::<f32>(&model),
    }
    true
}

/// A model drawn after the first byte; each three bytes behind replace one: two say where, mostly in
/// what describes the model, at times in its tensors, and one by what.
fn damaged(choice: u8, rest: &[u8]) -> Vec<u8> {
    let (seed, edits) = rest.split_first().unwrap_or((&0, &[]));
    let dtype = [Dtype::I8, Dtype::F16, Dtype::F32][usize::from(choice % 3)];
    let draft = Draft::random((*seed).into(), dtype);
    let mut file = draft.file();
    let message_head = file.len() - draft.blob.len();
    let (head, blob) = file.split_at_mut(message_head);
    for edit in edits.chunks_exact(3) {
        let part = if edit[1] < 0xc0 {
            &mut *head
        } else {
            &mut *blob
        };
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]]));
        if let Some(place) = place.checked_rem(part.len()) {
            part[place] = edit[2];
        }
    }
    file
}

/// Puts the preamble right.
fn mend(file: &mut [u8]) {
    let length = (file.len() as u32).to_le_bytes();
    let Some((preamble, message)) = file.split_first_chunk_mut::<PREAMBLE>() else {
        return;
    };
    preamble[..4].copy_from_slice(&MAGIC);
    preamble[4..6].copy_from_slice(&VERSION.to_le_bytes());
    preamble[6..8].fill(0);
    preamble[8..12].copy_from_slice(&length);
    preamble[12..].copy_from_slice(&CRC.checksum(message).to_le_bytes());
}

/// Everything that can be asked of a model.
fn inspect(model: &Model<'_>) {
    for &codebook in model.codebooks() {
        let values = usize::from(codebook.codes) * usize::from(model.dim());
        assert_eq!(model.table(codebook).len(), values * model.dtype().size());
    }
    for network in [Some(model.decoder()), model.encoder()]
        .into_iter()
        .flatten()
    {
        assert_eq!(network.ops().count(), network.len());
        assert_eq!(network.layers().count(), network.len());
        let grid = model.native().grid(model.down());
        let _ = (network.macs_per_pixel(grid), network.tensor_bytes());
    }
    let mut plan = Plan::<{ MAX_OPS + 1 }>::new();
    let _ = plan
        .decoder(model, model.native())
        .map(|layout| layout.scratch_len());
    let _ = plan
        .encoder(model, model.native())
        .map(|layout| layout.scratch_len());
}

/// Decodes and encodes a picture of 3 x 2 codes whose size is not a multiple of theirs.
fn play<E: Element>(model: &Model<'_>) {
    let down = u16::from(model.down());
    let size = PictureSize {
        width: 2 * down + 1,
        height: down + 1,
    };
    let networks = [Some(model.decoder()), model.encoder()];
    let macs = networks
        .into_iter()
        .flatten()
        .map(|network| network.macs(size.grid(model.down())));
    if macs.max() > Some(MOST_MACS) {
        return;
    }
    let pixels = decode::<E>(model, size);
    if pixels.is_some() && model.encoder().is_some() {
        encode::<E>(model, size, &pixels.unwrap_or_default());
    }
}

fn decode<E: Element>(model: &Model<'_>, size: PictureSize) -> Option<Vec<u8>> {
    let mut plan = Plan::<{ MAX_OPS + 1 }>::new();
    let mut layout = plan.decoder(model, size).ok()?;
    if layout.scratch_len() > MOST_SCRATCH {
        return None;
    }
    let codes = some_codes(model, layout.grid().cells() as usize);
    let mut scratch = vec![E::default(); layout.scratch_len()];
    let mut row = vec![0; layout.row_bytes()];
    let mut pixels = Vec::new();
    let mut engine = Engine::new(&mut layout, &mut scratch).unwrap();
    let mut decoder = Decoder::new(&mut engine, &codes).unwrap();
    while decoder.next_row(&mut row).unwrap().is_some() {
        pixels.extend_from_slice(&row);
    }
    assert_eq!(pixels.len(), row.len() * usize::from(size.height));
    Some(pixels)
}

fn encode<E: Element>(model: &Model<'_>, size: PictureSize, pixels: &[u8]) {
    let mut plan = Plan::<{ MAX_OPS + 1 }>::new();
    let Ok(mut layout) = plan.encoder(model, size) else {
        return;
    };
    if layout.scratch_len() > MOST_SCRATCH {
        return;
    }
    let cells = layout.grid().cells() as usize;
    let mut scratch = vec![E::default(); layout.scratch_len()];
    let mut codes = vec![MISSING; layout.code_count()];
    let picture = Picture {
        pixels,
        row_bytes: layout.row_bytes(),
    };
    let mut engine = Engine::new(&mut layout, &mut scratch).unwrap();
    let encoder = Encoder::new(&mut engine, picture).unwrap();
    encoder.encode(&mut codes).unwrap();
    for (codes, codebook) in codes.chunks(cells).zip(model.codebooks()) {
        assert!(codes.iter().all(|&code| code < codebook.codes));
    }
}

/// Codes of all kinds, every fifth one missing.
fn some_codes(model: &Model<'_>, cells: usize) -> Vec<u16> {
    let stages = model
        .codebooks()
        .iter()
        .flat_map(|codebook| vec![codebook.codes; cells]);
    let code = |(i, k): (usize, u16)| {
        if i % 5 == 1 {
            MISSING
        } else {
            (i * 7919) as u16 % k
        }
    };
    stages.enumerate().map(code).collect()
}
