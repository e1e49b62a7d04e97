//! What a configuration calls `conv`: a plain, a masked or a spectrally normalised convolution.

use super::builder::{BuildError, Builder, Configured};
use super::conv2d::{Conv2d, ConvSpec};
use super::masked_conv2d::{MaskedConv2d, RasterMask, Sight};
use super::padding::Pad;
use super::spectral_norm::SpectralNorm;
use serde::{Deserialize, Serialize};

/// A convolution in a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvConfig {
    /// Channels out.
    pub out: usize,
    /// Side of the kernel.
    #[serde(default = "three")]
    pub kernel: usize,
    /// The map shrinks by this factor.
    #[serde(default = "one")]
    pub stride: usize,
    /// Rows and columns of zeros: `pad = 1` on every side as PyTorch's `padding`, `pad = [0, 1]` before
    /// (above, left) and after (below, right). Both sides together are `kernel - stride` to `kernel - 1`,
    /// so that the map shrinks by exactly `stride`. Without it they are `kernel - stride`, the odd one
    /// after.
    pub pad: Option<Pad>,
    /// ReLU on the output.
    #[serde(default)]
    pub relu: bool,
    /// Bias.
    #[serde(default = "yes")]
    pub bias: bool,
    /// `mask = "a"`: outputs see only what comes before them in raster order.
    pub mask: Option<MaskConfig>,
    /// With a mask: so many groups of channels follow each other at one position.
    #[serde(default = "one")]
    pub groups: usize,
    /// Weights divided by their largest singular value.
    #[serde(default)]
    pub spectral: bool,
}

/// What an output of a masked convolution sees, in raster order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskConfig {
    /// PixelCNN's A: positions before its own; of its own, groups of channels before its own.
    A,
    /// PixelCNN's B: what A sees, and its own group.
    B,
    /// Rows above its own.
    Rows,
}

fn one() -> usize {
    1
}

fn three() -> usize {
    3
}

fn yes() -> bool {
    true
}

impl ConvConfig {
    /// Stride 1, a bias, and nothing else.
    pub fn plain(out: usize, kernel: usize) -> ConvConfig {
        ConvConfig {
            out,
            kernel,
            stride: 1,
            pad: None,
            relu: false,
            bias: true,
            mask: None,
            groups: 1,
            spectral: false,
        }
    }

    /// The mask, if it fits the convolution.
    fn mask<L>(
        &self,
        mask: MaskConfig,
        spec: &ConvSpec,
        builder: &Builder<'_, L>,
    ) -> Result<RasterMask, BuildError> {
        if spec.stride != 1 || self.spectral {
            let reason = "a masked conv has stride 1 and no spectral normalisation";
            return Err(builder.error(reason));
        }
        let divide = |channels: usize| self.groups > 0 && channels.is_multiple_of(self.groups);
        if !divide(spec.in_channels) || !divide(spec.out_channels) {
            let reason = format!(
                "{} channels in and {} out must divide by groups = {}",
                spec.in_channels, spec.out_channels, self.groups
            );
            return Err(builder.error(&reason));
        }
        let sight = match mask {
            MaskConfig::A => Sight::Before,
            MaskConfig::B => Sight::UpToItself,
            MaskConfig::Rows => Sight::RowsAbove,
        };
        Ok(RasterMask {
            sight,
            groups: self.groups,
        })
    }
}

impl<L: From<Conv2d> + From<MaskedConv2d> + From<SpectralNorm<Conv2d>>> Configured<L>
    for ConvConfig
{
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError> {
        builder.convolution(self.out, self.kernel, self.stride)?;
        let spec = ConvSpec {
            in_channels: builder.shape.channels,
            out_channels: self.out,
            kernel: self.kernel,
            stride: self.stride,
            pad: builder.padding(self.kernel, self.stride, self.pad)?,
            relu: self.relu,
            bias: self.bias,
        };
        builder.shape.channels = self.out;
        builder.shrink(self.stride);
        if let Some(mask) = self.mask {
            let open = self.mask(mask, &spec, builder)?.open(&spec);
            let (name, table) = (&builder.name, &mut *builder.table);
            let layer = MaskedConv2d::new(spec, open, name, builder.init, table);
            builder.push(layer);
            return Ok(());
        }
        if self.groups != 1 {
            return Err(builder.error("groups belong to a mask: add mask = \"a\" or \"b\""));
        }
        // Of weights that start at zero there is no direction to normalise: those draw theirs.
        let init = builder.init.filter(|_| !self.spectral);
        let layer = Conv2d::new(spec, &builder.name, init, builder.table);
        if self.spectral {
            let layer = SpectralNorm::new(layer, &builder.name, builder.table);
            builder.push(layer);
        } else {
            builder.push(layer);
        }
        Ok(())
    }
}
