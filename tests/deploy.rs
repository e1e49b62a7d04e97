//! What training uses and what the exported file does are the same function: every kind of layer that
//! deploys, in one model, after a few steps.

use vq_core::format::Dtype;
use vq_train::codec::Codec;
use vq_train::config::Config;
use vq_train::data::Dataset;
use vq_train::export::{ExportError, Options, export};
use vq_train::metrics::psnr;
use vq_train::picture::{Picture, Size};
use vq_train::train::Trainer;

const CONFIG: &str = r#"
name = "layers"
seed = 3
data = { kind = "photos", size = [32, 24] }
quantizer = { codes = 32, dim = 4 }
train = { steps = 100, batch = 4 }
optimizer = { warmup = 0, lr = 4e-3 }
[model]
channels = 3
encoder = [
  { conv = { out = 12, kernel = 4, stride = 2, bias = false } },
  { batchnorm = {} },
  "silu",
  { residual = { shortcut = true, layers = [{ conv = { out = 20 } }, { batchnorm = {} }, "relu", { conv = { out = 20, kernel = 1 } }] } },
  { leaky = 0.2 },
  { dropout = 0.1 },
  { conv = { out = 16, stride = 2, pad = [0, 1], spectral = true } },
  { linear = { out = 4 } },
  "tanh",
]
decoder = [
  { transposed = { out = 12 } },
  { batchnorm = {} },
  "sigmoid",
  { upsample = 2 },
  { conv = { out = 12 } },
  { batchnorm = {} },
  "relu",
  { conv = { out = 3 } },
]
"#;

fn photo(seed: f64) -> Picture {
    let size = Size {
        width: 32,
        height: 24,
    };
    let byte = |i: usize| {
        let (c, x, y) = (i % 3, i / 3 % 32, i / 96);
        let angle = seed + x as f64 / (2.0 + seed) + y as f64 / (4.0 + c as f64);
        (128.0 + 90.0 * angle.sin()) as u8
    };
    Picture::new(size, 3, (0..32 * 24 * 3).map(byte).collect())
}

#[test]
fn the_exported_model_computes_what_the_trainer_does() {
    let config = Config::parse(CONFIG, "test").unwrap();
    let pictures: Vec<Picture> = (0..8).map(|i| photo(f64::from(i))).collect();
    let data = Dataset::from_pictures(&config, pictures.clone(), Vec::new());
    let mut trainer = Trainer::new(config, &data).unwrap();
    for step in 0..40 {
        trainer.train_step(&data.batch(step, 4), &data).unwrap();
    }
    let (reconstructed, codes) = trainer.reconstruct(&pictures);
    let per_picture = codes.len() / pictures.len();
    for (dtype, least) in [(Dtype::F32, 55.0), (Dtype::F16, 45.0), (Dtype::I8, 25.0)] {
        let options = Options {
            dtype,
            encoder: true,
        };
        let codec = Codec::from_bytes(export(&trainer, options, &pictures).unwrap()).unwrap();
        let (mut same, mut all) = (0, 0);
        for (i, picture) in pictures.iter().enumerate() {
            let expected = &codes[i * per_picture..(i + 1) * per_picture];
            let encoded = codec.encode(picture).unwrap();
            same += encoded.iter().zip(expected).filter(|(a, b)| a == b).count();
            all += encoded.len();
            let decoded = codec.decode(expected, picture.size()).unwrap();
            let near = psnr(&reconstructed[i], &decoded);
            assert!(near > least, "{dtype:?}, picture {i}: {near} dB");
        }
        let share = same as f64 / all as f64;
        let wanted = if dtype == Dtype::I8 { 0.6 } else { 0.97 };
        assert!(share >= wanted, "{dtype:?}: {share} of the codes");
    }
}

#[test]
fn what_the_core_does_not_run_is_refused_by_name() {
    let refused = |layer: &str, reason: &str| {
        let text = CONFIG.replacen(r#""silu""#, layer, 1);
        let config = Config::parse(&text, "test").unwrap();
        let data = Dataset::from_pictures(&config, vec![photo(1.0)], Vec::new());
        let mut trainer = Trainer::new(config, &data).unwrap();
        trainer.train_step(&data.batch(0, 4), &data).unwrap();
        let options = Options {
            dtype: Dtype::F32,
            encoder: true,
        };
        let error = export(&trainer, options, &[]).unwrap_err();
        assert!(matches!(
            error,
            ExportError::Layer {
                side: "encoder",
                index: 2,
                ..
            }
        ));
        assert!(error.to_string().contains(reason), "{error}");
    };
    refused("{ groupnorm = { silu = true } }", "batchnorm");
    refused("{ attention = { heads = 2 } }", "attention");
    refused("{ resblock = { out = 12 } }", "group normalisation");
    refused(
        "{ residual = { layers = [{ batchnorm = {} }, { conv = { out = 12 } }] } }",
        "right behind a convolution",
    );
}
