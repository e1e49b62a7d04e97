//! The owned codec: patches and strips are parts of the whole picture, threads share it, and what it keeps changes nothing.

use std::thread;
use vq_core::bitstream::MISSING;
use vq_core::format::{DepthToSpace, Dtype, Kernel, Op};
use vq_core::{Backend, Codec, Direction, Error, Patch, PictureSize, PlanError, RunError};
use vq_tests::Random;
use vq_tests::draft::{ConvShape, Draft, Drawn};

/// Models drawn for each element type.
const MODELS: u64 = 40;

const DTYPES: [Dtype; 3] = [Dtype::I8, Dtype::F16, Dtype::F32];

/// Random codes of a picture, one in `missing` of them missing.
fn codes(codec: &Codec, size: PictureSize, random: &mut Random, missing: usize) -> Vec<u16> {
    let model = codec.model();
    let cells = size.grid(model.down()).cells() as usize;
    let books = model.codebooks().iter();
    let counts = books.flat_map(|book| vec![usize::from(book.codes); cells]);
    let draw = |count| match random.below(missing) {
        0 => MISSING,
        _ => random.below(count) as u16,
    };
    counts.map(draw).collect()
}

/// The pixels of a patch, cut out of a picture whose size is that of whole codes.
fn crop(pixels: &[u8], size: PictureSize, patch: Patch, down: usize, channels: usize) -> Vec<u8> {
    let row_bytes = usize::from(size.width) * channels;
    let columns = usize::from(patch.columns) * down * channels;
    let left = usize::from(patch.column) * down * channels;
    let rows = pixels.chunks_exact(row_bytes);
    rows.skip(usize::from(patch.row) * down)
        .take(usize::from(patch.rows) * down)
        .flat_map(|row| &row[left..left + columns])
        .copied()
        .collect()
}

/// Some patches of a picture whose last codes hang over, some of whose codes are missing.
fn check_patches(codec: &Codec, random: &mut Random, what: &str) {
    let model = codec.model();
    let (down, channels) = (model.down(), usize::from(model.channels()));
    let side = |random: &mut Random, most: i32| {
        let codes = random.between(1, most) as u16;
        let missing = random.below(down.into()) as u16;
        (codes, codes * u16::from(down) - missing)
    };
    for _ in 0..3 {
        let ((columns, width), (rows, height)) = (side(random, 20), side(random, 26));
        let size = PictureSize { width, height };
        let whole = PictureSize {
            width: columns * u16::from(down),
            height: rows * u16::from(down),
        };
        let codes = codes(codec, size, random, 6);
        let pixels = codec.decode(&codes, whole).unwrap();
        for _ in 0..6 {
            let part = |random: &mut Random, all: u16| {
                let first = random.below(all.into()) as u16;
                (first, 1 + random.below((all - first).into()) as u16)
            };
            let ((column, columns), (row, rows)) = (part(random, columns), part(random, rows));
            let patch = Patch {
                column,
                row,
                columns,
                rows,
            };
            let found = codec.decode_patch(&codes, size, patch).unwrap();
            let expected = crop(&pixels, whole, patch, down.into(), channels);
            assert!(
                found == expected,
                "{what}, {size:?}, {patch:?}, {:?}",
                codec.backend()
            );
        }
    }
}

#[test]
fn patches_of_drawn_models_are_crops_of_the_picture() {
    let mut backends = Backend::ALL.into_iter().cycle();
    for dtype in DTYPES {
        for seed in 0..MODELS {
            let file = Draft::random(seed, dtype).file();
            let codec = Codec::on(backends.next().unwrap(), file).unwrap();
            let what = format!("{dtype:?} model {seed}");
            check_patches(&codec, &mut Random::new(seed), &what);
        }
    }
}

/// A decoder that shrinks in between: up by two and two, then a stride, even kernels, and blocks of pixels.
fn winding(seed: u64, dtype: Dtype) -> Draft {
    let mut draft = Draft::new(seed, dtype, 3, 8, 4, &[9, 5]);
    let mut graph = draft.start(draft.latent_map());
    let (quant, pixels) = (draft.quant(), draft.pixel_map());
    let shape = |out_channels, height, width, stride| ConvShape {
        out_channels,
        kernel: Kernel { height, width },
        stride,
    };
    draft.conv(&mut graph, shape(5, 2, 4, 1), true, quant);
    for _ in 0..2 {
        draft.upconv(&mut graph, 4, true, quant);
    }
    draft.conv(&mut graph, shape(5, 4, 3, 2), false, quant);
    let skip = graph.last();
    draft.conv(&mut graph, shape(5, 3, 6, 1), true, quant);
    draft.add(&mut graph, skip, true, quant);
    draft.conv(&mut graph, shape(3 * 16, 3, 2, 1), false, pixels.quant);
    spread(&mut graph, 4, pixels.channels);
    draft.decoder = graph.ops;
    draft
}

/// Appends blocks of pixels.
fn spread(graph: &mut Drawn, factor: u8, channels: u16) {
    let input = graph.last();
    let map = graph.values[usize::from(input)];
    let output = vq_core::Map {
        channels,
        density: map.density * factor,
        ..map
    };
    graph.push(Op::DepthToSpace(DepthToSpace { input, factor }), output);
}

#[test]
fn patches_of_a_model_with_strides_are_crops_of_the_picture() {
    for dtype in DTYPES {
        for seed in 0..8 {
            let codec = winding(seed, dtype).codec();
            // The convolutions see five codes or more, but not all of a large grid.
            assert!((2..20).contains(&codec.reach()), "{}", codec.reach());
            check_patches(&codec, &mut Random::new(seed), &format!("{dtype:?} {seed}"));
        }
    }
}

