//! The VQ-VAE: encoder, quantiser, decoder, and one training step's gradients.
//!
//! A batch is cut into a fixed number of chunks, each runs forward and backward on one thread, and
//! gradients and codebook statistics are added up in the chunks' order: the result depends on the
//! data alone, not on the number of threads.

mod build;
mod adaptive_weight;
mod step;

pub use build::chain;
pub use step::StepOutput;

use crate::config::{Config, ConfigError, LayerConfig, field_error};
use crate::nn::{
    Builder, Chain, Layer, Learnt, MAX_PARAMS, ParamTable, Scalar, Shape, Tape, Weights,
};
use crate::quantizer::{Quantize, QuantizeAny, Quantizer, SquareOrder};
use adaptive_weight::SplitDecoder;
use ndarray::{Array4, ArrayView4, Axis};
use rayon::prelude::*;

/// At most this many chunks a batch: enough to keep any machine's cores busy at these model
/// sizes, few enough that their gradient buffers stay small.
const CHUNKS: usize = 16;

/// Pixels of a chunk at least, while that leaves [`FEW_CHUNKS`]: what a product reads of weights serves all of
/// its pictures.
const CHUNK_PIXELS: usize = 8 * 32 * 32;

/// A batch of small pictures makes so many chunks all the same, for as many threads.
const FEW_CHUNKS: usize = 2;

/// The layers of a model and the table of its parameters. The values live outside, in a flat vector.
#[derive(Debug, Clone)]
pub struct VqVae {
    /// Picture `[n, h, w, channels]` to latent `[n, h / down, w / down, dim]`.
    pub encoder: Chain,
    /// Latent to picture.
    pub decoder: Chain,
    /// Names, shapes and places of the parameters.
    pub table: ParamTable,
    /// From latents to codes.
    quantizer: Quantizer,
    /// D, channels of the latent.
    pub dim: usize,
    /// Pixels per code, each way.
    pub down: usize,
    /// The decoder again, where the weight of an adversarial loss may be adapted.
    split: Option<SplitDecoder>,
}

impl VqVae {
    /// Builds the layers that a checked configuration describes.
    ///
    /// # Errors
    /// Layers whose shapes do not chain, or do not fit to the pictures, the quantiser or adversarial training.
    pub fn build(config: &Config) -> Result<VqVae, ConfigError> {
        let mut table = ParamTable::default();
        let dim = config.quantizer.dim;
        let picture = Shape::full(config.model.channels);
        let (mut encoder, latent) =
            chain_of("encoder", &config.model.encoder, picture, &mut table)?;
        let grid = Shape {
            channels: dim,
            ..latent
        };
        let (decoder, out) = chain_of("decoder", &config.model.decoder, grid, &mut table)?;
        check_shapes(config, latent, out)?;
        // Nothing reads the gradient by the input of the first layer that learns.
        let mut layers = encoder.layers.iter_mut();
        if let Some(first) = layers.find(|l| l.learnt() != Learnt::Nothing) {
            first.skip_input_grad();
        }
        let split = SplitDecoder::of(&decoder, &table);
        if config.gan.as_ref().is_some_and(|gan| gan.adaptive) && split.is_none() {
            let reason = "with gan.adaptive the last layer that learns must be a conv, a transposed conv or a \
                          linear one";
            return Err(field_error("model.decoder", reason));
        }
        let quantizer = Quantizer::new(&config.quantizer, &mut table);
        if table.len() > MAX_PARAMS {
            let reason = format!("more than {MAX_PARAMS} parameters with this codebook");
            return Err(field_error("quantizer.codes", reason));
        }
        Ok(VqVae {
            encoder,
            decoder,
            table,
            quantizer,
            dim,
            down: latent.den,
            split,
        })
    }

    /// From latents to codes.
    pub fn quantizer<T: Scalar>(&self) -> &dyn Quantize<T> {
        self.quantizer.of()
    }

    /// The quantiser's order of the latents of a map of `[height, width]`.
    pub fn square_order(&self, map: [usize; 2]) -> SquareOrder {
        let stages = self.quantizer::<f32>().stages();
        let sides: Vec<usize> = stages.iter().map(|stage| stage.side).collect();
        SquareOrder::new(&sides, map, self.dim)
    }

    /// Latents of a batch, `[n, h / down, w / down, dim]`.
    pub fn encode<T: Scalar>(&self, p: &[T], x: ArrayView4<'_, T>) -> Array4<T> {
        self.infer(&self.encoder, p, x)
    }

    /// Pictures from latents, unclipped.
    pub fn decode<T: Scalar>(&self, p: &[T], z: ArrayView4<'_, T>) -> Array4<T> {
        self.infer(&self.decoder, p, z)
    }

