//! What all Cortex-M do with a channel, and with a row under the kernel.

use crate::element::Output;
use crate::kernels::row::ConvRow;
use crate::slices::Parts;
use crate::tensor::Params;

/// What a channel's sums start and end with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channel {
    pub(super) bias: i32,
    pub(super) multiplier: i32,
    pub(super) shift: u8,
}

impl Channel {
    pub(super) fn new(params: &Params<'_>, channel: usize) -> Self {
        let (multiplier, shift) = params.scale(channel);
        Self {
            bias: params.bias(channel),
            multiplier,
            shift,
        }
    }

    pub(super) fn finish(&self, sum: i32, output: Output) -> i8 {
        output.requantise(i64::from(sum) * i64::from(self.multiplier), self.shift)
    }
}

impl ConvRow<'_, i8> {
    /// The least that an element counts as.
    pub(super) fn low(&self) -> i8 {
        if self.cut { self.zero } else { i8::MIN }
    }

    /// What the windows see of one of the rows under the kernel: whole columns.
    pub(super) fn seen<'a>(&self, input: &'a [i8]) -> &'a [i8] {
        let shape = &self.filter.shape;
        let columns = shape.columns().saturating_sub(self.left);
        input.part(0, input.len().min(columns * usize::from(shape.in_channels)))
    }
}
