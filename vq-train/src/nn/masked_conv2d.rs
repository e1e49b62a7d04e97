//! A convolution whose output at one position sees only what comes before it: PixelCNN's masks
//! (van den Oord et al. 2016, "Pixel Recurrent Neural Networks"), along raster order or any other.
//!
//! Weights outside of the mask count as zero in the forward pass and get no gradient.

use super::affine::pack_weight;
use super::conv2d::{Conv2d, ConvSpec};
use super::layer::{Axes, Layer, Learnt, Matrix};
use super::params::{Init, ParamTable, place};
use super::scalar::Scalar;
use super::tape::Tape;
use super::weights::{Pack, Weights};
use ndarray::Array4;
use std::ops::Range;

/// Which positions an output may see, in raster order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Only rows above: the vertical stack of Gated PixelCNN.
    RowsAbove,
    /// All before its own: PixelCNN's mask A, of a first layer.
    Before,
    /// All before its own, and its own: PixelCNN's mask B.
    UpToItself,
}

/// A mask along raster order.
///
/// Where a position's channels follow each other too (red, green, blue, or a residual quantiser's
/// stages), they are that many groups of equal size; an output of group g sees at its own position
/// groups below g, with [`Sight::UpToItself`] also g. Channels of one group do not see each other with
/// [`Sight::Before`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RasterMask {
    /// Which positions.
    pub sight: Sight,
    /// How many groups of channels follow each other, 1 if all come at once.
    pub groups: usize,
}

impl RasterMask {
    /// Which weights `[kernel, kernel, in_channels, out_channels]` may differ from zero. The output's own position
    /// is the tap that lies on it, `pad.top_left` from the first in both directions.
    pub fn open(&self, spec: &ConvSpec) -> Vec<bool> {
        let ConvSpec {
            kernel,
            in_channels,
            out_channels,
            ..
        } = *spec;
        let group = |channel: usize, channels: usize| channel * self.groups / channels;
        let centre = (spec.pad.top_left, spec.pad.top_left);
        let mut open = Vec::with_capacity(kernel * kernel * in_channels * out_channels);
        for row in 0..kernel * kernel * in_channels {
            let (tap, ci) = (row / in_channels, row % in_channels);
            let tap = (tap / kernel, tap % kernel);
            let own = group(ci, in_channels);
            open.extend((0..out_channels).map(|co| match self.sight {
                Sight::RowsAbove => tap.0 < centre.0,
                _ if tap != centre => tap < centre,
                Sight::Before => own < group(co, out_channels),
                Sight::UpToItself => own <= group(co, out_channels),
            }));
        }
        open
    }
}

/// A convolution and which of its weights count.
#[derive(Debug, Clone)]
pub struct MaskedConv2d {
    /// The convolution.
    pub conv: Conv2d,
    /// For each weight, as it lies in memory, whether it counts.
    pub open: Vec<bool>,
    /// Room among the panels for the weights that count.
    masked: Range<usize>,
}

impl MaskedConv2d {
    /// Enters the parameters of the convolution; all weights are there, masked or not.
    ///
    /// `open` says of each weight `[kernel, kernel, in_channels, out_channels]` whether it counts:
    /// [`RasterMask::open`], or any other order's.
    ///
    /// # Panics
    /// `open` has another length than the weights.
    pub fn new(
        spec: ConvSpec,
        open: Vec<bool>,
        name: &str,
        init: Option<Init>,
        table: &mut ParamTable,
    ) -> Self {
        // Only the weights that count add up in an output.
        let fan_in = open.iter().filter(|&&open| open).count() as f64 / spec.out_channels as f64;
        let init = init.unwrap_or(Init::he(fan_in.max(1.0), spec.relu));
        let conv = Conv2d::new(spec, name, Some(init), table);
        assert_eq!(
            open.len(),
            conv.params.weight.len(),
            "one entry for each weight"
        );
        let masked = table.add_panels(open.len());
        MaskedConv2d { conv, open, masked }
    }

    /// The weights as the convolution uses them, `[kernel, kernel, in_channels, out_channels]`.
    pub(crate) fn effective<T: Scalar>(&self, values: &[T]) -> Vec<T> {
        let mut weight = vec![T::zero(); self.open.len()];
        self.mask(values, &mut weight);
        weight
    }

    fn mask<T: Scalar>(&self, values: &[T], out: &mut [T]) {
        let weights = values[self.conv.params.weight.clone()]
            .iter()
            .zip(&self.open);
        for (out, (&weight, &open)) in out.iter_mut().zip(weights) {
            *out = if open { weight } else { T::zero() };
        }
    }
}

impl Layer for MaskedConv2d {
    fn kind(&self) -> &'static str {
        self.conv.kind()
    }

    fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        self.conv.forward(p, x, tape)
    }

    fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let dx = self.conv.backward(p, tape, dy, grads);
        let weights = place(grads, &self.conv.params.weight).iter_mut();
        for (grad, &open) in weights.zip(&self.open) {
            *grad = if open { *grad } else { T::zero() };
        }
        dx
    }

    fn learnt(&self) -> Learnt {
        Learnt::Matrix(Matrix {
            place: self.conv.params.weight.clone(),
            axes: Axes::Conv,
        })
    }

    fn packed<'l, T: Scalar>(&'l self, found: &mut Vec<&'l dyn Pack<T>>) {
        found.push(self);
    }
}

impl<T: Scalar> Pack<T> for MaskedConv2d {
    fn panels(&self) -> Range<usize> {
        self.conv.params.panels().start..self.masked.end
    }

    fn pack(&self, values: &[T], panels: &mut [T]) {
        let (conv, masked) = panels.split_at_mut(panels.len() - self.masked.len());
        self.mask(values, masked);
        pack_weight(&self.conv, masked, conv);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Padding;

    fn open(sight: Sight, groups: usize, channels: usize) -> Vec<bool> {
        let spec = ConvSpec {
            in_channels: channels,
            out_channels: channels,
            kernel: 3,
            stride: 1,
            pad: Padding::even(1),
            relu: false,
            bias: false,
        };
        RasterMask { sight, groups }.open(&spec)
    }

    #[test]
    fn masks_are_those_of_the_papers() {
        let taps = |count: usize| (0..9).map(|tap| tap < count).collect::<Vec<_>>();
        assert_eq!(open(Sight::RowsAbove, 1, 1), taps(3));
        assert_eq!(open(Sight::Before, 1, 1), taps(4));
        assert_eq!(open(Sight::UpToItself, 1, 1), taps(5));
    }

    #[test]
    fn groups_at_the_same_position_follow_each_other() {
        let centre = |sight| open(sight, 3, 3)[4 * 9..5 * 9].to_vec();
        // Rows: channel in; columns: channel out.
        let (f, t) = (false, true);
        assert_eq!(centre(Sight::Before), [f, t, t, f, f, t, f, f, f]);
        assert_eq!(centre(Sight::UpToItself), [t, t, t, f, t, t, f, f, t]);
    }
}
