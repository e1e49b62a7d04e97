//! From a configuration's list of layers to layers: shapes that follow from each other, parameters and errors named
//! by their place in the list.

use super::params::{Init, ParamTable};

/// At most this many parameters (512 MiB as f32), so that a slip of the pen in a configuration is an
/// error and no exhausted memory.
pub(crate) const MAX_PARAMS: usize = 1 << 27;

/// Largest size, factor or number of channels of the model format; products of two such numbers do not overflow.
const MAX_SIZE: usize = 65535;

/// What a configuration says of one layer.
pub trait Configured<L> {
    /// Checks the fields and adds the layers that they describe behind those that are there.
    ///
    /// # Errors
    /// A field out of its range, or one that does not fit the map that comes in.
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError>;
}

/// Why a layer cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct BuildError {
    /// Where the layer stands in the configuration.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A map's channels, and its size as a fraction of the picture's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Numerator of the size over the picture's, in lowest terms.
    pub num: usize,
    /// Denominator of the size over the picture's.
    pub den: usize,
}

impl Shape {
    /// A map of the picture's own size.
    pub fn full(channels: usize) -> Shape {
        Shape {
            channels,
            num: 1,
            den: 1,
        }
    }

    fn scaled(self, up: usize, down: usize) -> Shape {
        let (num, den) = (self.num * up, self.den * down);
        let common = gcd(num, den);
        Shape {
            num: num / common,
            den: den / common,
            ..self
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A list of layers in the making.
#[derive(Debug)]
pub struct Builder<'t, L> {
    /// Where parameters are entered.
    pub(super) table: &'t mut ParamTable,
    /// The map that the next layer gets.
    pub(super) shape: Shape,
    /// What the names of the layer's parameters begin with.
    pub(super) name: String,
    /// How the layer's weights start, where not as usual for the layer.
    pub(super) init: Option<Init>,
    path: String,
    layers: Vec<L>,
}

impl<'t, L> Builder<'t, L> {
    /// Builds a list that stands at `path` in the configuration, for maps of shape `from`, with parameters named
    /// `NAME.INDEX`. Returns the layers and the shape of what they make.
    ///
    /// # Errors
    /// An empty list, or what is wrong with a layer, with its path.
    pub fn list<C: Configured<L>>(
        table: &'t mut ParamTable,
        list: &[C],
        from: Shape,
        path: &str,
        name: &str,
    ) -> Result<(Vec<L>, Shape), BuildError> {
        let mut builder = Builder {
            table,
            shape: from,
            name: name.into(),
            init: None,
            path: path.into(),
            layers: Vec::new(),
        };
        if list.is_empty() {
            return Err(builder.error("needs at least one layer"));
        }
        for (i, layer) in list.iter().enumerate() {
            builder.path = format!("{path}[{i}]");
            builder.layer(layer, format!("{name}.{i}"), None)?;
        }
        Ok((builder.layers, builder.shape))
    }

    /// Adds one layer of a list.
    pub(super) fn layer(
        &mut self,
        config: &impl Configured<L>,
        name: String,
        init: Option<Init>,
    ) -> Result<(), BuildError> {
        let outer_name = std::mem::replace(&mut self.name, name);
        let outer_init = std::mem::replace(&mut self.init, init);
        config.build(self)?;
        (self.name, self.init) = (outer_name, outer_init);
        self.limit("the map's size over the picture's", self.shape.num)?;
        self.limit("the picture's size over the map's", self.shape.den)?;
        if self.table.len() > MAX_PARAMS {
            let reason = format!("more than {MAX_PARAMS} parameters up to here");
            return Err(self.error(&reason));
        }
        Ok(())
    }

    /// The layers that `build` adds, as a list of their own.
    pub(super) fn nested(
        &mut self,
        build: impl FnOnce(&mut Self) -> Result<(), BuildError>,
    ) -> Result<Vec<L>, BuildError> {
        let outer = std::mem::take(&mut self.layers);
        build(self)?;
        Ok(std::mem::replace(&mut self.layers, outer))
    }

    /// Adds a layer.
    pub(super) fn push(&mut self, layer: impl Into<L>) {
        self.layers.push(layer.into());
    }

    /// The map grows by a factor.
    pub(super) fn grow(&mut self, factor: usize) {
        self.shape = self.shape.scaled(factor, 1);
    }

    /// The map shrinks by a factor.
    pub(super) fn shrink(&mut self, factor: usize) {
        self.shape = self.shape.scaled(1, factor);
    }

    /// An error in the layer's configuration.
    pub(super) fn error(&self, reason: &str) -> BuildError {
        BuildError {
            path: self.path.clone(),
            reason: reason.into(),
        }
    }

    /// Checks that sizes are 1 to 65535.
    pub(super) fn positive(&self, fields: &[(&str, usize)]) -> Result<(), BuildError> {
        match fields.iter().find(|(_, v)| !(1..=MAX_SIZE).contains(v)) {
            Some((name, _)) => Err(self.error(&format!("{name} must be 1 to {MAX_SIZE}"))),
            None => Ok(()),
        }
    }

    /// Checks what follows from several sizes.
    pub(super) fn limit(&self, what: &str, value: usize) -> Result<(), BuildError> {
        if value > MAX_SIZE {
            let reason = format!("{what} is {value}, at most {MAX_SIZE} is possible");
            return Err(self.error(&reason));
        }
        Ok(())
    }

    /// Checks that the map's channels are a multiple of a number.
    pub(super) fn channels_divide(&self, by: usize, reason: &str) -> Result<(), BuildError> {
        let channels = self.shape.channels;
        if channels.is_multiple_of(by) {
            return Ok(());
        }
        Err(self.error(&format!("{channels} channels do not divide {reason}")))
    }

    /// Checks a share of a whole.
    pub(super) fn share(&self, name: &str, value: f64) -> Result<(), BuildError> {
        if (0.0..1.0).contains(&value) {
            return Ok(());
        }
        Err(self.error(&format!("{name} must be at least 0 and below 1")))
    }

    /// Checks what is added to a variance.
    pub(super) fn eps(&self, value: f64) -> Result<(), BuildError> {
        if value > 0.0 && value.is_finite() {
            return Ok(());
        }
        Err(self.error("eps must be positive"))
    }

    /// Checks the sizes of a window that slides over a map.
    pub(super) fn window(&self, kernel: usize, stride: usize) -> Result<(), BuildError> {
        self.positive(&[("kernel", kernel), ("stride", stride)])?;
        if kernel < stride {
            return Err(self.error("kernel must be at least stride"));
        }
        Ok(())
    }

    /// Checks the sizes that a convolution and its transpose share.
    pub(super) fn convolution(
        &self,
        out: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<(), BuildError> {
        self.positive(&[("out", out)])?;
        self.window(kernel, stride)?;
        let taps = kernel * kernel * self.shape.channels;
        self.limit("kernel x kernel x channels in", taps)
    }
}
