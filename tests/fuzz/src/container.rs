//! What must hold for any bytes as a model; run by the fuzzer and, on what it found, by the tests.
//!
//! Input: byte 0 chooses between bytes that are a file, and numbers from which a sound model is
//! drawn and then damaged; and whether the file's length and check sum are put right afterwards,
//! without which nothing damaged would get past them.

use std::sync::{Mutex, PoisonError};
use vq_core::bitstream::MISSING;
use vq_core::format::container::{CRC, MAGIC, PREAMBLE, VERSION};
use vq_core::format::{Dtype, MAX_OPS};
use vq_core::{
    Backend, Codec, Decoder, Direction, Encoder, Memory, Model, Patch, Picture, PictureSize, needs,
};
use vq_tests::Draft;

/// Bits of byte 0.
const MEND: u8 = 0x80;
const DRAWN: u8 = 0x40;

/// What is not worth the time: multiplications and bytes of scratch.
const MOST_MACS: u64 = 1 << 16;
const MOST_SCRATCH: usize = 1 << 20;

/// The memory of a device.
type Room = Memory<{ MAX_OPS + 1 }, { 1 << 14 }>;
static MEMORY: Mutex<Room> = Mutex::new(Memory::new());

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
    let refused = Model::parse(&file).is_err();
    let Ok(codec) = Codec::new(file) else {
        assert!(refused);
        return false;
    };
    inspect(&codec.model());
    play(&codec);
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
    for direction in [Direction::Decode, Direction::Encode] {
        let _ = needs(model, direction, model.native(), Backend::best());
    }
}

/// Decodes and encodes a picture of 3 x 2 codes whose size is not a multiple of theirs.
fn play(codec: &Codec) {
    let model = codec.model();
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
    let area = usize::from(size.width) * usize::from(size.height);
    let shades = || (0..area * usize::from(model.channels())).map(|i| (i * 7919) as u8);
    let pixels = decode(codec, size).unwrap_or_else(|| shades().collect());
    if model.encoder().is_some() {
        encode(codec, size, &pixels);
    }
}

/// Whether pictures of this size are worth the time.
fn is_small(model: &Model<'_>, direction: Direction, size: PictureSize) -> bool {
    needs(model, direction, size, Backend::best()).is_ok_and(|needs| needs.scratch <= MOST_SCRATCH)
}

/// The picture, which is the same in parts, and on a device that it fits.
fn decode(codec: &Codec, size: PictureSize) -> Option<Vec<u8>> {
    let model = codec.model();
    if !is_small(&model, Direction::Decode, size) {
        return None;
    }
    let grid = size.grid(model.down());
    let codes = some_codes(&model, grid.cells() as usize);
    let pixels = codec.decode(&codes, size).unwrap();
    let row_bytes = usize::from(size.width) * usize::from(model.channels());
    assert_eq!(pixels.len(), row_bytes * usize::from(size.height));
    let first = Patch {
        column: 0,
        row: 0,
        columns: 1,
        rows: 1,
    };
    let patch = codec.decode_patch(&codes, size, first).unwrap();
    let patch_bytes = usize::from(model.down()) * usize::from(model.channels());
    for (part, whole) in patch.chunks(patch_bytes).zip(pixels.chunks(row_bytes)) {
        assert_eq!(part, &whole[..patch_bytes]);
    }
    let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(mut decoder) = Decoder::new(&model, size, &mut memory) {
        let mut row = vec![0; row_bytes];
        let mut rows = decoder.picture(&codes).unwrap();
        for expected in pixels.chunks(row_bytes) {
            rows.next_row(&mut row).unwrap();
            assert_eq!(row, expected);
        }
    }
    Some(pixels)
}

/// The codes, which are the same on a device that it fits.
fn encode(codec: &Codec, size: PictureSize, pixels: &[u8]) {
    let model = codec.model();
    if !is_small(&model, Direction::Encode, size) {
        return;
    }
    let cells = size.grid(model.down()).cells() as usize;
    let codes = codec.encode(pixels, size).unwrap();
    for (codes, codebook) in codes.chunks(cells).zip(model.codebooks()) {
        assert!(codes.iter().all(|&code| code < codebook.codes));
    }
    let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(mut encoder) = Encoder::new(&model, size, &mut memory) {
        let row_bytes = encoder.plan().row_bytes();
        let mut found = vec![MISSING; codes.len()];
        let picture = Picture { pixels, row_bytes };
        encoder.encode(picture, &mut found).unwrap();
        assert_eq!(found, codes);
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
