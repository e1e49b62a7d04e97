//! Fusion of operators: values that need no ring of their own.
//!
//! - A convolution whose only reader is an addition writes into the addition's ring; the addition is then done in place.
//! - A ReLU that only convolutions read is fused into them, if their kernels apply it while they copy their input.

use super::node::{Node, node_of};
use crate::ops::{Add, Op, Relu};
use crate::tensor::Rescale;

/// Fuses what can be fused; the value of an operator that is fused into another is left without one. `im2col` is
/// [`Kernels::im2col`](crate::kernels::Kernels::im2col).
pub(super) fn fuse(nodes: &mut [Node], im2col: bool) {
    for value in 0..nodes.len() {
        match node_of(nodes, value).op {
            Some(Op::Relu(relu)) if im2col => fuse_relu(nodes, value, relu),
            Some(Op::Add(add)) => fuse_add(nodes, value, add),
            _ => {}
        }
    }
}

/// Lets the readers of a ReLU read its input, if all of them are convolutions.
fn fuse_relu(nodes: &mut [Node], value: usize, relu: Relu) {
    // Whoever runs the graph reads the last value.
    if value + 1 == nodes.len() {
        return;
    }
    let convolves = |node: &Node| matches!(node.op, Some(Op::Conv2d(_) | Op::UpConv(_)));
    if !readers(nodes, value).all(convolves) {
        return;
    }
    for node in nodes.iter_mut().skip(value + 1) {
        let input = match &mut node.op {
            Some(Op::Conv2d(op)) => &mut op.input,
            Some(Op::UpConv(op)) => &mut op.input,
            _ => continue,
        };
        if usize::from(*input) == value {
            *input = relu.input;
            node.fused_relu = true;
        }
    }
    forget(nodes, value);
}

/// Makes an addition's later summand in its ring, if it is a convolution that nobody else reads.
fn fuse_add(nodes: &mut [Node], value: usize, add: Add) {
    let [earlier, later] = if add.input < add.skip {
        [add.input, add.skip]
    } else {
        [add.skip, add.input]
    };
    let conv = *node_of(nodes, later.into());
    let is_free = conv.sum.is_none() && readers(nodes, later.into()).count() == 1;
    if earlier == later || !is_free || !matches!(conv.op, Some(Op::Conv2d(_))) {
        return;
    }
    let rescale = match later == add.input {
        true => add.rescale,
        false => Rescale {
            input: add.rescale.skip,
            skip: add.rescale.input,
            ..add.rescale
        },
    };
    if let Some(node) = nodes.get_mut(value) {
        (node.op, node.fused_relu) = (conv.op, conv.fused_relu);
        node.sum = Some(Add {
            input: later,
            skip: earlier,
            rescale,
            ..add
        });
    }
    forget(nodes, later.into());
}

/// Leaves a value without an operator.
fn forget(nodes: &mut [Node], value: usize) {
    if let Some(node) = nodes.get_mut(value) {
        node.op = None;
    }
}

/// What is made of a value.
fn readers(nodes: &[Node], value: usize) -> impl Iterator<Item = &Node> {
    let reads = move |node: &&Node| node.inputs().any(|input| input == value);
    nodes.iter().skip(value + 1).filter(reads)
}
