//! What the benchmarks share: a model of the shape of tier `micro`, with random numbers, a picture decoded by an engine,
//! and how programs end.

use std::error::Error;
use std::process::ExitCode;
use vq_core::format::{Dtype, Kernel, Op, Relu};
use vq_core::{Backend, Decoding, Engine, HasKernels, PictureSize, Probe, RunError};
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

/// The backends that this CPU has.
pub fn native() -> impl Iterator<Item = Backend> {
    Backend::ALL.into_iter().filter(|b| b.is_native())
}

/// Decodes a picture with an engine that is ready.
///
/// # Errors
/// Codes or pixels that are not those of a picture of the engine's size.
pub fn decode_into<E: HasKernels>(
    engine: &mut Engine<'_, E>,
    codes: &[u16],
    probe: &mut impl Probe<E>,
    pixels: &mut [u8],
) -> Result<(), RunError> {
    let row_bytes = engine.plan().row_bytes();
    let mut decoding = Decoding::rows(engine, codes, 0..u16::MAX)?;
    for row in pixels.chunks_exact_mut(row_bytes) {
        decoding.next_row_with(probe, row)?;
    }
    Ok(())
}

/// The size of [`micro`]'s pictures.
pub const SIZE: PictureSize = PictureSize {
    width: 128,
    height: 128,
};

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
    draft.conv(&mut graph, square(48, 3, 1), true, quant);
    for _ in 0..2 {
        residual(draft, &mut graph);
    }
    draft.upconv(&mut graph, 32, true, quant);
    residual(draft, &mut graph);
    draft.upconv(&mut graph, 32, true, quant);
    draft.conv(&mut graph, square(12, 3, 1), false, pixel);
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
        draft.conv(&mut graph, square(channels, 4, 2), true, quant);
    }
    residual(draft, &mut graph);
    draft.conv(&mut graph, square(8, 1, 1), false, latent);
    graph
}

/// ReLU, 3x3 to a third of the channels, ReLU, 1x1 back, and the sum with the start.
fn residual(draft: &mut Draft, graph: &mut Drawn) {
    let skip = graph.last();
    let map = graph.values[usize::from(skip)];
    let quant = draft.quant();
    graph.push(Op::Relu(Relu { input: skip }), map);
    draft.conv(graph, square(map.channels / 3, 3, 1), true, quant);
    draft.conv(graph, square(map.channels, 1, 1), false, quant);
    draft.add(graph, skip, false, quant);
}

/// A convolution with a square kernel.
pub fn square(out_channels: u16, side: u8, stride: u8) -> ConvShape {
    ConvShape {
        out_channels,
        kernel: Kernel {
            height: side,
            width: side,
        },
        stride,
    }
}
