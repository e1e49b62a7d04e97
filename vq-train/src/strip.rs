//! A model file without one of its two graphs: what is flashed for receivers has no encoder, what is flashed for senders no
//! decoder.

use vq_core::format::container::{self, BLOB_ALIGN};
use vq_core::format::{Container, Graph, Op};
use vq_core::model::Network;
use vq_core::{FormatError, Model, PlanError};

/// Writes `file` again without the encoder's graph, and without the tensors that only it used.
///
/// # Errors
/// What [`Model::parse`] finds wrong with `file`; [`PlanError::NoDecoder`] when nothing would be left.
pub fn without_encoder(file: &[u8]) -> Result<Vec<u8>, vq_core::Error> {
    let model = Model::parse(file)?;
    if model.decoder().is_empty() {
        return Err(PlanError::NoDecoder.into());
    }
    Ok(keep(file, &model, Some(model.decoder()), None)?)
}

/// Writes `file` again without the decoder's graph, and without the tensors that only it used.
///
/// # Errors
/// What [`Model::parse`] finds wrong with `file`; [`PlanError::NoEncoder`] when nothing would be left.
pub fn without_decoder(file: &[u8]) -> Result<Vec<u8>, vq_core::Error> {
    let model = Model::parse(file)?;
    let encoder = model.encoder().ok_or(PlanError::NoEncoder)?;
    Ok(keep(file, &model, None, Some(encoder))?)
}

/// Writes these graphs, and what they and the codebooks use of the blob.
fn keep(
    file: &[u8],
    model: &Model<'_>,
    decoder: Option<Network<'_>>,
    encoder: Option<Network<'_>>,
) -> Result<Vec<u8>, FormatError> {
    let blob = Blob::kept(model, decoder.into_iter().chain(encoder));
    let mut container = container::decode(file)?;
    for codebook in &mut container.codebooks {
        codebook.table = blob.moved(codebook.table);
    }
    let [decoder, encoder] = [decoder, encoder].map(|graph| graph.map(|graph| blob.graph(graph)));
    let bytes = blob.bytes(model.blob());
    let stripped = Container {
        decoder: decoder.as_ref().map_or(NO_GRAPH, Moved::graph),
        encoder: encoder.as_ref().map(Moved::graph),
        blob: &bytes,
        ..container
    };
    let mut out = vec![0; container::encoded_len(&stripped)];
    container::encode(&stripped, &mut out)?;
    Ok(out)
}

/// What stands in the decoder's place where there is none.
const NO_GRAPH: Graph<'static> = Graph { count: 0, ops: &[] };

/// A graph whose tensors have moved.
struct Moved {
    count: u16,
    message: Vec<u8>,
}

impl Moved {
    fn graph(&self) -> Graph<'_> {
        Graph {
            count: self.count,
            ops: &self.message,
        }
    }
}

/// Which blocks of [`BLOB_ALIGN`] bytes of the blob stay. Whole blocks, so that every tensor keeps its
/// alignment, and tensors that overlap stay so.
struct Blob {
    keep: Vec<bool>,
}

impl Blob {
    /// Keeps what codebooks and these graphs use.
    fn kept<'a>(model: &Model<'_>, graphs: impl Iterator<Item = Network<'a>>) -> Self {
        let mut blob = Self {
            keep: vec![false; model.blob().len().div_ceil(BLOB_ALIGN)],
        };
        for &codebook in model.codebooks() {
            blob.use_tensor(codebook.table, model.table(codebook).len() as u64);
        }
        let size = model.dtype().size() as u64;
        for layer in graphs.flat_map(|graph| graph.layers()) {
            if let Some(table) = layer.op.table(model.dtype()) {
                blob.use_tensor(table, layer.tensor_bytes);
            }
            if let Some(tensors) = layer.op.tensors(layer.input.channels) {
                let weights = tensors.weight_count * size;
                blob.use_tensor(tensors.weights, weights);
                blob.use_tensor(tensors.params, layer.tensor_bytes - weights);
            }
        }
        blob
    }

    fn use_tensor(&mut self, offset: u32, len: u64) {
        let start = offset as usize;
        let end = start + len as usize;
        self.keep[start / BLOB_ALIGN..end.div_ceil(BLOB_ALIGN)].fill(true);
    }

    fn moved(&self, offset: u32) -> u32 {
        let gone = self.keep[..offset as usize / BLOB_ALIGN]
            .iter()
            .filter(|&&keep| !keep)
            .count();
        offset - (gone * BLOB_ALIGN) as u32
    }

    /// A graph's operators with their tensors moved.
    fn graph(&self, graph: Network<'_>) -> Moved {
        let moved = |mut op: Op| {
            op.relocate(|offset| self.moved(offset));
            op
        };
        let ops: Vec<Op> = graph.ops().map(moved).collect();
        let mut message = vec![0; Graph::encoded_len(&ops)];
        let len = Graph::encode(&ops, &mut message).map_or(0, |graph| graph.ops.len());
        message.truncate(len);
        Moved {
            count: ops.len() as u16,
            message,
        }
    }

    fn bytes(&self, blob: &[u8]) -> Vec<u8> {
        let blocks = blob.chunks(BLOB_ALIGN).zip(&self.keep);
        blocks
            .filter(|(_, keep)| **keep)
            .flat_map(|(block, _)| block)
            .copied()
            .collect()
    }
}
