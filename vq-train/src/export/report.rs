//! Where a quantised model loses accuracy: each value against the f32 model's.

use crate::codec::{Codec, CodecError};
use crate::picture::Picture;
use serde::Serialize;
use std::collections::HashMap;
use vq_core::format::{Dtype, Quant};
use vq_core::{Element, Probe, f16};

/// One operator's output in the quantised model, compared with the same in f32.
#[derive(Debug, Clone, Serialize)]
pub struct LayerError {
    /// Place among the decoder's operators.
    pub index: usize,
    /// The operator.
    pub op: &'static str,
    /// Signal to quantisation noise in dB; everything before this operator counts too.
    pub sqnr: f64,
}

/// Compares the decoder's values on the codes that `reference` gives a picture.
///
/// # Errors
/// When the two are not exports of one training.
pub fn layer_errors(
    reference: &Codec,
    quantised: &Codec,
    picture: &Picture,
) -> Result<Vec<LayerError>, CodecError> {
    let codes = reference.encode(picture)?;
    let mut truth = Kept::default();
    reference.decode_with::<f32>(&mut truth, &codes, picture.size())?;
    let model = quantised.model();
    let mut compared = Compared {
        truth,
        quants: vec![model.latent()],
        sums: HashMap::new(),
    };
    compared
        .quants
        .extend(model.decoder().layers().map(|layer| layer.output.quant));
    let size = picture.size();
    match model.dtype() {
        Dtype::I8 => quantised.decode_with::<i8>(&mut compared, &codes, size)?,
        Dtype::F16 => quantised.decode_with::<f16>(&mut compared, &codes, size)?,
        Dtype::F32 => quantised.decode_with::<f32>(&mut compared, &codes, size)?,
    };
    let names = model.decoder().ops().map(|op| op.name());
    Ok(names
        .enumerate()
        .map(|(i, op)| compared.error(i, op))
        .collect())
}

/// All rows of all values of an f32 decode.
#[derive(Default)]
struct Kept(HashMap<(usize, u32), Vec<f32>>);

impl Probe<f32> for Kept {
    fn after(&mut self, value: usize, y: u32, row: &[f32]) {
        self.0.insert((value, y), row.to_vec());
    }
}

struct Compared {
    truth: Kept,
    quants: Vec<Quant>,
    /// Sums of squares of each value: the signal's, and the difference's.
    sums: HashMap<usize, (f64, f64)>,
}

impl<E: Element> Probe<E> for Compared {
    fn after(&mut self, value: usize, y: u32, row: &[E]) {
        let Some(truth) = self.truth.0.get(&(value, y)) else {
            return;
        };
        let (signal, noise) = self.sums.entry(value).or_default();
        for (x, &t) in row.iter().zip(truth) {
            *signal += f64::from(t).powi(2);
            *noise += f64::from(x.real(self.quants[value]) - t).powi(2);
        }
    }
}

impl Compared {
    fn error(&self, index: usize, op: &'static str) -> LayerError {
        let (signal, noise) = self.sums.get(&(index + 1)).copied().unwrap_or_default();
        LayerError {
            index,
            op,
            sqnr: 10.0 * (signal / noise.max(1e-30)).log10(),
        }
    }
}
