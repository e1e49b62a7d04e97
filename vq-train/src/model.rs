//! The VQ-VAE: encoder, quantiser, decoder, and one training step's gradients.
//!
//! A batch is cut into a fixed number of chunks, each runs forward and backward on one thread, and
//! gradients and codebook statistics are added up in the chunks' order: the result depends on the
//! data alone, not on the number of threads.

use crate::config::{Config, ConfigError, LayerConfig, LossKind, field_error};
use crate::loss;
use crate::nn::{
    Chain, Conv2d, ConvSpec, ConvTranspose2d, ConvTransposeSpec, Init, Layer, ParamTable,
    PixelShuffle, PixelUnshuffle, Relu, Residual, Scalar, Tape, Upsample, Weights,
};
use crate::quantizer::{BatchStats, EmaQuantizer, EmaSettings};
use ndarray::{Array4, ArrayView4, Axis};
use rayon::prelude::*;

/// At most this many chunks a batch: enough to keep any machine's cores busy at these model
/// sizes, few enough that their gradient buffers stay small.
const CHUNKS: usize = 16;

/// At most this many parameters (512 MiB as f32), so that a slip of the pen in a configuration is an
/// error and no exhausted memory.
const MAX_PARAMS: usize = 1 << 27;

/// The layers of a model and the table of its parameters. The values live outside, in a flat vector.
#[derive(Debug, Clone)]
pub struct VqVae {
    /// Picture `[n, h, w, channels]` to latent `[n, h / down, w / down, dim]`.
    pub encoder: Chain,
    /// Latent to picture.
    pub decoder: Chain,
    /// Names, shapes and places of the parameters.
    pub table: ParamTable,
    /// How the codebook learns.
    pub quantizer: EmaSettings,
    /// Pixels per code, each way.
    pub down: usize,
    commitment: f64,
    loss: LossKind,
}

/// What a step's gradients come with. Losses are means over the batch.
#[derive(Debug, Clone)]
pub struct StepOutput<T> {
    /// Gradients in the order of the parameter table.
    pub grads: Vec<T>,
    /// What is minimised: reconstruction over the data's scale, plus commitment.
    pub loss: f64,
    /// Mean squared error over all values, in the network's units.
    pub mse: f64,
    /// Mean of (z - code)^2.
    pub commitment: f64,
    /// For the moving averages; empty counts while quantisation is off.
    pub stats: BatchStats<T>,
    /// The batch's latent vectors `[P, D]`.
    pub z: Vec<T>,
}

impl VqVae {
    /// Builds the layers and checks that their shapes chain.
    pub fn build(config: &Config) -> Result<VqVae, ConfigError> {
        let mut table = ParamTable::default();
        let channels = config.model.channels;
        let dim = config.quantizer.dim;
        let mut build = |side: &str, from: Shape, layers: &[LayerConfig]| {
            let prefix = side.to_string();
            let mut builder = Builder {
                table: &mut table,
                path: format!("model.{side}"),
            };
            builder.chain(layers, from, &prefix)
        };
        let picture = Shape {
            channels,
            num: 1,
            den: 1,
        };
        let (mut encoder, latent) = build("encoder", picture, &config.model.encoder)?;
        let grid = Shape {
            channels: dim,
            ..latent
        };
        let (decoder, out) = build("decoder", grid, &config.model.decoder)?;
        if latent.channels != dim {
            let reason = format!(
                "ends with {} channels, quantizer.dim is {dim}",
                latent.channels
            );
            return Err(field_error("model.encoder", reason));
        }
        if latent.num != 1 || latent.den > 256 {
            return Err(field_error(
                "model.encoder",
                "must shrink the picture by 1 to 256",
            ));
        }
        if out.channels != channels || out.num != out.den {
            let reason = format!(
                "ends with {} channels at {}/{} of the picture's size, must be {channels} at 1/1",
                out.channels, out.num, out.den
            );
            return Err(field_error("model.decoder", reason));
        }
        let down = latent.den;
        if config.data.size.iter().any(|s| s % down != 0) {
            let reason = format!("width and height must be multiples of {down}, one code's size");
            return Err(field_error("data.size", reason));
        }
        if let Some(Layer::Conv2d(first)) = encoder
            .layers
            .iter_mut()
            .find(|l| matches!(l, Layer::Conv2d(_) | Layer::Residual(_)))
        {
            first.input_grad = false;
        }
        let q = &config.quantizer;
        let quantizer = EmaSettings {
            codes: q.codes,
            dim,
            decay: q.decay,
            restart: q.restart,
        };
        let (commitment, loss) = (q.commitment, config.loss.kind);
        Ok(VqVae {
            encoder,
            decoder,
            table,
            quantizer,
            down,
            commitment,
            loss,
        })
    }

