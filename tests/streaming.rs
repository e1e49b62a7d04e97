//! Row by row or the whole picture at once: the same numbers, borders included.

use half::f16;
use vq_core::format::Dtype;
use vq_core::{Backend, Codec, HasKernels, PictureSize};
use vq_tests::reference::{Arithmetic, decoded, encoded};
use vq_tests::{Draft, Random};

/// Models drawn for each element type.
const MODELS: u64 = 60;

/// Grids of one row, of one column, of one code, and others.
const GRIDS: [(u16, u16); 5] = [(1, 1), (1, 7), (6, 1), (4, 3), (5, 9)];

/// Sizes whose last codes are whole, and sizes whose last codes hang over by one pixel or by many.
fn sizes(down: u8, grid: (u16, u16), random: &mut Random) -> [PictureSize; 2] {
    let down = u16::from(down);
    let (width, height) = (grid.0 * down, grid.1 * down);
    let missing = random.below(down.into()) as u16;
    [
        PictureSize { width, height },
        PictureSize {
            width: width - missing,
            height: height - (down - 1 - missing),
        },
    ]
}

fn check<E: Arithmetic + HasKernels>() {
    for seed in 0..MODELS {
        let draft = Draft::random(seed, E::DTYPE);
        let codec = draft.codec();
        let model = codec.model();
        let by_backend = Backend::ALL.map(|backend| Codec::on(backend, draft.file()).unwrap());
        let mut random = Random::new(seed);
        for grid in GRIDS {
            for size in sizes(draft.down, grid, &mut random) {
                let cells = usize::from(grid.0) * usize::from(grid.1);
                let stages = draft.codebooks.iter();
                let codes: Vec<u16> = stages
                    .flat_map(|book| vec![usize::from(book.codes); cells])
                    .map(|codes| random.below(codes) as u16)
                    .collect();
                let expected = decoded::<E>(&model, size, &codes);
                let found = codec.decode(&codes, size).unwrap();
                assert!(found == expected, "decoder {seed}, {size:?}");
                let any = &by_backend[random.below(by_backend.len())];
                check_strip(&mut random, any, size, &codes, &expected);

                let area = usize::from(size.width) * usize::from(size.height);
                let pixels = random.bytes(area * usize::from(draft.channels));
                let found = codec.encode(&pixels, size).unwrap();
                assert!(
                    found == encoded::<E>(&model, size, &pixels),
                    "encoder {seed}, {size:?}"
                );
            }
        }
    }
}

/// Some rows alone, by a backend that need not be this machine's, are those of the whole picture.
fn check_strip(
    random: &mut Random,
    codec: &Codec,
    size: PictureSize,
    codes: &[u16],
    expected: &[u8],
) {
    let first = random.below(size.height.into());
    let last = first + random.below(usize::from(size.height) - first + 1);
    let row_bytes = expected.len() / usize::from(size.height);
    let expected = &expected[first * row_bytes..last * row_bytes];
    let mut found = vec![0; expected.len()];
    let rows = first as u16..last as u16;
    codec.decode_rows(codes, size, rows, &mut found).unwrap();
    assert!(
        found == expected,
        "rows {first}..{last} of {size:?} by {:?}",
        codec.backend()
    );
}

#[test]
fn integers_are_exact() {
    check::<i8>();
}

#[test]
fn halves_are_exact() {
    check::<f16>();
}

#[test]
fn singles_are_exact() {
    check::<f32>();
}

/// The drawn models are worth something only if their pictures are not all of one grey.
#[test]
fn drawn_models_use_their_range() {
    let mut seen = [false; 256];
    for seed in 0..MODELS {
        let codec = Draft::random(seed, Dtype::I8).codec();
        let model = codec.model();
        let size = PictureSize {
            width: 24,
            height: 24,
        };
        let cells = size.grid(model.down()).cells() as usize * model.codebooks().len();
        let codes: Vec<u16> = (0..cells as u16).map(|i| i % 3).collect();
        for byte in codec.decode(&codes, size).unwrap() {
            seen[usize::from(byte)] = true;
        }
    }
    assert!(seen.iter().filter(|&&seen| seen).count() > 250);
}