    fn infer<T: Scalar>(&self, chain: &Chain, p: &[T], x: ArrayView4<'_, T>) -> Array4<T> {
        let mut panels = Vec::new();
        let p = Weights::in_use(&self.table, &[chain], p, &mut panels);
        let chunks: Vec<_> = x.axis_chunks_iter(Axis(0), 1).collect();
        let run = |tape: &mut Tape<T>, chunk: ArrayView4<'_, T>| {
            chain.forward(&p, chunk.as_standard_layout().into_owned(), tape)
        };
        let chunks = chunks.into_par_iter();
        let parts: Vec<_> = chunks.map_init(Tape::off, run).collect();
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        ndarray::concatenate(Axis(0), &views).expect("chunks agree in shape")
    }

    /// The chunks `[n, h, w, c]` that a step cuts a batch into.
    pub fn chunks<'x, T: Scalar>(x: &'x ArrayView4<'_, T>) -> Vec<ArrayView4<'x, T>> {
        let n = x.dim().0;
        let smallest = CHUNK_PIXELS.div_ceil(x.dim().1 * x.dim().2);
        let per_chunk = n.div_ceil(CHUNKS).max(smallest.min(n.div_ceil(FEW_CHUNKS)));
        x.axis_chunks_iter(Axis(0), per_chunk).collect()
    }
}

/// The layers of one side of the model, on maps of the shape `from`, and the shape of their output.
fn chain_of(
    side: &str,
    layers: &[LayerConfig],
    from: Shape,
    table: &mut ParamTable,
) -> Result<(Chain, Shape), ConfigError> {
    let path = format!("model.{side}");
    let (layers, to) = Builder::list(table, layers, from, &path, side)?;
    Ok((Chain { layers }, to))
}

