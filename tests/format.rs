//! The bytes of a model file, pinned: `golden/tiny.vqm` is the example that `FORMAT.md` works out.

use vq_core::format::container::{self, CRC};
use vq_core::format::*;
use vq_core::{Codec, FormatError, Model, PictureSize};
use vq_tests::Draft;

const GOLDEN: &[u8] = include_bytes!("golden/tiny.vqm");

const FORMAT: &str = include_str!("../vq-core/FORMAT.md");

/// Two grey 2x2 pictures: a 1x1 convolution from one number to four, spread over four pixels.
fn operators() -> [Op; 2] {
    [
        Op::Conv2d(Conv2d {
            input: 0,
            out_channels: 4,
            kernel: Kernel {
                height: 1,
                width: 1,
            },
            stride: 1,
            pad: Pad::NONE,
            relu: false,
            out: Quant::PIXEL,
            weights: 4,
            params: 8,
        }),
        Op::DepthToSpace(DepthToSpace {
            input: 1,
            factor: 2,
        }),
    ]
}

fn blob() -> Vec<u8> {
    let mut blob = vec![0xc0, 0x40, 0, 0];
    blob.extend([64, 32, 16, 8]);
    blob.extend([0; 16]);
    blob.extend(
        [1u32 << 30; 4]
            .iter()
            .flat_map(|multiplier| multiplier.to_le_bytes()),
    );
    blob.extend([36; 4]);
    blob
}

fn with_tiny<T>(read: impl FnOnce(&Container<'_>) -> T) -> T {
    let (mut ops, blob) = ([0; 64], blob());
    read(&Container {
        name: "tiny",
        code_id: CRC.checksum(&[-1f32, 1.0].map(f32::to_le_bytes).concat()),
        dtype: Dtype::I8,
        channels: 1,
        down: 2,
        native: PictureSize {
            width: 2,
            height: 2,
        },
        dim: 1,
        latent: Quant {
            scale: 1.0 / 64.0,
            zero: 0,
        },
        codebooks: [Codebook { codes: 2, table: 0 }].into_iter().collect(),
        entropy: Entropy::Fixed,
        decoder: Graph::encode(&operators(), &mut ops).unwrap(),
        encoder: None,
        pad: &[],
        blob: &blob,
    })
}

#[test]
fn the_writer_writes_the_golden_bytes() {
    let mut file = [0; 256];
    let file = with_tiny(|tiny| container::encode(tiny, &mut file).unwrap());
    assert_eq!(file, GOLDEN);
}

#[test]
fn the_reader_reads_the_golden_bytes() {
    let mut read = container::decode(GOLDEN).unwrap();
    read.pad = &[];
    with_tiny(|tiny| assert_eq!(read, *tiny));
    let model = Model::parse(GOLDEN).unwrap();
    assert_eq!(
        (model.name(), model.dtype(), model.down()),
        ("tiny", Dtype::I8, 2)
    );
    let ops: Vec<Op> = model.decoder().ops().collect();
    assert_eq!(ops, operators());
    let grid = model.native().grid(model.down());
    assert_eq!(model.decoder().macs_per_pixel(grid), 1);
    assert_eq!(model.decoder().tensor_bytes(), 4 + 4 * 9);
    assert_eq!(model.encoder(), None);
}

#[test]
fn the_golden_model_paints_what_the_text_says() {
    let codec = Codec::new(GOLDEN.to_vec()).unwrap();
    let picture = |code| codec.decode(&[code], codec.model().native()).unwrap();
    assert_eq!(picture(0), [64, 96, 112, 120]);
    assert_eq!(picture(1), [192, 160, 144, 136]);
}

/// Lines of the table start with an offset and end, behind the bytes, with what they mean.
#[test]
fn the_text_shows_the_golden_bytes() {
    let example = FORMAT
        .split("```vqm\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let mut bytes = Vec::new();
    for line in example.lines() {
        let (offset, rest) = line.split_once(": ").unwrap();
        assert_eq!(usize::from_str_radix(offset, 16), Ok(bytes.len()), "{line}");
        let hex = rest.split("  ").next().unwrap().split(' ');
        bytes.extend(hex.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    assert_eq!(bytes, GOLDEN);
}

/// Bytes that the text gives as examples of operators.
#[test]
fn the_text_shows_the_bytes_of_operators() {
    let norm = Op::GroupNorm(GroupNorm {
        input: 3,
        groups: 8,
        eps: 1e-6,
        silu: true,
        params: 64,
    });
    let attention = Op::Attention(Attention {
        queries: 5,
        keys: 4,
        values: 4,
        heads: 1,
    });
    for op in [norm, attention] {
        let mut bytes = [0; 16];
        let graph = Graph::encode(&[op], &mut bytes).unwrap();
        assert_eq!(graph.ops().collect::<Vec<_>>(), [Ok(op)]);
        let hex: Vec<_> = graph.ops.iter().map(|b| format!("{b:02x}")).collect();
        let example = format!("`{}`", hex.join(" "));
        assert!(FORMAT.contains(&example), "{op:?} is {example}");
    }
}

#[test]
fn containers_survive_writing_and_reading() {
    for seed in 0..50 {
        for dtype in [Dtype::I8, Dtype::F16, Dtype::F32] {
            let draft = Draft::random(seed, dtype);
            let file = draft.file();
            let read = container::decode(&file).unwrap();
            assert_eq!((file.len() - read.blob.len()) % container::BLOB_ALIGN, 0);
            assert_eq!(read.blob, draft.blob);
            let ops: Result<Vec<Op>, _> = read.decoder.ops().collect();
            assert_eq!(ops, Ok(draft.decoder));
            let mut again = vec![0; file.len()];
            assert_eq!(container::encode(&read, &mut again), Ok(&file[..]));
            let error = FormatError::Buffer {
                needed: file.len(),
                given: file.len() - 1,
            };
            assert_eq!(container::encode(&read, &mut again[1..]), Err(error));
        }
    }
}
