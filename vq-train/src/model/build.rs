//! From a configuration's lists of layers to chains: shapes that follow from each other, parameters named by
//! their place.

use crate::config::{
    ConfigError, ConvConfig, GroupNormConfig, LayerConfig, LinearConfig, MaskConfig,
    MaxUnpoolConfig, Pad, PoolConfig, ResidualConfig, TransposedConfig, field_error,
};
use crate::nn::{
    Activation, Attention, AveragePool, AverageUnpool, BatchNorm, BatchNormSpec, Chain, Conv2d,
    ConvSpec, ConvTranspose2d, ConvTransposeSpec, Dropout, GroupNorm, GroupNormSpec, Init, Layer,
    Linear, LinearSpec, MaskedConv2d, MaxPool, MaxUnpool, Normed, ParamTable, PixelShuffle,
    PixelUnshuffle, PoolSpec, RasterMask, Relu, Residual, Sight, SpectralNorm, Upsample,
};

/// At most this many parameters (512 MiB as f32), so that a slip of the pen in a configuration is an
/// error and no exhausted memory.
pub(crate) const MAX_PARAMS: usize = 1 << 27;

/// A map's channels, and its size as a fraction of the picture's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) channels: usize,
    pub(super) num: usize,
    pub(super) den: usize,
}