/// Checks the shapes of latents and of the decoder's output against the configuration.
fn check_shapes(config: &Config, latent: Shape, out: Shape) -> Result<(), ConfigError> {
    let (channels, dim) = (config.model.channels, config.quantizer.dim);
    if latent.channels != dim {
        let reason = format!(
            "ends with {} channels, quantizer.dim is {dim}",
            latent.channels
        );
        return Err(field_error("model.encoder", reason));
    }
    if latent.num != 1 || latent.den > 256 {
        let reason = "must shrink the picture by 1 to 256";
        return Err(field_error("model.encoder", reason));
    }
    if out.channels != channels || out.num != out.den {
        let reason = format!(
            "ends with {} channels at {}/{} of the picture's size, must be {channels} at 1/1",
            out.channels, out.num, out.den
        );
        return Err(field_error("model.decoder", reason));
    }
    let square = latent.den * config.quantizer.side(0);
    if config.data.size.iter().any(|side| side % square != 0) {
        let reason = format!(
            "width and height must be multiples of {square}, what one of the coarsest codes is for"
        );
        return Err(field_error("data.size", reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PixelLossKind;
    use crate::loss::PixelLoss;
    use crate::nn::{Role, Workspace, normal};
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
        pixels: PixelLoss,
    }

    fn pixels(kind: PixelLossKind) -> PixelLoss {
        PixelLoss { kind, scale: 0.4 }
    }

    impl Case {
        fn step(&self, p: &[f64], quantize: bool) -> (StepOutput<f64>, Vec<f64>) {
            let mut space = Workspace::default();
            let seed = ChaCha8Rng::seed_from_u64;
            let (x, mut pixels) = (self.x.view(), self.pixels);
            let model = &self.model;
            let out = model.step(&mut space, p, quantize, x, &mut pixels, seed);
            (out, space.grads().to_vec())
        }
    }

    fn case(kind: PixelLossKind) -> Case {
        let model = VqVae::build(&Config::parse(CONFIG, "test").unwrap()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut params: Vec<f64> = model.table.init(&mut rng);
        params.iter_mut().for_each(|p| *p += 0.1 * normal(&mut rng));
        let x = Array4::from_shape_simple_fn((5, 8, 8, 3), || 0.5 * normal(&mut rng));
        let codes: Vec<f64> = (0..18).map(|_| normal(&mut rng)).collect();
        let entries = &model.table.entries;
        let codebook = entries
            .iter()
            .find(|e| e.name == "quantizer.codebook")
            .unwrap();
        params[codebook.range.clone()].copy_from_slice(&codes);
        Case {
            model,
            params,
            x,
            pixels: pixels(kind),
        }
    }

    fn assert_gradients(case: &Case, grads: &[f64], loss: impl Fn(&[f64]) -> f64) {
        let step = 1e-6;
        for entry in &case.model.table.entries {
            if !entry.role.learns() {
                continue;
            }
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
        for loss in [PixelLossKind::Mse, PixelLossKind::L1] {
            let case = case(loss);
            let run = |p: &[f64]| case.step(p, false);
            assert_gradients(&case, &run(&case.params).1, |p| run(p).0.loss);
        }
    }

    /// The layers that a configuration can name and [`CONFIG`] does not.
    const MORE: &str = r#"
        encoder = [
          { conv = { out = 4, kernel = 3, stride = 2, pad = [0, 1], spectral = true } },
          { linear = { out = 4, relu = true } },
          { maxpool = {} },
          { upsample = 2 },
          { averagepool = { kernel = 3, pad = [1, 1] } },
          { linear = { out = 3, spectral = true } },
        ]
        decoder = [
          { conv = { out = 6, mask = "b", groups = 3 } },
          { upsample = 4 },
          { conv = { out = 6, mask = "rows" } },
          { conv = { out = 3, mask = "a" } },
        ]"#;

    fn more(pictures: usize) -> Case {
        let (head, _) = CONFIG.split_once("encoder").unwrap();
        let text = format!("{head}{MORE}");
        let model = VqVae::build(&Config::parse(&text, "test").unwrap()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let params: Vec<f64> = model.table.init(&mut rng);
        let x = Array4::from_shape_simple_fn((pictures, 8, 8, 3), || 0.5 * normal(&mut rng));
        Case {
            model,
            params,
            x,
            pixels: pixels(PixelLossKind::Mse),
        }
    }

    /// Spectral normalisation's vectors as a step leaves them.
    fn follow(case: &mut Case) {
        let (_, grads) = case.step(&case.params, false);
        for entry in &case.model.table.entries {
            if let Role::Statistic { rate } = entry.role {
                assert_eq!(rate, 1.0);
                let range = entry.range.clone();
                case.params[range.clone()].copy_from_slice(&grads[range]);
            }
        }
    }

    #[test]
    fn gradients_of_all_other_layers_match_finite_differences() {
        let mut case = more(3);
        // Once they have settled, sigma has no slope along spectral normalisation's vectors.
        (0..300).for_each(|_| follow(&mut case));
        let run = |p: &[f64]| case.step(p, false);
        assert_gradients(&case, &run(&case.params).1, |p| run(p).0.loss);
    }

    #[test]
    fn spectral_normalisations_vectors_come_from_one_of_many_chunks() {
        let mut case = more(130);
        follow(&mut case);
        let vectors = case.model.table.entries.iter();
        for entry in vectors.filter(|e| !e.role.learns() && e.name.starts_with("encoder")) {
            let vector = &case.params[entry.range.clone()];
            let length: f64 = vector.iter().map(|v| v * v).sum();
            assert!((length - 1.0).abs() < 1e-12, "{}: {length}", entry.name);
        }
    }

    /// Straight-through estimation is the true gradient of a loss in which the choice of codes and the
    /// step from latent to code are held fixed.
    #[test]
    fn straight_through_gradients_match_finite_differences_of_their_surrogate() {
        let case = case(PixelLossKind::Mse);
        let (out, grads) = case.step(&case.params, true);
        let z0 = case.model.encode(&case.params, case.x.view());
        let chosen = out.quantized.unwrap();
        let q0 = Array4::from_shape_vec(z0.dim(), chosen.values).unwrap();
        let surrogate = |p: &[f64]| {
            let z = case.model.encode(p, case.x.view());
            let y = case.model.decode(p, (&z - &z0 + &q0).view());
            let mean = |d: Array4<f64>| d.mapv(|v| v * v).mean().unwrap();
            mean(y - &case.x) / 0.4 + 0.3 * mean(z - &q0)
        };
        assert!((out.loss - surrogate(&case.params)).abs() < 1e-9);
        assert_gradients(&case, &grads, surrogate);
    }

    #[test]
    fn memory_of_a_step_does_not_grow() {
        let case = case(PixelLossKind::Mse);
        let mut space = Workspace::default();
        let mut bytes = Vec::new();
        for _ in 0..5 {
            let x = case.x.view();
            let seed = ChaCha8Rng::seed_from_u64;
            let p = &case.params;
            let mut pixels = case.pixels;
            case.model.step(&mut space, p, true, x, &mut pixels, seed);
            bytes.push(space.bytes());
        }
        assert!(
            bytes[1] > 0 && bytes[1..].iter().all(|&b| b == bytes[1]),
            "{bytes:?}"
        );
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let case = case(PixelLossKind::Mse);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| case.step(&case.params, true))
        };
        let (one, three) = (run(1), run(3));
        assert_eq!(one.1, three.1);
        assert_eq!(one.0.loss.to_bits(), three.0.loss.to_bits());
    }

    #[test]
    fn shapes_that_do_not_chain_are_named() {
        let wrong = |from: &str, to: &str| {
            let text = CONFIG.replace(from, to);
            assert_ne!(text, CONFIG);
            let config = Config::parse(&text, "test").unwrap();
            VqVae::build(&config).unwrap_err().to_string()
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
        let error = wrong("kernel = 4,", "kernel = 4, pad = [0, 1],");
        assert!(error.contains("2 to 3"), "{error}");
        let error = wrong(
            "{ conv = { out = 4, relu = true } }",
            "{ conv = { out = 4, mask = \"a\", groups = 2 } }",
        );
        assert!(error.contains("groups"), "{error}");
    }
}
