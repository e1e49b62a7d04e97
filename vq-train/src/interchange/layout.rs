//! In which order PyTorch keeps a parameter's axes.

use crate::model::VqVae;
use crate::nn::{Axes, ParamInfo};
use ndarray::ArrayView;
use std::collections::BTreeMap;

/// PyTorch's order of axes: axis `order[i]` of ours stands in place i.
fn order(axes: Axes) -> &'static [usize] {
    match axes {
        // Of `[kernel, kernel, in, out]`, as `[out, in, kernel, kernel]`.
        Axes::Conv => &[3, 2, 0, 1],
        // Of `[in, kernel, kernel, out]`, as `[in, out, kernel, kernel]`.
        Axes::ConvTranspose => &[0, 3, 1, 2],
        // Of `[in, out]`, as `[out, in]`.
        Axes::Linear => &[1, 0],
    }
}

/// The parameters whose axes stand in another order, by their place in the flat vector.
pub(super) struct Layouts {
    orders: BTreeMap<usize, &'static [usize]>,
}

impl Layouts {
    pub(super) fn of(model: &VqVae) -> Layouts {
        let mut orders = BTreeMap::new();
        for chain in [&model.encoder, &model.decoder] {
            let matrices = chain.matrices().into_iter();
            orders.extend(matrices.map(|m| (m.place.start, order(m.axes))));
        }
        // Quantisers multiply by their projections from the right, as linear layers.
        let entries = model.table.entries.iter();
        let projections = entries
            .filter(|e| e.name.starts_with("quantizer"))
            .filter(|e| e.name.ends_with(".weight"));
        orders.extend(projections.map(|e| (e.range.start, order(Axes::Linear))));
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

/// Values of `shape` with axis `order[i]` in place i.
fn permuted(values: &[f32], shape: &[usize], order: &[usize]) -> Vec<f32> {
    let view = ArrayView::from_shape(shape, values).expect("as many values as the shape has");
    view.permuted_axes(order).iter().copied().collect()
}

/// `[columns, rows]` as `[rows, columns]`.
pub(super) fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    permuted(values, &[values.len() / rows, rows], &[1, 0])
}
