//! What the benchmarks share: a model of the shape of tier `micro`, with random numbers, and how programs end.

use std::error::Error;
use std::process::ExitCode;
use vq_core::format::{Dtype, Kernel, Op, Quant, Relu};
use vq_tests::Draft;
use vq_tests::draft::{ConvShape, Drawn};

/// A program's end: what went wrong on stderr, if anything did.
pub fn finish(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// 128x128 colour pictures in 16x16 codes of 512, 8 numbers each; the decoder takes about 2,800
/// multiplications a pixel.
pub fn micro(dtype: Dtype) -> Vec<u8> {
    let mut draft = Draft::new(1, dtype, 3, 8, 8, &[512]);
    draft.decoder = decoder(&mut draft).ops;
    draft.encoder = encoder(&mut draft).ops;
    draft.file()
}

fn decoder(draft: &mut Draft) -> Drawn {
    let mut graph = draft.start(draft.latent_map());
    let (quant, pixel) = (draft.quant(), draft.pixel_map().quant);
    conv(draft, &mut graph, square(48, 3, 1), true, quant);
    for _ in 0..2 {
        residual(draft, &mut graph);
    }
    draft.upconv(&mut graph, 32, true, quant);
    residual(draft, &mut graph);
    draft.upconv(&mut graph, 32, true, quant);
    conv(draft, &mut graph, square(12, 3, 1), false, pixel);
    let shape = draft.pixel_map();
    let op = vq_core::format::DepthToSpace {
        input: graph.last(),
        factor: 2,
    };
    graph.push(Op::DepthToSpace(op), shape);
    graph
}

fn encoder(draft: &mut Draft) -> Drawn {
    let mut graph = draft.start(draft.pixel_map());
    let (quant, latent) = (draft.quant(), draft.latent);
    for channels in [16, 32, 48] {
        conv(draft, &mut graph, square(channels, 4, 2), true, quant);
    }
    residual(draft, &mut graph);
    conv(draft, &mut graph, square(8, 1, 1), false, latent);
    graph
}

/// ReLU, 3x3 to a third of the channels, ReLU, 1x1 back, and the sum with the start.
fn residual(draft: &mut Draft, graph: &mut Drawn) {
    let skip = graph.last();
    let map = graph.values[usize::from(skip)];
    let quant = draft.quant();
    graph.push(Op::Relu(Relu { input: skip }), map);
    conv(draft, graph, square(map.channels / 3, 3, 1), true, quant);
    conv(draft, graph, square(map.channels, 1, 1), false, quant);
    draft.add(graph, skip, false, quant);
}

fn conv(draft: &mut Draft, graph: &mut Drawn, shape: ConvShape, relu: bool, quant: Quant) {
    draft.conv(graph, shape, relu, quant);
}

fn square(out_channels: u16, side: u8, stride: u8) -> ConvShape {
    ConvShape {
        out_channels,
        kernel: Kernel {
            height: side,
            width: side,
        },
        stride,
    }
}
