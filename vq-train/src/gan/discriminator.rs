//! The discriminator's layers, their forward and backward passes, and the penalty R1.

use crate::config::{Config, ConfigError, DiscriminatorConfig, DiscriminatorNorm, field_error};
use crate::nn::{
    Activation, AnyLayer, BatchNorm, BatchNormSpec, Chain, Conv2d, ConvSpec, Init, MAX_PARAMS,
    Padding, ParamTable, Scalar, SpectralNorm, Weights, Worker, add, copies, on_each, recycle,
};
use ndarray::{Array4, ArrayView4};

/// Side of the convolutions' kernels.
const KERNEL: usize = 4;
/// Rows and columns of zeros around the convolutions' inputs.
const PAD: usize = 1;
/// Slope of the leaky ReLUs below zero.
const SLOPE: f64 = 0.2;
/// Standard deviation of first weights, and of first gains around 1.
const SPREAD: f64 = 0.02;

/// Layers that make a map of logits, one for each patch of a picture, and the table of their parameters.
#[derive(Debug, Clone)]
pub struct Discriminator {
    /// Names, shapes and places of the parameters.
    pub table: ParamTable,
    /// All but the last end with an activation, whose outputs are the features.
    stages: Vec<Chain>,
}

/// The settings of [`Discriminator::penalise`].
#[derive(Debug, Clone, Copy)]
pub(super) struct R1 {
    /// The weight of the penalty, times two.
    pub(super) gamma: f64,
    /// How far the pictures of the difference lie to both sides, as a root mean square in the network's units.
    pub(super) reach: f64,
}

impl Discriminator {
    /// The layers that a checked configuration asks for, if it asks for any.
    ///
    /// # Errors
    /// Pictures that are too small for the layers, or too many parameters.
    pub fn build(config: &Config) -> Result<Option<Discriminator>, ConfigError> {
        let Some(gan) = &config.gan else {
            return Ok(None);
        };
        let [width, height] = config.data.size;
        let net = Discriminator::new(&gan.discriminator, config.model.channels);
        if net.patches([height, width]).is_none() {
            let reason = format!("too many for pictures of {width}x{height}");
            return Err(field_error("gan.discriminator.layers", reason));
        }
        if net.table.len() > MAX_PARAMS {
            let reason = format!("makes more than {MAX_PARAMS} parameters");
            return Err(field_error("gan.discriminator.channels", reason));
        }
        Ok(Some(net))
    }

    /// The layers for pictures of so many channels.
    pub fn new(config: &DiscriminatorConfig, channels: usize) -> Discriminator {
        Discriminator::with_activation(config, channels, Activation::LeakyRelu { slope: SLOPE })
    }

    /// The layers with another activation after the convolutions.
    pub(super) fn with_activation(
        config: &DiscriminatorConfig,
        channels: usize,
        activation: Activation,
    ) -> Discriminator {
        let mut table = ParamTable::default();
        let mut stages = Vec::new();
        let mut in_channels = channels;
        for i in 0..=config.layers {
            let out_channels = config.channels << i.min(3);
            let stride = if i < config.layers { 2 } else { 1 };
            let batch = i > 0 && config.norm == DiscriminatorNorm::Batch;
            let name = format!("discriminator.{i}");
            // What a bias adds, batch normalisation takes away.
            let spec = convolution(in_channels, out_channels, stride, !batch);
            let mut layers = vec![layer(spec, config.norm, &name, &mut table)];
            if batch {
                layers.push(batch_norm(out_channels, &name, &mut table).into());
            }
            layers.push(activation.into());
            stages.push(Chain { layers });
            in_channels = out_channels;
        }
        let name = format!("discriminator.{}", stages.len());
        let spec = convolution(in_channels, 1, 1, true);
        let last = layer(spec, config.norm, &name, &mut table);
        stages.push(Chain { layers: vec![last] });
        Discriminator { table, stages }
    }

    /// How many logits a picture of this size gets, as height and width; none if it is too small.
    pub fn patches(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let strides = (0..self.stages.len()).map(|i| if i + 2 < self.stages.len() { 2 } else { 1 });
        let mut size = size;
        for stride in strides {
            for side in &mut size {
                *side = (*side + 2 * PAD).checked_sub(KERNEL)? / stride + 1;
            }
        }
        Some(size)
    }

