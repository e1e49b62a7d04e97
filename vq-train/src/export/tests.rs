//! A finite scalar quantiser in the core (Mentzer et al. 2023): a convolution, tanh, a scale for each
//! channel, and a plain table of all products of levels.

use super::calibrate;
use super::graph::{FloatConv, FloatGraph, FloatOp};
use super::lower::{self, Blob};
use crate::codec::Codec;
use crate::picture::{Picture, Size};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vq_core::PictureSize;
use vq_core::format::{
    ActivationKind, Codebook, Container, Dtype, Entropy, Graph, Op, Quant, container,
};

/// Odd, so that the levels are -half ..= half without a shift.
const LEVELS: [i32; 3] = [7, 5, 5];

fn half(channel: usize) -> i32 {
    LEVELS[channel] / 2
}

/// tanh(z) times this is rounded to a level.
fn reach(channel: usize) -> f32 {
    half(channel) as f32 * (1.0 - 1e-3)
}

/// The entries `[K][3]`, the first channel fastest, levels in -1 ..= 1.
fn table() -> Vec<f32> {
    let codes = LEVELS.iter().product::<i32>();
    let digits = |code: i32| [code % 7, code / 7 % 5, code / 35];
    (0..codes)
        .flat_map(|code| {
            let levels = digits(code).into_iter().enumerate();
            levels.map(|(c, digit)| (digit - half(c)) as f32 / half(c) as f32)
        })
        .collect()
}

fn conv(input: u16, out_channels: usize, side: u8, weight: Vec<f32>) -> FloatOp {
    let bias = vec![0.0; out_channels];
    FloatOp::Conv(FloatConv {
        input,
        out_channels,
        kernel: side,
        stride: side,
        pad: vq_core::format::Pad::NONE,
        relu: false,
        weight,
        bias,
    })
}

/// Blocks of 2x2 grey pixels to three numbers between -1 and 1.
fn encoder(random: &mut ChaCha8Rng) -> FloatGraph {
    let weight = (0..12).map(|_| random.random_range(-1.5..1.5)).collect();
    let mut scale = vec![0.0; 9];
    for channel in 0..3 {
        scale[4 * channel] = reach(channel) / half(channel) as f32;
    }
    FloatGraph {
        ops: vec![
            conv(0, 3, 2, weight),
            FloatOp::Activation {
                input: 1,
                kind: ActivationKind::Tanh,
            },
            conv(2, 3, 1, scale),
        ],
    }
}

/// Of no interest: three numbers to four pixels.
fn decoder() -> FloatGraph {
    let spread = FloatOp::DepthToSpace {
        input: 1,
        factor: 2,
    };
    FloatGraph {
        ops: vec![conv(0, 4, 1, vec![0.25; 12]), spread],
    }
}

fn messages(ops: &[Op]) -> Vec<u8> {
    let messages = ops.iter().map(|op| postcard::to_stdvec(op).unwrap());
    messages.flatten().collect()
}

fn codec(dtype: Dtype, encoder: &FloatGraph, ranges: Option<&[calibrate::Ranges; 2]>) -> Codec {
    let table = table();
    let latent = match dtype {
        Dtype::I8 => Quant {
            scale: 1.0 / 127.0,
            zero: 0,
        },
        Dtype::F16 | Dtype::F32 => Quant::UNIT,
    };
    let stored = |value: &f32| (value / latent.scale).round() as i8 as u8;
    let mut blob = Blob::default();
    let offset = match dtype {
        Dtype::I8 => blob.add(table.iter().map(stored)),
        Dtype::F16 => blob.add(lower::half_bytes(&table)),
        Dtype::F32 => blob.add(table.iter().flat_map(|v| v.to_le_bytes())),
    };
    let pixel = Quant::pixel(dtype);
    let mut lowered = |graph: &FloatGraph, side: usize, ends| {
        let ranges = ranges.map(|ranges| &ranges[side][..]);
        let quants = lower::quants(graph, dtype, ranges, ends);
        messages(&lower::graph(graph, dtype, &quants, &mut blob))
    };
    let decoder = lowered(&decoder(), 1, (latent, pixel));
    let encoder = lowered(encoder, 0, (pixel, latent));
    let graph = |count, ops| Graph { count, ops };
    let codes = table.len() as u16 / 3;
    let container = Container {
        name: "fsq",
        code_id: 1,
        dtype,
        channels: 1,
        down: 2,
        native: PictureSize {
            width: 8,
            height: 8,
        },
        dim: 3,
        latent,
        codebooks: [Codebook {
            codes,
            table: offset,
        }]
        .into_iter()
        .collect(),
        entropy: Entropy::Fixed,
        decoder: graph(2, &decoder),
        encoder: Some(graph(3, &encoder)),
        pad: &[],
        blob: &blob.bytes,
    };
    let mut file = vec![0; container::encoded_len(&container)];
    container::encode(&container, &mut file).unwrap();
    Codec::from_bytes(file).unwrap()
}

/// Each channel rounded by itself, in double precision.
fn rounded(picture: &Picture, encoder: &FloatGraph) -> Vec<u16> {
    let FloatOp::Conv(conv) = &encoder.ops[0] else {
        unreachable!()
    };
    let code = |x: usize, y: usize| {
        let level = |channel: usize| {
            let taps = (0..4).map(|tap| {
                let at = (2 * y + tap / 2) * picture.width + 2 * x + tap % 2;
                let pixel = (f64::from(picture.pixels[at]) - 128.0) / 128.0;
                f64::from(conv.weight[4 * channel + tap]) * pixel
            });
            let level = taps.sum::<f64>().tanh() * f64::from(reach(channel));
            level.round() as i32 + half(channel)
        };
        (level(0) + 7 * level(1) + 35 * level(2)) as u16
    };
    let (w, h) = (picture.width / 2, picture.height / 2);
    (0..w * h).map(|i| code(i % w, i / w)).collect()
}

#[test]
fn a_finite_scalar_quantiser_deploys() {
    let mut random = ChaCha8Rng::seed_from_u64(12);
    let encoder = encoder(&mut random);
    let size = Size {
        width: 64,
        height: 64,
    };
    let pixels = (0..64 * 64).map(|_| random.random()).collect();
    let picture = Picture::new(size, 1, pixels);
    let truth = rounded(&picture, &encoder);
    let single = codec(Dtype::F32, &encoder, None);
    let ranges = calibrate::ranges(&single, std::slice::from_ref(&picture)).unwrap();
    let same = |codec: &Codec| {
        let codes = codec.encode(&picture).unwrap();
        let same = codes.iter().zip(&truth).filter(|(a, b)| a == b);
        same.count() as f64 / truth.len() as f64
    };
    assert_eq!(same(&single), 1.0);
    let half = same(&codec(Dtype::F16, &encoder, None));
    assert!(half > 0.995, "{half}");
    let integer = same(&codec(Dtype::I8, &encoder, Some(&ranges)));
    assert!(integer > 0.9, "{integer}");
}
