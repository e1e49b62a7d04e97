//! From a configuration's lists of layers to chains.

use crate::config::{ConfigError, LayerConfig};
use crate::nn::{Builder, Chain, ParamTable, Shape};

/// A chain of its own, outside of any model, on maps of so many channels; parameters are named by their
/// place in the list.
///
/// # Errors
/// Layers whose shapes do not chain.
pub fn chain(layers: &[LayerConfig], channels: usize) -> Result<(Chain, ParamTable), ConfigError> {
    let mut table = ParamTable::default();
    let from = Shape::full(channels);
    let (layers, _) = Builder::list(&mut table, layers, from, "layers", "layers")?;
    Ok((Chain { layers }, table))
}