#[test]
fn a_patch_outside_the_grid_is_an_error() {
    let codec = winding(1, Dtype::I8).codec();
    let size = PictureSize {
        width: 35,
        height: 12,
    };
    let codes = codes(&codec, size, &mut Random::new(1), 9);
    let patch = |column, row, columns, rows| {
        let patch = Patch {
            column,
            row,
            columns,
            rows,
        };
        codec.decode_patch(&codes, size, patch).map(|p| p.len())
    };
    assert_eq!(patch(0, 0, 5, 2), Ok(5 * 8 * 2 * 8 * 3));
    for (column, row, columns, rows) in [
        (0, 0, 0, 1),
        (0, 0, 1, 0),
        (0, 0, 6, 1),
        (4, 0, 2, 1),
        (0, 1, 1, 2),
        (5, 0, 1, 1),
        (u16::MAX, 0, u16::MAX, 1),
        (0, 1, 1, u16::MAX),
    ] {
        let found = patch(column, row, columns, rows);
        assert_eq!(found, Err(Error::Run(RunError::Patch)));
    }
    let (needed, given) = (20, 19);
    let whole = Patch {
        column: 0,
        row: 0,
        columns: 1,
        rows: 1,
    };
    let found = codec.decode_patch(&codes[1..], size, whole);
    let error = RunError::Codes { needed, given };
    assert_eq!(found, Err(Error::Run(error)));
}

/// Some sizes of pictures, no two alike.
fn sizes(count: u16) -> impl Iterator<Item = PictureSize> {
    (0..count).map(|i| PictureSize {
        width: 7 + i,
        height: 40 - i,
    })
}

#[test]
fn threads_share_a_codec() {
    for dtype in DTYPES {
        for seed in 0..10 {
            let (codec, fresh) = (Draft::random(seed, dtype), Draft::random(seed, dtype));
            let (codec, mut random) = (codec.codec(), Random::new(seed));
            let pictures: Vec<_> = sizes(8)
                .map(|size| {
                    let codec = fresh.codec();
                    let codes = codes(&codec, size, &mut random, 9);
                    let pixels = codec.decode(&codes, size).unwrap();
                    let again = codec.encode(&pixels, size).unwrap();
                    (size, codes, pixels, again)
                })
                .collect();
            thread::scope(|scope| {
                for turn in 0..4 {
                    let (codec, pictures) = (&codec, &pictures);
                    scope.spawn(move || {
                        for i in 0..3 * pictures.len() {
                            let at = (i + turn * 2) % pictures.len();
                            let (size, codes, pixels, again) = &pictures[at];
                            assert!(codec.decode(codes, *size).unwrap() == *pixels);
                            assert!(codec.encode(pixels, *size).unwrap() == *again);
                        }
                    });
                }
            });
        }
    }
}

#[test]
fn strips_of_several_threads_are_the_whole_picture() {
    for seed in 0..MODELS {
        let codec = Draft::random(seed, Dtype::I8).codec();
        let mut random = Random::new(seed);
        let size = PictureSize {
            width: 20,
            height: 1 + random.below(100) as u16,
        };
        let codes = codes(&codec, size, &mut random, 9);
        let expected = codec.decode(&codes, size).unwrap();
        let row_bytes = expected.len() / usize::from(size.height);
        for rows in [1, 7, 50] {
            let mut pixels = vec![0; expected.len()];
            thread::scope(|scope| {
                let strips = pixels.chunks_mut(rows * row_bytes).enumerate();
                for (i, strip) in strips {
                    let (codec, codes) = (&codec, &codes);
                    scope.spawn(move || {
                        let first = (i * rows) as u16;
                        let behind = first + (strip.len() / row_bytes) as u16;
                        let made = codec.decode_rows(codes, size, first..behind, strip);
                        made.unwrap();
                    });
                }
            });
            assert!(pixels == expected, "model {seed}, strips of {rows} rows");
        }
    }
}

/// More sizes than plans are kept, so that those of the first turn are gone in the second.
#[test]
fn plans_that_gave_way_are_made_again() {
    for dtype in DTYPES {
        let draft = Draft::random(5, dtype);
        let (codec, mut random) = (draft.codec(), Random::new(5));
        let pictures: Vec<_> = sizes(33)
            .map(|size| {
                let codes = codes(&codec, size, &mut random, 9);
                (size, draft.codec().decode(&codes, size).unwrap(), codes)
            })
            .collect();
        for turn in 0..2 {
            for (size, pixels, codes) in &pictures {
                let found = codec.decode(codes, *size).unwrap();
                assert!(found == *pixels, "turn {turn}, {size:?}");
                let found = codec.with_plan(Direction::Decode, *size, |plan| plan.size());
                assert_eq!(found, Ok(*size));
            }
        }
    }
}

#[test]
fn a_model_without_an_encoder_says_so() {
    let codec = winding(1, Dtype::I8).codec();
    let size = PictureSize {
        width: 2,
        height: 1,
    };
    let found = codec.encode(&[0; 6], size);
    assert_eq!(found, Err(Error::Plan(PlanError::NoEncoder)));
    let empty = PictureSize { width: 0, ..size };
    let found = codec.decode(&[], empty);
    assert_eq!(found, Err(Error::Plan(PlanError::Empty)));
}

/// What a model says nothing about is refused with the file's own fault.
#[test]
fn a_file_that_is_no_model_is_refused() {
    let mut file = Draft::random(1, Dtype::I8).file();
    file.pop();
    let given = file.len();
    let found = Codec::new(file).map(drop);
    assert!(
        matches!(found, Err(Error::Format(vq_core::FormatError::Length { found, .. })) if found == given),
        "{found:?}"
    );
}
