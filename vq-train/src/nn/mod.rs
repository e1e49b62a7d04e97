//! Layers with hand-written backward passes, generic over f32 (training) and f64 (gradient checks).
//!
//! A layer is a description: sizes, and where its parameters lie in one flat vector that the model
//! owns. `forward` takes its input by value and leaves on the [`Tape`] what `backward` will need;
//! `backward` takes it off again, adds the parameters' gradients into a flat vector laid out like
//! the parameters, and returns the gradient of the input. One chunk of a batch runs on one thread;
//! the model runs the chunks in parallel. Maps are NHWC.

mod conv2d;
mod conv_transpose2d;
#[cfg(test)]
mod gradcheck;
mod maps;
mod params;
#[allow(unsafe_code)] // raw reads of the maps, all checked before a product starts
mod product;
mod relu;
mod residual;
mod shuffle;
#[allow(unsafe_code)] // vector registers
mod simd;
mod upsample;

pub use conv_transpose2d::{ConvTranspose2d, ConvTransposeSpec};
pub use conv2d::{Conv2d, ConvSpec};
#[cfg(test)]
pub(crate) use params::normal;
pub use params::{Init, ParamInfo, ParamTable, Weights};
pub use relu::{Mask, Relu};
pub use residual::Residual;
pub use shuffle::{PixelShuffle, PixelUnshuffle};
pub use upsample::Upsample;

use ndarray::{Array4, NdFloat};
use product::Products;

/// The float types that layers run on: f32 to train, f64 to check gradients.
pub trait Scalar: NdFloat + Default + Products {
    /// Rounds a literal to this type.
    fn of(x: f64) -> Self;
    /// Widens to f64, for statistics.
    fn wide(self) -> f64;
}

impl Scalar for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Scalar for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn wide(self) -> f64 {
        self
    }
}

/// What one layer keeps between its forward and its backward pass.
#[derive(Debug, Clone)]
pub enum Cache<T> {
    /// The layer's input, `[n, h, w, c]`.
    Input(Array4<T>),
    /// Which outputs a ReLU let through.
    Mask(Mask),
}

/// A stack of caches: forward pushes in order, backward pops in reverse.
#[derive(Debug)]
pub struct Tape<T> {
    stack: Option<Vec<Cache<T>>>,
}

impl<T> Tape<T> {
    /// A tape that records, for a pass that will be followed by backward.
    pub fn recording() -> Self {
        Tape {
            stack: Some(Vec::new()),
        }
    }

    /// A tape that drops what it is given, for inference.
    pub fn off() -> Self {
        Tape { stack: None }
    }

    /// Keeps a cache for backward; the closure only runs when the tape records.
    fn push(&mut self, cache: impl FnOnce() -> Cache<T>) {
        if let Some(stack) = &mut self.stack {
            stack.push(cache());
        }
    }

    fn pop(&mut self) -> Cache<T> {
        self.stack
            .as_mut()
            .and_then(Vec::pop)
            .expect("backward runs once after each recorded forward")
    }

    fn pop_input(&mut self) -> Array4<T> {
        match self.pop() {
            Cache::Input(x) => x,
            Cache::Mask(_) => unreachable!("a layer pops what it pushed"),
        }
    }

    fn pop_mask(&mut self) -> Mask {
        match self.pop() {
            Cache::Mask(m) => m,
            Cache::Input(_) => unreachable!("a layer pops what it pushed"),
        }
    }
}

/// One layer of a chain. The match arms make the compiler list what a new layer needs.
#[derive(Debug, Clone)]
pub enum Layer {
    /// Convolution of any kernel, stride and padding.
    Conv2d(Conv2d),
    /// Transposed convolution that multiplies the map's size by its stride.
    ConvTranspose2d(ConvTranspose2d),
    /// Nearest-neighbour upsampling.
    Upsample(Upsample),
    /// max(x, 0).
    Relu(Relu),
    /// x + f(x).
    Residual(Residual),
    /// Channels to space.
    PixelShuffle(PixelShuffle),
    /// Space to channels.
    PixelUnshuffle(PixelUnshuffle),
}

impl Layer {
    /// `[n, h, w, c]` to the layer's output map.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        match self {
            Layer::Conv2d(l) => l.forward(p, x, tape),
            Layer::ConvTranspose2d(l) => l.forward(p, x, tape),
            Layer::Upsample(l) => l.forward(&x),
            Layer::Relu(l) => l.forward(x, tape),
            Layer::Residual(l) => l.forward(p, x, tape),
            Layer::PixelShuffle(l) => l.forward(&x),
            Layer::PixelUnshuffle(l) => l.forward(&x),
        }
    }

    /// The output's gradient to the input's; adds the parameters' gradients into `grads`.
    pub fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        match self {
            Layer::Conv2d(l) => l.backward(p, tape, dy, grads),
            Layer::ConvTranspose2d(l) => l.backward(p, tape, dy, grads),
            Layer::Upsample(l) => l.backward(&dy),
            Layer::Relu(l) => l.backward(tape, dy),
            Layer::Residual(l) => l.backward(p, tape, dy, grads),
            Layer::PixelShuffle(l) => l.backward(&dy),
            Layer::PixelUnshuffle(l) => l.backward(&dy),
        }
    }

    /// Packs the layer's weights into their places among all panels.
    fn pack<T: Scalar>(&self, values: &[T], panels: &mut [T]) {
        match self {
            Layer::Conv2d(l) => l.pack(values, panels),
            Layer::ConvTranspose2d(l) => l.pack(values, panels),
            Layer::Residual(l) => l.inner.layers.iter().for_each(|l| l.pack(values, panels)),
            Layer::Upsample(_)
            | Layer::Relu(_)
            | Layer::PixelShuffle(_)
            | Layer::PixelUnshuffle(_) => {}
        }
    }

    /// The layer's kind, as it is named in configurations and messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Conv2d(_) => "conv",
            Layer::ConvTranspose2d(_) => "transposed",
            Layer::Upsample(_) => "upsample",
            Layer::Relu(_) => "relu",
            Layer::Residual(_) => "residual",
            Layer::PixelShuffle(_) => "shuffle",
            Layer::PixelUnshuffle(_) => "unshuffle",
        }
    }
}

/// Layers one after another.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    /// In the order of the forward pass.
    pub layers: Vec<Layer>,
}

impl Chain {
    /// Runs every layer in order.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        self.layers
            .iter()
            .fold(x, |x, layer| layer.forward(p, x, tape))
    }

    /// Runs every layer's backward in reverse order.
    pub fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let layers = self.layers.iter().rev();
        layers.fold(dy, |dy, layer| layer.backward(p, tape, dy, grads))
    }
}