    /// Latents of a batch, `[n, h / down, w / down, dim]`.
    pub fn encode<T: Scalar>(&self, p: &[T], x: ArrayView4<'_, T>) -> Array4<T> {
        let p = Weights::new(&self.table, &[&self.encoder], p);
        self.by_chunks(x, |x| self.encoder.forward(&p, x, &mut Tape::off()))
    }

    /// Pictures from latents, unclipped.
    pub fn decode<T: Scalar>(&self, p: &[T], z: ArrayView4<'_, T>) -> Array4<T> {
        let p = Weights::new(&self.table, &[&self.decoder], p);
        self.by_chunks(z, |z| self.decoder.forward(&p, z, &mut Tape::off()))
    }

    fn by_chunks<T: Scalar>(
        &self,
        x: ArrayView4<'_, T>,
        run: impl Fn(Array4<T>) -> Array4<T> + Sync,
    ) -> Array4<T> {
        let chunks: Vec<_> = x.axis_chunks_iter(Axis(0), 1).collect();
        let parts: Vec<_> = chunks.into_par_iter().map(|c| run(contiguous(c))).collect();
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        ndarray::concatenate(Axis(0), &views).expect("chunks agree in shape")
    }

    /// Losses and gradients of one batch `[n, h, w, channels]`.
    ///
    /// `scale` is the data's variance (MSE) or standard deviation (L1). Without a quantiser the
    /// latents pass unchanged.
    pub fn step<T: Scalar>(
        &self,
        p: &[T],
        quantizer: Option<&EmaQuantizer<T>>,
        x: ArrayView4<'_, T>,
        scale: f64,
    ) -> StepOutput<T> {
        let per_chunk = x.dim().0.div_ceil(CHUNKS);
        let values = x.len();
        let chunks: Vec<_> = x.axis_chunks_iter(Axis(0), per_chunk).collect();
        let p = Weights::new(&self.table, &[&self.encoder, &self.decoder], p);
        let run = |chunk| self.chunk_step(&p, quantizer, contiguous(chunk), values, scale);
        let parts: Vec<_> = chunks.into_par_iter().map(run).collect();
        self.reduce(parts, values)
    }

    fn chunk_step<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        quantizer: Option<&EmaQuantizer<T>>,
        x: Array4<T>,
        values: usize,
        scale: f64,
    ) -> ChunkOutput<T> {
        let pixels_per_code = self.down * self.down * x.dim().3;
        let latents = values / pixels_per_code * self.quantizer.dim;
        let mut tape = Tape::recording();
        let z = self.encoder.forward(p, x.clone(), &mut tape);
        let flat = z.as_slice().expect("maps are contiguous").to_vec();
        let chosen = quantizer.map(|q| q.assign(&flat));
        let q = match &chosen {
            Some(c) => Array4::from_shape_vec(z.dim(), c.quantized.clone()).expect("as many as z"),
            None => z,
        };
        let y = self.decoder.forward(p, q, &mut tape);
        let (dy, sums) = loss::reconstruction(self.loss, &x, y, values, scale);
        let mut grads = vec![T::zero(); self.table.len()];
        let mut dz = self.decoder.backward(p, &mut tape, dy, &mut grads);
        let mut commitment = 0.0;
        if let Some(c) = &chosen {
            let dz = dz.as_slice_mut().expect("maps are contiguous");
            let weight = self.commitment;
            commitment = loss::commitment(&flat, &c.quantized, weight, latents, dz);
        }
        self.encoder.backward(p, &mut tape, dz, &mut grads);
        ChunkOutput {
            grads,
            sums,
            commitment,
            codes: chosen.map(|c| c.codes),
            z: flat,
        }
    }

    fn reduce<T: Scalar>(&self, parts: Vec<ChunkOutput<T>>, values: usize) -> StepOutput<T> {
        let mut stats = BatchStats::new(&self.quantizer);
        let (mut loss, mut squares, mut commitment) = (0.0, 0.0, 0.0);
        let mut z = Vec::new();
        for part in &parts {
            if let Some(codes) = &part.codes {
                stats.add(codes, &part.z);
            }
            loss += part.sums.loss;
            squares += part.sums.squares;
            commitment += part.commitment;
            z.extend_from_slice(&part.z);
        }
        let mut all = parts.into_iter().map(|part| part.grads);
        let mut grads = all.next().unwrap_or_default();
        let others: Vec<Vec<T>> = all.collect();
        const RANGE: usize = 1 << 14;
        grads
            .par_chunks_mut(RANGE)
            .enumerate()
            .for_each(|(i, range)| {
                for other in &others {
                    for (a, &b) in range.iter_mut().zip(&other[i * RANGE..]) {
                        *a += b;
                    }
                }
            });
        let loss = loss + self.commitment * commitment;
        StepOutput {
            grads,
            loss,
            mse: squares / values as f64,
            commitment,
            stats,
            z,
        }
    }
}

