//! The golden model with every operator of `i8` files, and what it makes of a picture: what FORMAT.md offers to
//! whoever writes a reader of their own. `golden_files.rs` writes it to `golden/`.

use crate::Random;
use crate::draft::{ConvShape, Draft, Drawn};
use vq_core::bitstream::{Fragment, Header, Scan, frame_length};
use vq_core::format::container::{self, CRC};
use vq_core::format::*;
use vq_core::{Codec, Map, Model, PictureSize};

/// Its native size: the last column and the last two rows of codes hang over.
pub const SIZE: PictureSize = PictureSize {
    width: 11,
    height: 6,
};

/// A file of `golden/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldenFile {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// The model, a picture, its codes in one packet and in several, and the decoded picture.
pub fn files() -> [GoldenFile; 5] {
    let model_file = model_file();
    let codec = Codec::new(model_file.clone()).unwrap();
    let (model, pixels) = (codec.model(), pixels());
    let codes = codec.encode(&pixels, SIZE).unwrap();
    let decoded = codec.decode(&codes, SIZE).unwrap();
    let file = |name, bytes| GoldenFile { name, bytes };
    [
        file("operators.vqm", model_file),
        file("operators-original.ppm", ppm(&pixels)),
        file("operators-whole.vqc", whole(&model, &codes)),
        file("operators-parts.vqc", parts(&model, &codes)),
        file("operators-decoded.ppm", ppm(&decoded)),
    ]
}

/// Waves, and noise that reaches both ends.
fn pixels() -> Vec<u8> {
    let mut random = Random::new(11);
    let count = usize::from(SIZE.width) * usize::from(SIZE.height) * 3;
    let sample = |i: usize| (40 * (i / 33) + 17 * (i % 33)) as u8;
    let mut pixels: Vec<u8> = (0..count).map(sample).collect();
    for _ in 0..40 {
        pixels[random.below(count)] = random.pick(&[0, 255, 128]);
    }
    pixels
}

/// A portable pixmap.
fn ppm(pixels: &[u8]) -> Vec<u8> {
    let header = format!("P6\n{} {}\n255\n", SIZE.width, SIZE.height);
    [header.as_bytes(), pixels].concat()
}

/// One packet of the whole.
fn whole(model: &Model<'_>, codes: &[u16]) -> Vec<u8> {
    framed(model, codes, Scan::Raster, None)
}

/// Three packets of image 7, not in their order.
fn parts(model: &Model<'_>, codes: &[u16]) -> Vec<u8> {
    let part = |index| Fragment {
        image: 7,
        index,
        count: 3,
    };
    let packet = |index| framed(model, codes, Scan::Dithered, Some(part(index)));
    [2, 0, 1].map(packet).concat()
}

/// A packet behind its length.
fn framed(model: &Model<'_>, codes: &[u16], scan: Scan, fragment: Option<Fragment>) -> Vec<u8> {
    let header = Header {
        model: model.stream().model(),
        size: None,
        scan,
        fragment,
    };
    let mut buffer = [0; 64];
    let length = header.emit(model.stream(), codes, &mut buffer).unwrap();
    let packet = &buffer[..length];
    [&frame_length(packet).unwrap(), packet].concat()
}

fn model_file() -> Vec<u8> {
    let mut draft = Draft::new(2026, Dtype::I8, 3, 4, 3, &[50, 6]);
    draft.latent.scale = 1.0 / 16.0;
    draft.decoder = decoder(&mut draft);
    draft.encoder = encoder(&mut draft);
    let [mut decoder, mut encoder] =
        [&draft.decoder, &draft.encoder].map(|ops| vec![0; Graph::encoded_len(ops)]);
    let container = Container {
        name: "operators",
        code_id: code_id(&draft),
        dtype: Dtype::I8,
        channels: draft.channels,
        down: draft.down,
        native: SIZE,
        dim: draft.dim,
        latent: draft.latent,
        codebooks: draft.codebooks.iter().copied().collect(),
        entropy: Entropy::Fixed,
        decoder: Graph::encode(&draft.decoder, &mut decoder).unwrap(),
        encoder: Some(Graph::encode(&draft.encoder, &mut encoder).unwrap()),
        pad: &[],
        blob: &draft.blob,
    };
    let mut file = vec![0; container::encoded_len(&container)];
    container::encode(&container, &mut file).unwrap();
    file
}

/// Of entries that were multiples of the scale before they were quantised.
fn code_id(draft: &Draft) -> u32 {
    let mut digest = CRC.digest();
    for book in &draft.codebooks {
        let (start, count) = (book.table as usize, book.codes * draft.dim);
        for &entry in &draft.blob[start..][..count.into()] {
            let real = f32::from(entry as i8) * draft.latent.scale;
            digest.update(&real.to_le_bytes());
        }
    }
    digest.finalize()
}

/// Steps of 1/10 around this number.
fn quant(zero: i8) -> Quant {
    Quant { scale: 0.1, zero }
}

/// 3 channels a code to 3 channels a pixel: all operators but space_to_depth.
fn decoder(draft: &mut Draft) -> Vec<Op> {
    let mut graph = draft.start(draft.latent_map());
    conv(draft, &mut graph, 4, [3, 3], 1, quant(-100));
    let rows = graph.last();
    draft.activation(&mut graph, ActivationKind::Silu, quant(9));
    draft.add(&mut graph, rows, true, quant(-20));
    draft.upconv(&mut graph, 5, true, quant(-128));
    draft.upconv(&mut graph, 6, false, quant(31));
    relu(&mut graph);
    // Back to half the density, with two columns and a row more than the stride needs.
    conv(draft, &mut graph, 12, [3, 4], 2, Quant::PIXEL);
    let map = graph.values[usize::from(graph.last())];
    let spread = DepthToSpace {
        input: graph.last(),
        factor: 2,
    };
    let pixels = Map {
        channels: 3,
        density: map.density * 2,
        ..map
    };
    graph.push(Op::DepthToSpace(spread), pixels);
    graph.ops
}

/// 3 channels a pixel to 3 a code.
fn encoder(draft: &mut Draft) -> Vec<Op> {
    let mut graph = draft.start(draft.pixel_map());
    let map = graph.values[0];
    let gather = SpaceToDepth {
        input: 0,
        factor: 2,
    };
    let gathered = Map {
        channels: 12,
        density: map.density / 2,
        ..map
    };
    graph.push(Op::SpaceToDepth(gather), gathered);
    conv(draft, &mut graph, 7, [2, 3], 2, quant(-60));
    relu(&mut graph);
    let latent = draft.latent;
    conv(draft, &mut graph, 3, [1, 1], 1, latent);
    graph.ops
}

fn conv(
    draft: &mut Draft,
    graph: &mut Drawn,
    out_channels: u16,
    [height, width]: [u8; 2],
    stride: u8,
    out: Quant,
) {
    let kernel = Kernel { height, width };
    let shape = ConvShape {
        out_channels,
        kernel,
        stride,
    };
    draft.conv(graph, shape, false, out);
}

fn relu(graph: &mut Drawn) {
    let input = graph.last();
    let map = graph.values[usize::from(input)];
    graph.push(Op::Relu(Relu { input }), map);
}