impl Shape {
    fn scaled(self, channels: usize, up: usize, down: usize) -> Shape {
        let (num, den) = (self.num * up, self.den * down);
        let common = gcd(num, den);
        Shape {
            channels,
            num: num / common,
            den: den / common,
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A chain of its own, outside of any model, on maps of so many channels; parameters are named by their
/// place in the list.
///
/// # Errors
/// Layers whose shapes do not chain.
pub fn chain(layers: &[LayerConfig], channels: usize) -> Result<(Chain, ParamTable), ConfigError> {
    let mut table = ParamTable::default();
    let mut builder = Builder {
        table: &mut table,
        path: "layers".into(),
    };
    let from = Shape {
        channels,
        num: 1,
        den: 1,
    };
    let (chain, _) = builder.chain(layers, from, "layers")?;
    Ok((chain, table))
}

/// Turns lists of layers into chains, naming parameters and errors by their place in the list.
pub(super) struct Builder<'t> {
    pub(super) table: &'t mut ParamTable,
    pub(super) path: String,
}

impl Builder<'_> {
    pub(super) fn chain(
        &mut self,
        list: &[LayerConfig],
        from: Shape,
        prefix: &str,
    ) -> Result<(Chain, Shape), ConfigError> {
        if list.is_empty() {
            return Err(field_error(self.path.clone(), "needs at least one layer"));
        }
        let (mut layers, mut shape) = (Vec::new(), from);
        for (i, layer) in list.iter().enumerate() {
            let outer = std::mem::take(&mut self.path);
            self.path = format!("{outer}[{i}]");
            self.layer(
                layer,
                &mut shape,
                &format!("{prefix}.{i}"),
                None,
                &mut layers,
            )?;
            self.path = outer;
        }
        Ok((Chain { layers }, shape))
    }

    fn layer(
        &mut self,
        layer: &LayerConfig,
        shape: &mut Shape,
        name: &str,
        init: Option<Init>,
        layers: &mut Vec<Layer>,
    ) -> Result<(), ConfigError> {
        let from = *shape;
        match layer {
            LayerConfig::Conv(c) => {
                layers.push(self.conv(c, from.channels, name, init)?);
                *shape = from.scaled(c.out, 1, c.stride);
            }
            LayerConfig::Transposed(c) => {
                self.convolution(c.out, c.kernel, c.stride, from.channels)?;
                self.cut(c)?;
                let spec = ConvTransposeSpec {
                    cin: from.channels,
                    cout: c.out,
                    kernel: c.kernel,
                    stride: c.stride,
                    pad: c.pad,
                    relu: c.relu,
                };
                let built = ConvTranspose2d::new(spec, name, self.table);
                layers.push(Layer::ConvTranspose2d(built));
                *shape = from.scaled(c.out, c.stride, 1);
            }
            LayerConfig::Upsample(factor) => {
                self.positive(&[("upsample", *factor)])?;
                layers.push(Layer::Upsample(Upsample { factor: *factor }));
                *shape = from.scaled(from.channels, *factor, 1);
            }
            LayerConfig::Relu => layers.push(Layer::Relu(Relu)),
            LayerConfig::Residual(r) => {
                self.positive(&[("repeat", r.repeat)])?;
                for i in 0..r.repeat {
                    let name = if r.repeat > 1 {
                        format!("{name}.{i}")
                    } else {
                        name.to_string()
                    };
                    layers.push(self.residual(r, shape, &name)?);
                }
            }
            LayerConfig::ResBlock(r) => {
                layers.push(self.residual(&r.spelled_out(), shape, name)?);
            }
            LayerConfig::GroupNorm(g) => {
                let spec = self.group_norm(g, from.channels)?;
                layers.push(Layer::GroupNorm(GroupNorm::new(spec, name, self.table)));
            }
            LayerConfig::BatchNorm(b) => {
                self.share("momentum", b.momentum)?;
                self.eps(b.eps)?;
                let spec = BatchNormSpec {
                    channels: from.channels,
                    momentum: b.momentum,
                    eps: b.eps,
                };
                layers.push(Layer::BatchNorm(BatchNorm::new(spec, name, self.table)));
            }
            LayerConfig::Silu => layers.push(Layer::Activation(Activation::Silu)),
            LayerConfig::Tanh => layers.push(Layer::Activation(Activation::Tanh)),
            LayerConfig::Sigmoid => layers.push(Layer::Activation(Activation::Sigmoid)),
            &LayerConfig::Leaky(slope) => {
                self.share("leaky", slope)?;
                layers.push(Layer::Activation(Activation::LeakyRelu { slope }));
            }
            &LayerConfig::Dropout(rate) => {
                self.share("dropout", rate)?;
                layers.push(Layer::Dropout(Dropout { rate }));
            }
            LayerConfig::Attention(a) => {
                let norm = self.group_norm(&GroupNormConfig::default(), from.channels)?;
                self.positive(&[("heads", a.heads)])?;
                if !from.channels.is_multiple_of(a.heads) {
                    let reason = format!("{} channels do not divide by heads", from.channels);
                    return Err(self.error(&reason));
                }
                let block = Attention::new(norm, a.heads, name, self.table);
                layers.push(Layer::Attention(Box::new(block)));
            }
            LayerConfig::Shuffle(factor) => {
                self.positive(&[("shuffle", *factor)])?;
                let squared = factor * factor;
                if !from.channels.is_multiple_of(squared) {
                    let reason = format!("{} channels do not divide by {squared}", from.channels);
                    return Err(self.error(&reason));
                }
                layers.push(Layer::PixelShuffle(PixelShuffle { factor: *factor }));
                *shape = from.scaled(from.channels / squared, *factor, 1);
            }
            LayerConfig::Unshuffle(factor) => {
                self.positive(&[("unshuffle", *factor)])?;
                layers.push(Layer::PixelUnshuffle(PixelUnshuffle { factor: *factor }));
                let channels = from.channels * factor * factor;
                self.limit("channels x unshuffle x unshuffle", channels)?;
                *shape = from.scaled(channels, 1, *factor);
            }
            LayerConfig::AveragePool(c) => {
                layers.push(Layer::AveragePool(AveragePool(self.pool(c)?)));
                *shape = from.scaled(from.channels, 1, c.stride);
            }
            LayerConfig::AverageUnpool(c) => {
                layers.push(Layer::AverageUnpool(AverageUnpool(self.pool(c)?)));
                *shape = from.scaled(from.channels, c.stride, 1);
            }
            LayerConfig::MaxPool(c) => {
                layers.push(Layer::MaxPool(MaxPool(self.pool(c)?)));
                *shape = from.scaled(from.channels, 1, c.stride);
            }
            LayerConfig::MaxUnpool(c) => {
                self.positive(&[("factor", c.factor)])?;
                let small = from.scaled(from.channels, 1, c.factor);
                self.limit("the picture's size over the pooled map's", small.den)?;
                layers.push(self.max_unpool(c, small, name)?);
            }
            LayerConfig::Linear(c) => {
                layers.push(self.linear(c, from.channels, name, init)?);
                *shape = from.scaled(c.out, 1, 1);
            }
        }
        self.limit("the map's size over the picture's", shape.num)?;
        self.limit("the picture's size over the map's", shape.den)?;
        if self.table.len() > MAX_PARAMS {
            return Err(self.error(&format!("more than {MAX_PARAMS} parameters up to here")));
        }
        Ok(())
    }

    /// The branch's last convolution starts at zero, so that each block starts as its way around.
    fn residual(
        &mut self,
        block: &ResidualConfig,
        shape: &mut Shape,
        name: &str,
    ) -> Result<Layer, ConfigError> {
        let Some((last, first)) = block.layers.split_last() else {
            return Err(self.error("residual.layers needs at least one layer"));
        };
        let (mut layers, from) = (Vec::new(), *shape);
        for (i, layer) in first.iter().enumerate() {
            self.layer(layer, shape, &format!("{name}.{i}"), None, &mut layers)?;
        }
        let last_name = format!("{name}.{}", first.len());
        self.layer(last, shape, &last_name, Some(Init::Zero), &mut layers)?;
        if (shape.num, shape.den) != (from.num, from.den) {
            return Err(self.error("a residual branch must keep the map's size"));
        }
        if shape.channels != from.channels && !block.shortcut {
            let reason = "a residual branch that changes the channels needs shortcut = true";
            return Err(self.error(reason));
        }
        let shortcut = (shape.channels != from.channels).then(|| {
            let spec = ConvSpec::pointwise(from.channels, shape.channels);
            Conv2d::new(spec, &format!("{name}.shortcut"), None, self.table)
        });
        Ok(Layer::Residual(Residual {
            inner: Chain { layers },
            shortcut,
            relu: block.relu,
        }))
    }

    fn conv(
        &mut self,
        c: &ConvConfig,
        cin: usize,
        name: &str,
        init: Option<Init>,
    ) -> Result<Layer, ConfigError> {
        self.convolution(c.out, c.kernel, c.stride, cin)?;
        let (before, after) = self.padding(c.kernel, c.stride, c.pad)?;
        let spec = ConvSpec {
            cin,
            cout: c.out,
            kernel: c.kernel,
            stride: c.stride,
            before,
            after,
            relu: c.relu,
            bias: c.bias,
        };
        if let Some(mask) = c.mask {
            let open = self.mask(mask, c, &spec)?.open(&spec);
            let built = MaskedConv2d::new(spec, open, name, init, self.table);
            return Ok(Layer::MaskedConv2d(built));
        }
        if c.groups != 1 {
            return Err(self.error("groups belong to a mask: add mask = \"a\" or \"b\""));
        }
        // Of weights that start at zero there is no direction to normalise: those draw theirs.
        let init = init.filter(|_| !c.spectral);
        let built = Conv2d::new(spec, name, init, self.table);
        Ok(match c.spectral {
            true => SpectralNorm::new(Normed::Conv2d(built), name, self.table).into(),
            false => Layer::Conv2d(built),
        })
    }

    fn mask(
        &self,
        mask: MaskConfig,
        c: &ConvConfig,
        spec: &ConvSpec,
    ) -> Result<RasterMask, ConfigError> {
        if spec.stride != 1 || c.spectral {
            return Err(self.error("a masked conv has stride 1 and no spectral normalisation"));
        }
        let divide = |channels: usize| c.groups > 0 && channels.is_multiple_of(c.groups);
        if !divide(spec.cin) || !divide(spec.cout) {
            let reason = format!(
                "{} channels in and {} out must divide by groups = {}",
                spec.cin, spec.cout, c.groups
            );
            return Err(self.error(&reason));
        }
        let sight = match mask {
            MaskConfig::A => Sight::Before,
            MaskConfig::B => Sight::UpToItself,
            MaskConfig::Rows => Sight::RowsAbove,
        };
        let groups = c.groups;
        Ok(RasterMask { sight, groups })
    }

    fn linear(
        &mut self,
        c: &LinearConfig,
        cin: usize,
        name: &str,
        init: Option<Init>,
    ) -> Result<Layer, ConfigError> {
        self.positive(&[("out", c.out)])?;
        let spec = LinearSpec {
            cin,
            cout: c.out,
            relu: c.relu,
            bias: c.bias,
        };
        let init = init.filter(|_| !c.spectral);
        let built = Linear::new(spec, name, init, self.table);
        Ok(match c.spectral {
            true => SpectralNorm::new(Normed::Linear(built), name, self.table).into(),
            false => Layer::Linear(built),
        })
    }

    fn max_unpool(
        &mut self,
        config: &MaxUnpoolConfig,
        small: Shape,
        name: &str,
    ) -> Result<Layer, ConfigError> {
        let (mut layers, mut shape) = (Vec::new(), small);
        for (i, layer) in config.layers.iter().enumerate() {
            self.layer(layer, &mut shape, &format!("{name}.{i}"), None, &mut layers)?;
        }
        if shape != small {
            return Err(self.error("the layers of a maxunpool must keep channels and size"));
        }
        Ok(Layer::MaxUnpool(MaxUnpool {
            factor: config.factor,
            inner: Chain { layers },
        }))
    }

    /// The windows of a pooling that divides a map by exactly its stride.
    fn pool(&self, config: &PoolConfig) -> Result<PoolSpec, ConfigError> {
        let PoolConfig {
            kernel,
            stride,
            pad,
        } = *config;
        self.positive(&[("kernel", kernel), ("stride", stride)])?;
        if kernel < stride {
            return Err(self.error("kernel must be at least stride"));
        }
        let (before, after) = self.padding(kernel, stride, pad)?;
        Ok(PoolSpec {
            kernel,
            stride,
            before,
            after,
        })
    }

    /// Padding before and after: as given, if it makes a map shrink by exactly the stride, otherwise
    /// the default.
    fn padding(
        &self,
        kernel: usize,
        stride: usize,
        pad: Option<Pad>,
    ) -> Result<(usize, usize), ConfigError> {
        let Some([before, after]) = pad.map(Pad::sides) else {
            return Ok(ConvSpec::same_padding(kernel, stride));
        };
        let exact = kernel - stride..kernel;
        if !before
            .checked_add(after)
            .is_some_and(|sum| exact.contains(&sum))
        {
            let reason = format!(
                "pad = [{before}, {after}] must add up to {} to {}",
                exact.start,
                kernel - 1
            );
            return Err(self.error(&reason));
        }
        Ok((before, after))
    }

    fn group_norm(
        &self,
        config: &GroupNormConfig,
        channels: usize,
    ) -> Result<GroupNormSpec, ConfigError> {
        let usual = GroupNormSpec::usual_groups(channels);
        let groups = config.groups.unwrap_or(usual);
        self.positive(&[("groups", groups)])?;
        self.eps(config.eps)?;
        if !channels.is_multiple_of(groups) {
            let reason = format!("{channels} channels do not divide into {groups} groups");
            return Err(self.error(&reason));
        }
        Ok(GroupNormSpec {
            channels,
            groups,
            eps: config.eps,
            silu: config.silu,
        })
    }

    fn share(&self, name: &str, value: f64) -> Result<(), ConfigError> {
        if (0.0..1.0).contains(&value) {
            return Ok(());
        }
        Err(self.error(&format!("{name} must be at least 0 and below 1")))
    }

    fn eps(&self, value: f64) -> Result<(), ConfigError> {
        if value > 0.0 && value.is_finite() {
            return Ok(());
        }
        Err(self.error("eps must be positive"))
    }

    /// Checks the sizes that a convolution and its transpose share.
    fn convolution(
        &self,
        out: usize,
        kernel: usize,
        stride: usize,
        cin: usize,
    ) -> Result<(), ConfigError> {
        self.positive(&[("out", out), ("kernel", kernel), ("stride", stride)])?;
        if kernel < stride {
            return Err(self.error("kernel must be at least stride"));
        }
        let taps = kernel * kernel * cin;
        self.limit("kernel x kernel x channels in", taps)
    }

    /// Checks what a transposed convolution cuts away above and to the left.
    fn cut(&self, c: &TransposedConfig) -> Result<(), ConfigError> {
        if c.pad.is_some_and(|pad| pad > c.kernel - c.stride) {
            return Err(self.error("pad must be at most kernel - stride"));
        }
        Ok(())
    }

    fn positive(&self, fields: &[(&str, usize)]) -> Result<(), ConfigError> {
        match fields.iter().find(|(_, v)| !(1..=65535).contains(v)) {
            Some((name, _)) => Err(self.error(&format!("{name} must be 1 to 65535"))),
            None => Ok(()),
        }
    }

    /// The format's limit on sums and channels, which also keeps products here from overflowing.
    fn limit(&self, what: &str, value: usize) -> Result<(), ConfigError> {
        if value > 65535 {
            return Err(self.error(&format!("{what} is {value}, at most 65535 is possible")));
        }
        Ok(())
    }

    fn error(&self, reason: &str) -> ConfigError {
        field_error(self.path.clone(), reason)
    }
}