    /// Packs the weights for one step.
    pub(super) fn weights<'w, T: Scalar>(
        &self,
        values: &'w [T],
        panels: &'w mut Vec<T>,
    ) -> Weights<'w, T> {
        let chains: Vec<&Chain> = self.stages.iter().collect();
        Weights::new(&self.table, &chains, values, panels)
    }

    /// Pictures `[n, h, w, c]` to logits `[n, patches, patches, 1]`; `features` receives each stage's, of
    /// all chunks.
    pub(super) fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        pictures: &[ArrayView4<'_, T>],
        workers: &mut [Worker<T>],
        mut features: Option<&mut Vec<Vec<Array4<T>>>>,
    ) -> Vec<Array4<T>> {
        let views = pictures.iter().collect();
        let mut maps = on_each(views, workers, |x, w| w.tape.copy_of(x));
        for (i, stage) in self.stages.iter().enumerate() {
            maps = stage.forward_all(p, maps, workers);
            if let Some(features) = &mut features
                && i + 1 < self.stages.len()
            {
                features.push(copies(&maps, workers));
            }
        }
        maps
    }

    /// The logits' gradients to the pictures'; the parameters' go to the workers.
    pub(super) fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        logits: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let back = self.stages.iter().rev();
        back.fold(logits, |maps, stage| stage.backward_all(p, maps, workers))
    }

    /// The gradients of logits and features, the latter stage by stage, to the pictures'; the parameters' go to the
    /// workers.
    pub(super) fn backward_features<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        mut features: Vec<Vec<Array4<T>>>,
        logits: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let mut maps = logits;
        for stage in self.stages.iter().rev() {
            maps = stage.backward_all(p, maps, workers);
            if let Some(own) = features.pop() {
                add(&mut maps, &own, T::one());
                recycle(own, workers);
            }
        }
        maps
    }

    /// Runs a task whose backward passes add nothing to the parameters' gradients.
    pub(super) fn without_gradients<T: Scalar, R>(
        workers: &mut [Worker<T>],
        task: impl FnOnce(&mut [Worker<T>]) -> R,
    ) -> R {
        let grads: Vec<_> = workers
            .iter_mut()
            .map(|w| std::mem::take(&mut w.grads))
            .collect();
        let result = task(workers);
        workers.iter_mut().zip(grads).for_each(|(w, g)| w.grads = g);
        result
    }

    /// Adds the gradients of `gamma` / 2 times the mean of |dD/dx|^2 over the pictures to the workers', D being
    /// the mean of a picture's logits (R1, Mescheder et al. 2018); returns the mean.
    ///
    /// With v = dD/dx, the penalty's gradient is gamma times that of <v, dD/dx> with v held fixed: the slope
    /// of dD/dtheta in direction v. It is taken as a central difference, whose pictures lie `reach` times the
    /// root mean square of 1 to both sides. No second-order pass runs, and the slope is that over a
    /// neighbourhood, with the kinks of the ReLUs in it.
    pub(super) fn penalise<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        pictures: &[ArrayView4<'_, T>],
        r1: R1,
        workers: &mut [Worker<T>],
    ) -> f64 {
        let n: usize = pictures.iter().map(|x| x.dim().0).sum();
        let values: usize = pictures.iter().map(|x| x.len()).sum();
        let slopes = self.slopes(p, pictures, workers);
        let squares = slopes.iter().flatten().map(|v| v.wide() * v.wide());
        let squares: f64 = squares.sum();
        let length = squares.sqrt();
        if length > 0.0 && length.is_finite() {
            let step = r1.reach * (values as f64).sqrt();
            let strength = r1.gamma / n as f64 * length / (2.0 * step);
            for side in [1.0, -1.0] {
                let far = T::of(side * step / length);
                let mut moved = copies(&slopes, workers);
                for (moved, x) in moved.iter_mut().zip(pictures) {
                    moved.zip_mut_with(x, |v, &x| *v = *v * far + x);
                }
                let views: Vec<_> = moved.iter().map(|x| x.view()).collect();
                let logits = self.forward(p, &views, workers, None);
                let by_pictures = self.backward(p, means(logits, side * strength), workers);
                recycle(by_pictures, workers);
                recycle(moved, workers);
            }
        }
        recycle(slopes, workers);
        squares / n as f64
    }

    /// dD/dx of all pictures.
    fn slopes<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        pictures: &[ArrayView4<'_, T>],
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let logits = self.forward(p, pictures, workers, None);
        Self::without_gradients(workers, |workers| {
            self.backward(p, means(logits, 1.0), workers)
        })
    }
}

/// In place of logits the gradient of `factor` times the sum over pictures of their means.
fn means<T: Scalar>(mut logits: Vec<Array4<T>>, factor: f64) -> Vec<Array4<T>> {
    for map in &mut logits {
        let (_, h, w, _) = map.dim();
        map.fill(T::of(factor / (h * w) as f64));
    }
    logits
}

fn convolution(in_channels: usize, out_channels: usize, stride: usize, bias: bool) -> ConvSpec {
    ConvSpec {
        in_channels,
        out_channels,
        kernel: KERNEL,
        stride,
        pad: Padding::even(PAD),
        relu: false,
        bias,
    }
}

fn layer(spec: ConvSpec, norm: DiscriminatorNorm, name: &str, table: &mut ParamTable) -> AnyLayer {
    let conv = Conv2d::new(spec, name, Some(Init::Normal(SPREAD)), table);
    match norm {
        DiscriminatorNorm::Spectral => SpectralNorm::new(conv, name, table).into(),
        DiscriminatorNorm::Batch | DiscriminatorNorm::None => conv.into(),
    }
}

fn batch_norm(channels: usize, name: &str, table: &mut ParamTable) -> BatchNorm {
    let spec = BatchNormSpec {
        channels,
        momentum: 0.1,
        eps: 1e-5,
    };
    let norm = BatchNorm::new(spec, &format!("{name}.norm"), table);
    table.start(&norm.weight, Init::Gain(SPREAD));
    norm
}
