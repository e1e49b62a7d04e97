//! The model file, written through the core's own types.

use super::calibrate::Ranges;
use super::error::ExportError;
use super::graph::FloatGraph;
use super::lower::{self, Blob, half_bytes};
use crate::quantizer::Table;
use crate::train::Trainer;
use vq_core::PictureSize;
use vq_core::bitstream::MAX_STAGES;
use vq_core::format::container::{CRC, encode, encoded_len};
use vq_core::format::{Codebook, Container, Dtype, Entropy, Graph, Op, Quant};

/// The file of a model in one element type. `ranges` (encoder's, decoder's) are for i8.
///
/// # Errors
/// [`ExportError::Codebooks`] when the format has no room for the stages.
pub(super) fn container(
    trainer: &Trainer,
    stages: &[Table],
    dtype: Dtype,
    decoder: &FloatGraph,
    encoder: Option<&FloatGraph>,
    ranges: Option<&[Ranges; 2]>,
) -> Result<Vec<u8>, ExportError> {
    // Not the trainer's where the quantiser searches in more dimensions than it decodes.
    let first = stages.first().filter(|stage| stage.codes > 0);
    let dim = first.map_or(1, |stage| stage.values.len() / stage.codes);
    let latent = latent_quant(stages, dim, dtype);
    let pixel = Quant::pixel(dtype);
    let mut blob = Blob::default();
    let codebooks = codebooks(stages, dtype, latent, &mut blob)?;
    let mut lowered = |graph: &FloatGraph, side: usize, ends| {
        let ranges = ranges.map(|r| &r[side][..]);
        let quants = lower::quants(graph, dtype, ranges, ends);
        encoded(&lower::graph(graph, dtype, &quants, &mut blob))
    };
    // What every user needs comes first.
    let decoder = lowered(decoder, 1, (latent, pixel));
    let encoder = encoder.map(|graph| lowered(graph, 0, (pixel, latent)));
    let [width, height] = trainer.config.data.size.map(|s| s as u16);
    let container = Container {
        name: &trainer.config.name,
        code_id: code_id(stages),
        dtype,
        channels: trainer.config.model.channels as u8,
        down: trainer.model.down as u8,
        native: PictureSize { width, height },
        dim: dim as u16,
        latent,
        codebooks,
        entropy: Entropy::Fixed,
        decoder: decoder.graph(),
        encoder: encoder.as_ref().map(EncodedGraph::graph),
        pad: &[],
        blob: &blob.bytes,
    };
    Ok(file(&container))
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

/// The stages' tables, which come first in the blob.
fn codebooks(
    stages: &[Table],
    dtype: Dtype,
    latent: Quant,
    blob: &mut Blob,
) -> Result<heapless::Vec<Codebook, MAX_STAGES>, ExportError> {
    let mut codebooks = heapless::Vec::new();
    for stage in stages {
        let codes = u16::try_from(stage.codes).ok().filter(|&codes| codes > 0);
        let codes = codes.ok_or(ExportError::Codebooks)?;
        let table = blob.add(table_bytes(&stage.values, dtype, latent));
        let codebook = Codebook { codes, table };
        codebooks
            .push(codebook)
            .map_err(|_| ExportError::Codebooks)?;
    }
    if codebooks.is_empty() {
        return Err(ExportError::Codebooks);
    }
    Ok(codebooks)
}

/// CRC-32 of all entries as f32, stage behind stage: the same in every element type.
fn code_id(stages: &[Table]) -> u32 {
    let mut digest = CRC.digest();
    for value in stages.iter().flat_map(|stage| &stage.values) {
        digest.update(&value.to_le_bytes());
    }
    digest.finalize()
}

/// Symmetric, so that no code needs a zero point of its own; and so coarse that the sum of any entries, one
/// of each stage, fits. Each entry is rounded by itself and may gain half a step; what stays within 127.5
/// then is a whole number, so at most 127.
///
/// The bound is taken channel by channel, so that groups of channels, each with its own codebook, cost
/// nothing.
fn latent_quant(stages: &[Table], dim: usize, dtype: Dtype) -> Quant {
    if dtype != Dtype::I8 {
        return Quant::UNIT;
    }
    let step = |channel: usize| {
        let largest = |stage: &Table| {
            let values = stage.values.iter().skip(channel).step_by(dim);
            values.fold(0.0f32, |a, v| a.max(v.abs()))
        };
        let reach = stages.iter().map(largest).filter(|&largest| largest > 0.0);
        let (sum, terms) = reach.fold((0.0, 0), |(sum, n), largest| (sum + largest, n + 1));
        sum / (127.5 - 0.5 * terms.max(1) as f32)
    };
    let scale = (0..dim).map(step).fold(1e-6 / 127.0, f32::max);
    Quant { scale, zero: 0 }
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

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const DIM: usize = 2;

    fn stage(values: &[f32]) -> Table {
        Table {
            codes: values.len() / DIM,
            side: 1,
            values: values.to_vec(),
        }
    }

    fn scale(stages: &[&[f32]]) -> f32 {
        let stages: Vec<_> = stages.iter().map(|values| stage(values)).collect();
        latent_quant(&stages, DIM, Dtype::I8).scale
    }

    #[test]
    fn one_stage_fills_the_range() {
        assert_eq!(scale(&[&[0.1, -0.7, 0.3, 0.2]]), 0.7 / 127.0);
        assert_eq!(scale(&[&[0.0; 4]]), 1e-6 / 127.0);
    }

    #[test]
    fn groups_of_channels_share_the_range_without_loss() {
        let groups: [&[f32]; 2] = [&[0.5, 0.0, -0.4, 0.0], &[0.0, 0.2, 0.0, 0.3]];
        assert_eq!(scale(&groups), 0.5 / 127.0);
    }

    #[test]
    fn the_sum_of_any_entries_fits() {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        for _ in 0..200 {
            let mut values = |reach: f32| -> Vec<f32> {
                (0..6).map(|_| random.random_range(-reach..reach)).collect()
            };
            let tables = [1.0, 0.6, 0.37, 0.2].map(&mut values);
            let stages: Vec<_> = tables.iter().map(|table| stage(table)).collect();
            let latent = latent_quant(&stages, DIM, Dtype::I8);
            for channel in 0..DIM {
                let largest = |stage: &Table| {
                    let bytes = table_bytes(&stage.values, Dtype::I8, latent);
                    let stored = bytes.iter().skip(channel).step_by(DIM);
                    let sizes = stored.map(|&x| i32::from(x as i8).abs());
                    sizes.max().unwrap_or(0)
                };
                let sum: i32 = stages.iter().map(largest).sum();
                assert!(sum <= 127, "{sum}");
            }
        }
    }

    #[test]
    fn stages_are_identified_as_one_sequence_of_entries() {
        let (first, second) = ([1.0f32, -2.0], [0.5f32, 0.25, 3.0, 4.0]);
        let bytes: Vec<u8> = first
            .iter()
            .chain(&second)
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(
            code_id(&[stage(&first), stage(&second)]),
            CRC.checksum(&bytes)
        );
    }

    #[test]
    fn tables_follow_each_other_and_have_their_limits() {
        let (first, second) = ([1.0f32, -2.0], [0.5f32, 0.25, 3.0, 4.0]);
        let mut blob = Blob::default();
        let written = |stages: &[Table], blob: &mut Blob| {
            codebooks(stages, Dtype::F32, Quant::UNIT, blob).map_err(|error| error.to_string())
        };
        let books = written(&[stage(&first), stage(&second)], &mut blob).unwrap();
        let found: Vec<_> = books.iter().map(|book| (book.codes, book.table)).collect();
        assert_eq!((found, blob.bytes.len()), (vec![(1, 0), (2, 8)], 24));
        let counted = |codes| Table {
            codes,
            side: 1,
            values: Vec::new(),
        };
        let nine = [(); 9].map(|()| stage(&first));
        for refused in [&[][..], &[counted(0)], &[counted(65536)], &nine] {
            let error = written(refused, &mut blob).unwrap_err();
            assert!(error.contains("1 to 8 codebooks"), "{error}");
        }
    }
}
