//! What the benchmarks share: a model of the shape of tier `micro`, with random numbers, its pictures decoded one after
//! the other, and how programs end.

use std::error::Error;
use std::process::ExitCode;
use vq_core::format::{Dtype, Kernel, Op, Relu};
use vq_core::{Backend, Decoder, Element, Engine, Model, PictureSize, Probe};
use vq_tests::Draft;
use vq_tests::draft::{ConvShape, Drawn};
use vq_tests::streamed::FullPlan;

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

/// A decoder that keeps its memory from picture to picture.
#[derive(Debug)]
pub struct Decode<'a, E: Element> {
    engine: Engine<'a, E>,
    row_bytes: usize,
    pixels: Vec<u8>,
}

impl<E: Element> Decode<'_, E> {
    /// Runs `then` with a decoder of pictures of `size`.
    pub fn with(
        model: &Model<'_>,
        size: PictureSize,
        backend: Backend,
        then: impl FnOnce(&mut Decode<'_, E>),
    ) {
        let mut plan = FullPlan::on(backend);
        let mut layout = plan
            .decoder(model, size)
            .expect("sizes of benchmarks are small");
        let mut scratch = vec![E::default(); layout.scratch_len()];
        let row_bytes = layout.row_bytes();
        let pixels = vec![0; row_bytes * usize::from(size.height)];
        let engine = Engine::new(&mut layout, &mut scratch).expect("the scratch is large enough");
        then(&mut Decode {
            engine,
            row_bytes,
            pixels,
        });
    }

    /// The picture of some codes.
    pub fn run(&mut self, codes: &[u16], probe: &mut impl Probe<E>) -> &[u8] {
        let mut decoder = Decoder::new(&mut self.engine, codes).expect("as many codes as cells");
        for row in self.pixels.chunks_exact_mut(self.row_bytes) {
            decoder.next_row_with(probe, row).expect("a whole row");
        }
        &self.pixels
    }
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
