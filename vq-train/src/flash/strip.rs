//! The same model without its encoder: only what decodes is flashed.

use vq_core::format::container::{self, BLOB_ALIGN};
use vq_core::format::{Container, Graph, Op};
use vq_core::{FormatError, Model};

/// Writes `file` again without the encoder's graph, and without the tensors that only it used.
///
/// # Errors
/// What [`Model::parse`] finds wrong with `file`.
pub fn without_encoder(file: &[u8]) -> Result<Vec<u8>, FormatError> {
    let model = Model::parse(file)?;
    let blob = Blob::kept(&model);
    let mut container = container::decode(file)?;
    for codebook in &mut container.codebooks {
        codebook.table = blob.moved(codebook.table);
    }
    let ops: Vec<Op> = model.decoder().ops().map(|op| blob.moved_op(op)).collect();
    let mut message = vec![0; Graph::encoded_len(&ops)];
    // The buffer is as long as asked for, and the graph has as many operators as before.
    let decoder =
        Graph::encode(&ops, &mut message).map_err(|fault| FormatError::Decoder { op: 0, fault })?;
    let bytes = blob.bytes(model.blob());
    let stripped = Container {
        decoder,
        encoder: None,
        blob: &bytes,
        ..container
    };
    let mut out = vec![0; container::encoded_len(&stripped)];
    container::encode(&stripped, &mut out)?;
    Ok(out)
}

/// Which blocks of [`BLOB_ALIGN`] bytes of the blob stay. Whole blocks, so that every tensor keeps its
/// alignment, and tensors that overlap stay so.
struct Blob {
    keep: Vec<bool>,
}

impl Blob {
    /// Keeps what codebooks and decoder use.
    fn kept(model: &Model) -> Self {
        let mut blob = Self {
            keep: vec![false; model.blob().len().div_ceil(BLOB_ALIGN)],
        };
        for &codebook in model.codebooks() {
            blob.use_tensor(codebook.table, model.table(codebook).len() as u64);
        }
        let size = model.dtype().size() as u64;
        for layer in model.decoder().layers() {
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

    fn moved_op(&self, mut op: Op) -> Op {
        match &mut op {
            Op::Conv2d(op) => {
                op.weights = self.moved(op.weights);
                op.params = self.moved(op.params);
            }
            Op::UpConv(op) => {
                op.weights = self.moved(op.weights);
                op.params = self.moved(op.params);
            }
            Op::Activation(op) => op.table = self.moved(op.table),
            Op::GroupNorm(op) => op.params = self.moved(op.params),
            Op::Add(_)
            | Op::Relu(_)
            | Op::DepthToSpace(_)
            | Op::SpaceToDepth(_)
            | Op::Attention(_) => {}
        }
        op
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