struct ChunkOutput<T> {
    grads: Vec<T>,
    sums: loss::Sums,
    commitment: f64,
    codes: Option<Vec<u16>>,
    z: Vec<T>,
}

fn contiguous<T: Scalar>(x: ArrayView4<'_, T>) -> Array4<T> {
    x.as_standard_layout().into_owned()
}

/// A map's channels, and its size as a fraction of the picture's.
#[derive(Debug, Clone, Copy)]
struct Shape {
    channels: usize,
    num: usize,
    den: usize,
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

/// Turns lists of layers into chains, naming parameters and errors by their place in the list.
struct Builder<'t> {
    table: &'t mut ParamTable,
    path: String,
}

impl Builder<'_> {
    fn chain(
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
                self.convolution(c.out, c.kernel, c.stride, from)?;
                let (before, after) = ConvSpec::same_padding(c.kernel, c.stride);
                let spec = ConvSpec {
                    cin: from.channels,
                    cout: c.out,
                    kernel: c.kernel,
                    stride: c.stride,
                    before,
                    after,
                    relu: c.relu,
                    bias: c.bias,
                };
                layers.push(Layer::Conv2d(Conv2d::new(spec, name, init, self.table)));
                *shape = from.scaled(c.out, 1, c.stride);
            }
            LayerConfig::Transposed(c) => {
                self.convolution(c.out, c.kernel, c.stride, from)?;
                let spec = ConvTransposeSpec {
                    cin: from.channels,
                    cout: c.out,
                    kernel: c.kernel,
                    stride: c.stride,
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
                    layers.push(self.residual(&r.layers, from, r.relu, &name)?);
                }
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
        }
        self.limit("the map's size over the picture's", shape.num)?;
        self.limit("the picture's size over the map's", shape.den)?;
        if self.table.len() > MAX_PARAMS {
            return Err(self.error(&format!("more than {MAX_PARAMS} parameters up to here")));
        }
        Ok(())
    }

    /// The branch's last convolution starts at zero, so that each block starts as the identity.
    fn residual(
        &mut self,
        list: &[LayerConfig],
        from: Shape,
        relu: bool,
        name: &str,
    ) -> Result<Layer, ConfigError> {
        let Some((last, first)) = list.split_last() else {
            return Err(self.error("residual.layers needs at least one layer"));
        };
        let (mut layers, mut shape) = (Vec::new(), from);
        for (i, layer) in first.iter().enumerate() {
            self.layer(layer, &mut shape, &format!("{name}.{i}"), None, &mut layers)?;
        }
        let name = format!("{name}.{}", first.len());
        self.layer(last, &mut shape, &name, Some(Init::Zero), &mut layers)?;
        if (shape.channels, shape.num, shape.den) != (from.channels, from.num, from.den) {
            return Err(self.error("a residual branch must keep channels and size"));
        }
        Ok(Layer::Residual(Residual {
            inner: Chain { layers },
            relu,
        }))
    }

    /// Checks the sizes that a convolution and its transpose share.
    fn convolution(
        &self,
        out: usize,
        kernel: usize,
        stride: usize,
        from: Shape,
    ) -> Result<(), ConfigError> {
        self.positive(&[("out", out), ("kernel", kernel), ("stride", stride)])?;
        if kernel < stride {
            return Err(self.error("kernel must be at least stride"));
        }
        let taps = kernel * kernel * from.channels;
        self.limit("kernel x kernel x channels in", taps)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::normal;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const CONFIG: &str = r#"
        name = "t"
        data = { kind = "photos", size = [8, 8] }
        quantizer = { codes = 6, dim = 3, commitment = 0.3 }
        train = { steps = 1, batch = 1 }
        [model]
        channels = 3
        encoder = [
          { unshuffle = 2 },
          { conv = { out = 5, kernel = 4, stride = 2, relu = true } },
          { residual = { relu = true, layers = [{ conv = { out = 4 } }, "relu", { conv = { out = 5, kernel = 1 } }] } },
          { conv = { out = 3, kernel = 1 } },
        ]
        decoder = [
          { conv = { out = 4, relu = true } },
          { transposed = { out = 4, relu = true } },
          { upsample = 2 },
          { conv = { out = 3 } },
        ]"#;

    struct Case {
        model: VqVae,
        params: Vec<f64>,
        x: Array4<f64>,
        codes: EmaQuantizer<f64>,
    }

    fn case(loss: &str) -> Case {
        let text = format!("{}\n[loss]\nkind = \"{loss}\"", CONFIG);
        let model = VqVae::build(&Config::parse(&text, "test").unwrap()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut params: Vec<f64> = model.table.init(&mut rng);
        params.iter_mut().for_each(|p| *p += 0.1 * normal(&mut rng));
        let x = Array4::from_shape_simple_fn((5, 8, 8, 3), || 0.5 * normal(&mut rng));
        let codes = (0..18).map(|_| normal(&mut rng)).collect();
        Case {
            model,
            params,
            x,
            codes: EmaQuantizer::from_codebook(codes, 6),
        }
    }

    fn assert_gradients(case: &Case, grads: &[f64], loss: impl Fn(&[f64]) -> f64) {
        let step = 1e-6;
        for entry in &case.model.table.entries {
            for i in entry.range.clone().step_by(3) {
                let (mut up, mut down) = (case.params.clone(), case.params.clone());
                up[i] += step;
                down[i] -= step;
                let numeric = (loss(&up) - loss(&down)) / (2.0 * step);
                let error = (grads[i] - numeric).abs() / (1e-3 + numeric.abs());
                assert!(error < 1e-5, "{} {i}: {} {numeric}", entry.name, grads[i]);
            }
        }
    }

    #[test]
    fn gradients_without_quantisation_match_finite_differences() {
        for loss in ["mse", "l1"] {
            let case = case(loss);
            let run = |p: &[f64]| case.model.step(p, None, case.x.view(), 0.4);
            assert_gradients(&case, &run(&case.params).grads, |p| run(p).loss);
        }
    }

    /// Straight-through estimation is the true gradient of a loss in which the choice of codes and the
    /// step from latent to code are held fixed.
    #[test]
    fn straight_through_gradients_match_finite_differences_of_their_surrogate() {
        let case = case("mse");
        let out = case
            .model
            .step(&case.params, Some(&case.codes), case.x.view(), 0.4);
        let z0 = case.model.encode(&case.params, case.x.view());
        let chosen = case.codes.assign(z0.as_slice().unwrap());
        let q0 = Array4::from_shape_vec(z0.dim(), chosen.quantized).unwrap();
        let surrogate = |p: &[f64]| {
            let z = case.model.encode(p, case.x.view());
            let y = case.model.decode(p, (&z - &z0 + &q0).view());
            let mean = |d: Array4<f64>| d.mapv(|v| v * v).mean().unwrap();
            mean(y - &case.x) / 0.4 + 0.3 * mean(z - &q0)
        };
        assert!((out.loss - surrogate(&case.params)).abs() < 1e-9);
        assert_gradients(&case, &out.grads, surrogate);
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let case = case("mse");
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                case.model
                    .step(&case.params, Some(&case.codes), case.x.view(), 0.4)
            })
        };
        let (one, three) = (run(1), run(3));
        assert_eq!(one.grads, three.grads);
        assert_eq!(one.stats.sums, three.stats.sums);
        assert_eq!(one.loss.to_bits(), three.loss.to_bits());
    }

    #[test]
    fn shapes_that_do_not_chain_are_named() {
        let wrong = |from: &str, to: &str| {
            let text = CONFIG.replace(from, to);
            assert_ne!(text, CONFIG);
            Config::parse(&text, "test").unwrap_err().to_string()
        };
        let error = wrong(
            "{ conv = { out = 3, kernel = 1 } }",
            "{ conv = { out = 7, kernel = 1 } }",
        );
        assert!(
            error.contains("model.encoder") && error.contains("quantizer.dim"),
            "{error}"
        );
        let error = wrong("{ upsample = 2 },", "");
        assert!(error.contains("model.decoder"), "{error}");
        let error = wrong("size = [8, 8]", "size = [8, 6]");
        assert!(error.contains("data.size"), "{error}");
        let error = wrong("kernel = 4, stride = 2", "kernel = 1, stride = 2");
        assert!(error.contains("model.encoder[1]"), "{error}");
    }
}
