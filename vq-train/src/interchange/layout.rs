//! In which order PyTorch keeps a parameter's axes.

use crate::model::VqVae;
use crate::nn::{Layer, Normed, ParamInfo};
use ndarray::ArrayView;
use std::collections::BTreeMap;

/// Our axes `[kernel, kernel, in, out]` in the order of PyTorch's `[out, in, kernel, kernel]`.
const CONV: &[usize] = &[3, 2, 0, 1];
/// Our axes `[in, kernel, kernel, out]` in the order of PyTorch's `[in, out, kernel, kernel]`.
const TRANSPOSED: &[usize] = &[0, 3, 1, 2];
/// Our axes `[in, out]` in the order of PyTorch's `[out, in]`.
const LINEAR: &[usize] = &[1, 0];

/// The parameters whose axes stand in another order, by their place in the flat vector.
pub(super) struct Layouts {
    orders: BTreeMap<usize, &'static [usize]>,
}

impl Layouts {
    pub(super) fn of(model: &VqVae) -> Layouts {
        let mut orders = BTreeMap::new();
        for chain in [&model.encoder, &model.decoder] {
            enter(&chain.layers, &mut orders);
        }
        // Quantisers multiply by their projections from the right, as linear layers.
        let entries = model.table.entries.iter();
        let projections = entries
            .filter(|e| e.name.starts_with("quantizer"))
            .filter(|e| e.name.ends_with(".weight"));
        orders.extend(projections.map(|e| (e.range.start, LINEAR)));
        Layouts { orders }
    }

    fn order(&self, entry: &ParamInfo) -> Vec<usize> {
        let order = self.orders.get(&entry.range.start);
        order.map_or((0..entry.shape.len()).collect(), |o| o.to_vec())
    }

    /// The shape in PyTorch's order.
    pub(super) fn shape(&self, entry: &ParamInfo) -> Vec<usize> {
        self.order(entry)
            .iter()
            .map(|&axis| entry.shape[axis])
            .collect()
    }

    /// Our values in PyTorch's order.
    pub(super) fn outward(&self, entry: &ParamInfo, values: &[f32]) -> Vec<f32> {
        permuted(values, &entry.shape, &self.order(entry))
    }

    /// PyTorch's values in our order.
    pub(super) fn inward(&self, entry: &ParamInfo, values: &[f32]) -> Vec<f32> {
        let order = self.order(entry);
        let mut back = vec![0; order.len()];
        order
            .iter()
            .enumerate()
            .for_each(|(i, &axis)| back[axis] = i);
        permuted(values, &self.shape(entry), &back)
    }
}

fn enter(layers: &[Layer], orders: &mut BTreeMap<usize, &'static [usize]>) {
    for layer in layers {
        let (weight, order) = match layer {
            Layer::Conv2d(l) => (&l.weight, CONV),
            Layer::MaskedConv2d(l) => (&l.conv.weight, CONV),
            Layer::ConvTranspose2d(l) => (&l.weight, TRANSPOSED),
            Layer::Linear(l) => (&l.weight, LINEAR),
            Layer::SpectralNorm(l) => match &l.inner {
                Normed::Conv2d(l) => (&l.weight, CONV),
                Normed::Linear(l) => (&l.weight, LINEAR),
            },
            Layer::Residual(l) => {
                enter(&l.inner.layers, orders);
                let shortcut = l.shortcut.iter();
                orders.extend(shortcut.map(|conv| (conv.weight.start, CONV)));
                continue;
            }
            Layer::Attention(l) => {
                let convs = l.projections.iter().chain([&l.out]);
                orders.extend(convs.map(|conv| (conv.weight.start, CONV)));
                continue;
            }
            Layer::MaxUnpool(l) => {
                enter(&l.inner.layers, orders);
                continue;
            }
            Layer::Upsample(_)
            | Layer::Relu(_)
            | Layer::PixelShuffle(_)
            | Layer::PixelUnshuffle(_)
            | Layer::AveragePool(_)
            | Layer::AverageUnpool(_)
            | Layer::MaxPool(_)
            | Layer::Embedding(_)
            | Layer::GroupNorm(_)
            | Layer::BatchNorm(_)
            | Layer::Activation(_)
            | Layer::Dropout(_) => continue,
        };
        orders.insert(weight.start, order);
    }
}

/// Values of `shape` with axis `order[i]` in place i.
fn permuted(values: &[f32], shape: &[usize], order: &[usize]) -> Vec<f32> {
    let view = ArrayView::from_shape(shape, values).expect("as many values as the shape has");
    view.permuted_axes(order).iter().copied().collect()
}

/// `[columns, rows]` as `[rows, columns]`.
pub(super) fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    permuted(values, &[values.len() / rows, rows], &[1, 0])
}
