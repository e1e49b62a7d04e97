//! Another range of pixels as part of a model.
//!
//! Our networks see x = (p - 128) / 128 of a byte p. One that was trained on x' = low + (high - low) p / 255
//! = a x + b would be given that by changing its first convolution's weights and bias, but not at the
//! borders: there x' was padded with zeros, and x would have to be padded with -b / a. So a 1x1
//! convolution in front of the encoder computes a x + b, for `channels^2` multiplications a pixel. Behind the
//! decoder there is no border: (x' - b) / a becomes part of its last convolution, or one more 1x1 convolution
//! where the decoder ends otherwise, with a tanh say.

use crate::config::{Config, ConvConfig, LayerConfig};
use crate::model::VqVae;
use crate::nn::AnyLayer;
use std::ops::Range;
use std::str::FromStr;

/// What bytes became before they entered a network, evenly from `low` for 0 to `high` for 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pixels {
    low: f64,
    high: f64,
}

/// Why a range of pixels cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PixelsError {
    /// Not two numbers in their order.
    #[error("must be LOW..HIGH with LOW < HIGH, such as -1..1, 0..1 or -0.5..0.5")]
    Text,
}

impl FromStr for Pixels {
    type Err = PixelsError;

    fn from_str(text: &str) -> Result<Pixels, PixelsError> {
        let (low, high) = text.split_once("..").ok_or(PixelsError::Text)?;
        let number = |t: &str| t.trim().parse::<f64>().ok().filter(|v| v.abs() <= 65536.0);
        let (low, high) = number(low).zip(number(high)).ok_or(PixelsError::Text)?;
        if high - low < 1e-3 {
            return Err(PixelsError::Text);
        }
        Ok(Pixels { low, high })
    }
}

impl Pixels {
    /// (a, b) of x' = a x + b.
    fn affine(self) -> (f64, f64) {
        let a = (self.high - self.low) * 128.0 / 255.0;
        (a, self.low + a)
    }

    /// Configuration and parameters of the same network on our range of pixels.
    pub(super) fn fold(
        self,
        config: &Config,
        model: &VqVae,
        mut params: Vec<f32>,
    ) -> (Config, Vec<f32>) {
        let (a, b) = self.affine();
        let mut config = config.clone();
        let channels = config.model.channels;
        if let Some((weight, bias)) = last_convolution(&model.decoder.layers) {
            for w in &mut params[weight] {
                *w = (f64::from(*w) / a) as f32;
            }
            for v in &mut params[bias] {
                *v = ((f64::from(*v) - b) / a) as f32;
            }
        } else {
            config.model.decoder.push(pointwise(channels));
            let entries = model.table.entries.iter();
            let decoder = entries.filter(|e| e.name.starts_with("decoder."));
            let end = decoder.map(|e| e.range.end).max();
            let end = end.expect("the decoder changes the number of channels");
            params.splice(end..end, affine(channels, 1.0 / a, -b / a));
        }
        config.model.encoder.insert(0, pointwise(channels));
        params.splice(0..0, affine(channels, a, b));
        (config, params)
    }
}

/// Weights and biases of a 1x1 convolution that computes a x + b.
fn affine(channels: usize, a: f64, b: f64) -> Vec<f32> {
    let weight = (0..channels * channels).map(|i| match i % (channels + 1) {
        0 => a as f32,
        _ => 0.0,
    });
    let bias = std::iter::repeat_n(b as f32, channels);
    weight.chain(bias).collect()
}

fn pointwise(channels: usize) -> LayerConfig {
    LayerConfig::Conv(ConvConfig::plain(channels, 1))
}

/// Weight and bias of the convolution whose output is the picture, its pixels perhaps in another order.
fn last_convolution(layers: &[AnyLayer]) -> Option<(Range<usize>, Range<usize>)> {
    let (last, before) = layers.split_last()?;
    let params = match last {
        AnyLayer::Conv2d(l) => &l.params,
        AnyLayer::ConvTranspose2d(l) => &l.params,
        AnyLayer::PixelShuffle(_) => return last_convolution(before),
        _ => return None,
    };
    let plain = !params.relu && !params.bias.is_empty();
    plain.then(|| (params.weight.clone(), params.bias.clone()))
}
