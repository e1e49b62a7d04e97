//! The model file, written through the core's own types.

use super::calibrate::Ranges;
use super::fold::FloatGraph;
use super::lower::{self, Blob, half_bytes};
use crate::train::Trainer;
use vq_core::PictureSize;
use vq_core::format::container::{CRC, encode, encoded_len};
use vq_core::format::{Codebook, Container, Dtype, Entropy, Graph, Op, Quant};

/// The file of a model in one element type. `ranges` (encoder's, decoder's) are for i8.
pub(super) fn container(
    trainer: &Trainer,
    codebook: &[f32],
    dtype: Dtype,
    decoder: &FloatGraph,
    encoder: Option<&FloatGraph>,
    ranges: Option<&[Ranges; 2]>,
) -> Vec<u8> {
    let latent = latent_quant(codebook, dtype);
    let pixel = Quant::pixel(dtype);
    let mut blob = Blob::default();
    let table = blob.add(table_bytes(codebook, dtype, latent));
    let mut lowered = |graph: &FloatGraph, side: usize, ends| {
        let ranges = ranges.map(|r| &r[side][..]);
        let quants = lower::quants(graph, dtype, ranges, ends);
        encoded(&lower::graph(graph, dtype, &quants, &mut blob))
    };
    // What every user needs comes first.
    let decoder = lowered(decoder, 1, (latent, pixel));
    let encoder = encoder.map(|graph| lowered(graph, 0, (pixel, latent)));
    let mut codebooks = heapless::Vec::new();
    let stage = Codebook {
        codes: (codebook.len() / trainer.model.dim) as u16,
        table,
    };
    codebooks.push(stage).expect("one stage fits");
    let [width, height] = trainer.config.data.size.map(|s| s as u16);
    let container = Container {
        name: &trainer.config.name,
        code_id: CRC.checksum(
            &codebook
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<u8>>(),
        ),
        dtype,
        channels: trainer.config.model.channels as u8,
        down: trainer.model.down as u8,
        native: PictureSize { width, height },
        dim: trainer.model.dim as u16,
        latent,
        codebooks,
        entropy: Entropy::Fixed,
        decoder: decoder.graph(),
        encoder: encoder.as_ref().map(EncodedGraph::graph),
        pad: &[],
        blob: &blob.bytes,
    };
    file(&container)
}

fn file(container: &Container<'_>) -> Vec<u8> {
    let mut bytes = vec![0; encoded_len(container)];
    encode(container, &mut bytes).expect("the buffer has the length that was asked for");
    bytes
}

/// A graph's operators as bytes.
struct EncodedGraph {
    count: u16,
    ops: Vec<u8>,
}

impl EncodedGraph {
    fn graph(&self) -> Graph<'_> {
        Graph {
            count: self.count,
            ops: &self.ops,
        }
    }
}

fn encoded(ops: &[Op]) -> EncodedGraph {
    let bytes = ops
        .iter()
        .flat_map(|op| postcard::to_stdvec(op).expect("plain data serialises"));
    EncodedGraph {
        count: ops.len() as u16,
        ops: bytes.collect(),
    }
}

/// Symmetric, so that no code needs a zero point of its own.
fn latent_quant(codebook: &[f32], dtype: Dtype) -> Quant {
    let largest = codebook.iter().fold(1e-6f32, |a, v| a.max(v.abs()));
    match dtype {
        Dtype::I8 => Quant {
            scale: largest / 127.0,
            zero: 0,
        },
        Dtype::F16 | Dtype::F32 => Quant::UNIT,
    }
}

fn table_bytes(codebook: &[f32], dtype: Dtype, latent: Quant) -> Vec<u8> {
    match dtype {
        Dtype::F32 => codebook.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::F16 => half_bytes(codebook).collect(),
        Dtype::I8 => codebook
            .iter()
            .map(|v| (v / latent.scale).round() as i8 as u8)
            .collect(),
    }
}
