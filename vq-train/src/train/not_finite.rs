//! The search for the first NaN or infinity of a step that failed.

use crate::model::VqVae;
use crate::nn::{Layer, Tape, Weights};
use ndarray::Array4;

/// Names the first parameter or output of a layer whose values are not finite, for a batch `x` `[n, h, w, c]`.
pub(super) fn first_place(model: &VqVae, params: &[f32], x: &Array4<f32>) -> String {
    let bad = |values: &[f32]| values.iter().any(|v| !v.is_finite());
    for entry in &model.table.entries {
        if bad(&params[entry.range.clone()]) {
            return format!("parameter {}", entry.name);
        }
    }
    let sides = [("encoder", &model.encoder), ("decoder", &model.decoder)];
    let mut panels = Vec::new();
    let chains = sides.map(|(_, chain)| chain);
    let weights = Weights::new(&model.table, &chains, params, &mut panels);
    let mut map = x.clone();
    for (side, chain) in sides {
        for (i, layer) in chain.layers.iter().enumerate() {
            map = layer.forward(&weights, map, &mut Tape::recording());
            if map.iter().any(|v| !v.is_finite()) {
                return format!("the output of {side} layer {i} ({})", layer.kind());
            }
        }
    }
    "the loss or a gradient".into()
}
