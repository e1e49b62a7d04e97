//! Decoders and encoders in somebody else's memory: the same pictures as the owned codec's, whatever the element type.

use std::sync::Mutex;
use vq_core::format::{Dtype, MAX_OPS};
use vq_core::{
    Codec, Decoder, Decoding, Direction, Encoder, Memory, Picture, PictureSize, Probe, RunError,
};
use vq_tests::{Draft, Random};

/// Room for every graph here.
static MEMORY: Mutex<Memory<{ MAX_OPS + 1 }, { 1 << 20 }>> = Mutex::new(Memory::new());

const SIZE: PictureSize = PictureSize {
    width: 21,
    height: 17,
};

/// Models of all element types with the picture of some codes.
fn pictures() -> impl Iterator<Item = (Codec, Vec<u16>, Vec<u8>)> {
    let dtypes = [Dtype::I8, Dtype::F16, Dtype::F32].into_iter();
    let models = dtypes.flat_map(|dtype| (0..12).map(move |seed| (seed, dtype)));
    models.map(|(seed, dtype)| {
        let codec = Draft::random(seed, dtype).codec();
        let mut random = Random::new(seed);
        let cells = SIZE.grid(codec.model().down()).cells() as usize;
        let count = cells * codec.model().codebooks().len();
        let codes: Vec<u16> = (0..count).map(|_| random.below(3) as u16).collect();
        let pixels = codec.decode(&codes, SIZE).unwrap();
        (codec, codes, pixels)
    })
}

#[test]
fn rows_come_in_order_and_are_those_of_the_codec() {
    let mut memory = MEMORY.lock().unwrap();
    for (codec, codes, pixels) in pictures() {
        let model = codec.model();
        let mut decoder = Decoder::new(&model, SIZE, &mut memory).unwrap();
        let mut row = vec![0; decoder.plan().row_bytes()];
        let mut rows = decoder.picture(&codes).unwrap();
        for (y, expected) in (0..).zip(pixels.chunks_exact(row.len())) {
            assert_eq!(rows.next_row(&mut row), Ok(Some(y)));
            assert!(row == expected, "row {y}");
        }
        assert_eq!(rows.next_row(&mut row), Ok(None));
        // Some of them, with an observer.
        let mut rows = decoder.rows(&codes, 5..9).unwrap();
        let mut seen = Seen(Vec::new());
        for y in 5..9 {
            assert_eq!(rows.next_row_with(&mut seen, &mut row), Ok(Some(y)));
            assert_eq!(row, pixels[usize::from(y) * row.len()..][..row.len()]);
        }
        assert_eq!(rows.next_row(&mut row), Ok(None));
        let last = model.decoder().len();
        let last: Vec<_> = seen.0.iter().filter(|(value, _)| *value == last).collect();
        assert!((5..9).all(|y| last.contains(&&(model.decoder().len(), y))));
    }
}

/// The values whose rows were made.
struct Seen(Vec<(usize, u32)>);

impl<E> Probe<E> for Seen {
    fn after(&mut self, value: usize, y: u32, _: &[E]) {
        self.0.push((value, y));
    }
}

#[test]
fn encoders_find_the_codecs_codes() {
    let mut memory = MEMORY.lock().unwrap();
    for (codec, codes, pixels) in pictures() {
        let model = codec.model();
        let mut encoder = Encoder::new(&model, SIZE, &mut memory).unwrap();
        let row_bytes = encoder.plan().row_bytes();
        let picture = Picture {
            pixels: &pixels,
            row_bytes,
        };
        let mut found = vec![0; codes.len()];
        encoder.encode(picture, &mut found).unwrap();
        assert_eq!(found, codec.encode(&pixels, SIZE).unwrap());
        let (needed, given) = (codes.len(), codes.len() - 1);
        let error = RunError::Codes { needed, given };
        assert_eq!(encoder.encode(picture, &mut found[1..]), Err(error));
    }
}

#[test]
fn a_row_that_does_not_fit_is_not_lost() {
    let mut memory = MEMORY.lock().unwrap();
    for (codec, codes, pixels) in pictures() {
        let model = codec.model();
        let mut decoder = Decoder::new(&model, SIZE, &mut memory).unwrap();
        let (needed, given) = (codes.len(), codes.len() - 1);
        let found = decoder.picture(&codes[1..]).err();
        assert_eq!(found, Some(RunError::Codes { needed, given }));

        let needed = decoder.plan().row_bytes();
        let given = needed - 1;
        let (mut row, mut points) = (vec![0; needed], [0; SIZE.width as usize]);
        let mut rows = decoder.picture(&codes).unwrap();
        let found = rows.next_row(&mut row[1..]);
        assert_eq!(found, Err(RunError::Row { needed, given }));
        let (needed, given) = (points.len(), points.len() - 1);
        let found = rows.next_row_rgb565(&mut points[1..]);
        assert_eq!(found, Err(RunError::Row { needed, given }));
        assert_eq!(rows.next_row(&mut row), Ok(Some(0)));
        assert_eq!(row, pixels[..row.len()]);
    }
}

/// A display's pixels: the upper five, six and five bits of red, green and blue; grey is all three.
#[test]
fn rgb565_are_the_upper_bits_of_the_bytes() {
    let mut memory = MEMORY.lock().unwrap();
    let mut channels = [0, 0];
    for (codec, codes, pixels) in pictures() {
        let model = codec.model();
        let count = usize::from(model.channels());
        channels[count / 2] += 1;
        let mut decoder = Decoder::new(&model, SIZE, &mut memory).unwrap();
        let mut rows = decoder.picture(&codes).unwrap();
        let mut points = [0u16; SIZE.width as usize];
        let row_bytes = points.len() * count;
        for (y, expected) in (0..).zip(pixels.chunks_exact(row_bytes)) {
            assert_eq!(rows.next_row_rgb565(&mut points), Ok(Some(y)));
            for (point, bytes) in points.iter().zip(expected.chunks_exact(count)) {
                let [r, g, b] = [0, 1, 2].map(|c| bytes[c % count]);
                let found = [point >> 11, point >> 5 & 63, point & 31];
                assert_eq!(found, [r >> 3, g >> 2, b >> 3].map(u16::from));
            }
        }
        assert_eq!(rows.next_row_rgb565(&mut points), Ok(None));
    }
    assert!(channels.iter().all(|&models| models > 3), "{channels:?}");
}

/// An engine's rows end where a picture ends, not where its last codes do.
#[test]
fn rows_beyond_the_picture_do_not_come() {
    for (codec, codes, _) in pictures().take(12) {
        let made = codec.with_engine::<i8, _>(Direction::Decode, SIZE, |engine| {
            let mut row = vec![0; engine.plan().row_bytes()];
            let mut decoding = Decoding::rows(engine, &codes, 15..u16::MAX)?;
            let mut made = Vec::new();
            while let Some(y) = decoding.next_row(&mut row)? {
                made.push(y);
            }
            Ok(made)
        });
        assert_eq!(made, Ok(vec![15, 16]));
    }
}
