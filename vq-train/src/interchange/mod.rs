//! Weights to and from other frameworks: safetensors with PyTorch's names and layouts.
//!
//! ```text
//! export: checkpoint -> parameters in PyTorch's layout -> W.safetensors
//! import: W.safetensors -> match names and shapes -> our layout -> fold the pixels' range -> checkpoint
//! ```
//!
//! Layouts are PyTorch's: convolutions `[out, in, k, k]`, transposed ones `[in, out, k, k]`, codebook
//! `[K, D]`. The optimiser's state and the configuration are in the checkpoint only, not in such files.

mod compare;
mod error;
mod faults;
mod layout;
mod matching;
mod names;
mod pixels;

pub use error::InterchangeError;
pub use faults::Faults;
pub use names::Names;
pub use pixels::{Pixels, PixelsError};

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::model::VqVae;
use crate::nn::ParamInfo;
use crate::train::Networks;
use half::{bf16, f16};
use layout::Layouts;
use matching::{Pairing, Source};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;

/// A model made from another framework's weights.
#[derive(Debug)]
pub struct Imported {
    /// As if training had just placed the codebook; `scale` is 1.
    pub checkpoint: Checkpoint,
    /// Our parameters, and from which tensor each was taken.
    pub taken: Vec<(String, String)>,
    /// Our parameters that the file does not have, and what they start at instead.
    pub assumed: Vec<(String, &'static str)>,
    /// Tensors that nothing was taken from.
    pub unused: Vec<String>,
}

/// All parameters of a model as the bytes of a safetensors file, in f32.
///
/// # Panics
/// When `params` is not of the model's length.
pub fn to_safetensors(model: &VqVae, params: &[f32]) -> Vec<u8> {
    assert_eq!(params.len(), model.table.len(), "parameters of this model");
    let layouts = Layouts::of(model);
    let tensors: Vec<(&str, Vec<usize>, Vec<u8>)> = model
        .table
        .entries
        .iter()
        .map(|e| {
            let values = layouts.outward(e, &params[e.range.clone()]);
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (e.name.as_str(), layouts.shape(e), bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name, view.expect("a parameter's shape is its length"))
    });
    safetensors::serialize(views, None).expect("names and shapes have a JSON form")
}

/// A checkpoint of `config`'s model with the weights of `file`.
///
/// Parameters are found by `names`; what it leaves out by equal names; else by their order within
/// encoder and decoder. `pixels` is the range that the other framework's pictures were in; without, it
/// is ours. It becomes part of the model: a 1x1 convolution in front of the encoder, which is exact where
/// padding is zero in the other range, and other weights of the decoder's last convolution (or one more).
///
/// # Errors
/// A file that is not whole, tensors that do not match, values that are not finite.
pub fn import(
    config: &Config,
    file: &[u8],
    names: &Names,
    pixels: Option<Pixels>,
) -> Result<Imported, InterchangeError> {
    let file = SafeTensors::deserialize(file)?;
    let mut model = Networks::build(config.clone())?.model;
    let layouts = Layouts::of(&model);
    let wanted = |e: &ParamInfo| (e.name.clone(), layouts.shape(e));
    let ours: Vec<_> = model.table.entries.iter().map(wanted).collect();
    let tensors = file.iter();
    let theirs: BTreeMap<String, Vec<usize>> = tensors
        .map(|(name, view)| (name.to_string(), view.shape().to_vec()))
        .collect();
    let Pairing { sources, unused } =
        matching::pair(&ours, &theirs, names).map_err(InterchangeError::Unmatched)?;
    let mut params = vec![0.0; model.table.len()];
    let (mut taken, mut assumed) = (Vec::new(), Vec::new());
    for (entry, source) in model.table.entries.iter().zip(sources) {
        let place = entry.range.clone();
        let (values, origin) = match source {
            Source::Tensor(name) => {
                let values = values(&name, &file.tensor(&name)?)?;
                taken.push((entry.name.clone(), name));
                params[place].copy_from_slice(&layouts.inward(entry, &values));
                continue;
            }
            Source::Transposed(name) => {
                let values = values(&name, &file.tensor(&name)?)?;
                taken.push((entry.name.clone(), format!("{name} (transposed)")));
                (layout::transposed(&values, entry.shape[0]), None)
            }
            Source::Zeros => (vec![0.0; place.len()], Some("zeros")),
            Source::Ones => (vec![1.0; place.len()], Some("ones")),
            Source::Copy(other) => {
                let from = &model.table.entries[other].range;
                (params[from.clone()].to_vec(), Some("the codebook"))
            }
        };
        assumed.extend(origin.map(|origin| (entry.name.clone(), origin)));
        params[place].copy_from_slice(&values);
    }
    let mut config = config.clone();
    if let Some(pixels) = pixels {
        (config, params) = pixels.fold(&config, &model, params);
        model = VqVae::build(&config)?;
    }
    assert_eq!(
        params.len(),
        model.table.len(),
        "one layer was put in front"
    );
    Ok(Imported {
        checkpoint: Checkpoint::of_params(&config, params, 1.0),
        taken,
        assumed,
        unused,
    })
}

/// A tensor's values as f32, all finite.
fn values(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, InterchangeError> {
    let data = view.data();
    let pair = |b: &[u8]| [b[0], b[1]];
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => {
            let word = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            data.chunks_exact(4).map(word).collect()
        }
        Dtype::F16 => {
            let halves = data.chunks_exact(2);
            halves
                .map(|b| f16::from_le_bytes(pair(b)).to_f32())
                .collect()
        }
        Dtype::BF16 => {
            let halves = data.chunks_exact(2);
            halves
                .map(|b| bf16::from_le_bytes(pair(b)).to_f32())
                .collect()
        }
        dtype => {
            let name = name.to_string();
            return Err(InterchangeError::Type { name, dtype });
        }
    };
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(values),
        Some(index) => Err(InterchangeError::NotFinite {
            name: name.to_string(),
            index,
            value: values[index],
        }),
    }
}

#[cfg(test)]
mod tests;
