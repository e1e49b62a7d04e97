//! What training uses and what the exported file does are the same function: every kind of layer that
//! deploys, in one model, after a few steps.

use std::fs;
use std::path::Path;
use vq_core::format::Dtype;
use vq_train::codec::Codec;
use vq_train::config::Config;
use vq_train::data::Dataset;
use vq_train::export::{ExportError, Options, export};
use vq_train::metrics::psnr;
use vq_train::picture::{Picture, Size};
use vq_train::train::{Networks, Trainer};

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

fn photo(size: Size, seed: f64) -> Picture {
    let Size { width, height } = size;
    let byte = |i: usize| {
        let (c, x, y) = (i % 3, i / 3 % width, i / 3 / width);
        let angle = seed + x as f64 / (2.0 + seed) + y as f64 / (4.0 + c as f64);
        (128.0 + 90.0 * angle.sin()) as u8
    };
    Picture::new(size, 3, (0..width * height * 3).map(byte).collect())
}

/// VQ-GAN's form, with attention of one head and of two, and shortcuts where channels change.
const TAMING: &str = r#"
name = "taming"
seed = 3
data = { kind = "photos", size = [32, 24] }
quantizer = { codes = 32, dim = 4 }
train = { steps = 100, batch = 4 }
optimizer = { warmup = 0, lr = 4e-3 }
[model]
channels = 3
encoder = [
  { conv = { out = 8 } },
  { resblock = { out = 12 } },
  { conv = { out = 12, stride = 2, pad = [0, 1] } },
  { resblock = { out = 16 } },
  { conv = { out = 16, stride = 2, pad = [0, 1] } },
  { resblock = { out = 16, dropout = 0.1 } },
  { attention = {} },
  { groupnorm = { silu = true } },
  { conv = { out = 4 } },
]
decoder = [
  { conv = { out = 16 } },
  { attention = { heads = 2 } },
  { resblock = { out = 16 } },
  { upsample = 2 },
  { conv = { out = 16 } },
  { resblock = { out = 12 } },
  { upsample = 2 },
  { conv = { out = 12 } },
  { groupnorm = { groups = 4 } },
  "silu",
  { conv = { out = 3 } },
]
"#;

/// A model after some steps, and the pictures that it was trained on.
fn trained(text: &str, steps: u64) -> (Trainer, Vec<Picture>) {
    let config = Config::parse(text, "test").unwrap();
    let [width, height] = config.data.size;
    let size = Size { width, height };
    let pictures: Vec<Picture> = (0..8).map(|i| photo(size, f64::from(i))).collect();
    let data = Dataset::from_pictures(&config, pictures.clone(), Vec::new());
    let mut trainer = Trainer::new(Networks::build(config).unwrap(), &data);
    for step in 0..steps {
        trainer.train_step(&data.batch(step, 4), &data).unwrap();
    }
    (trainer, pictures)
}

/// How near a file comes to the trainer.
struct Agreement {
    /// The share of codes that are the same.
    codes: f64,
    /// Of the pictures of the trainer's codes, the one that differs most from the trainer's, in dB.
    psnr: f64,
    /// The largest difference of two bytes of these pictures.
    byte: u8,
}

fn agreement(trainer: &Trainer, pictures: &[Picture], dtype: Dtype) -> Agreement {
    let encoder = true;
    let file = export(trainer, Options { dtype, encoder }, pictures).unwrap();
    let codec = Codec::from_bytes(file).unwrap();
    let (reconstructed, codes) = trainer.reconstruct(pictures);
    let expected = codes.chunks_exact(codes.len() / pictures.len());
    let (mut same, mut least, mut byte) = (0, f64::INFINITY, 0);
    for ((picture, theirs), expected) in pictures.iter().zip(&reconstructed).zip(expected) {
        let encoded = codec.encode(picture).unwrap();
        same += encoded.iter().zip(expected).filter(|(a, b)| a == b).count();
        let decoded = codec.decode(expected, picture.size()).unwrap();
        least = least.min(psnr(theirs, &decoded));
        let pairs = decoded.pixels.iter().zip(&theirs.pixels);
        byte = pairs.map(|(a, b)| a.abs_diff(*b)).fold(byte, u8::max);
    }
    Agreement {
        codes: same as f64 / codes.len() as f64,
        psnr: least,
        byte,
    }
}

#[test]
fn the_exported_model_computes_what_the_trainer_does() {
    let (trainer, pictures) = trained(CONFIG, 40);
    for (dtype, least) in [(Dtype::F32, 55.0), (Dtype::F16, 45.0), (Dtype::I8, 25.0)] {
        let found = agreement(&trainer, &pictures, dtype);
        assert!(found.psnr > least, "{dtype:?}: {} dB", found.psnr);
        let wanted = if dtype == Dtype::I8 { 0.6 } else { 0.97 };
        assert!(
            found.codes >= wanted,
            "{dtype:?}: {} of the codes",
            found.codes
        );
    }
}

fn assert_floats_deploy(trainer: &Trainer, pictures: &[Picture]) {
    for (dtype, least, most) in [(Dtype::F32, 55.0, 1), (Dtype::F16, 45.0, 6)] {
        let found = agreement(trainer, pictures, dtype);
        let Agreement { codes, psnr, byte } = found;
        println!("{dtype:?}: {codes} of the codes, {psnr} dB, off by {byte} at most");
        assert!(codes >= 0.97, "{dtype:?}: {codes} of the codes");
        assert!(psnr > least && byte <= most, "{dtype:?}: {psnr} dB, {byte}");
    }
}

#[test]
fn normalisation_and_attention_deploy_in_floats() {
    let (trainer, pictures) = trained(TAMING, 40);
    assert_floats_deploy(&trainer, &pictures);
}

#[test]
fn the_configuration_in_vq_gans_form_deploys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("configs/vqgan-64.toml");
    let text = fs::read_to_string(path).unwrap();
    let text = text
        .replace("start = 500\n", "start = 0\n")
        .replace("warmup = 500", "warmup = 0");
    let (trainer, pictures) = trained(&text, 6);
    assert_floats_deploy(&trainer, &pictures[..2]);
}

#[test]
fn what_the_core_does_not_run_is_refused_by_name() {
    let refused = |dtype, layer: &str, reason: &str| {
        let text = CONFIG.replacen(r#""silu""#, layer, 1);
        let (trainer, pictures) = trained(&text, 1);
        let encoder = true;
        let error = export(&trainer, Options { dtype, encoder }, &pictures).unwrap_err();
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
    let norm = "group normalisation does not run in i8; export with --dtype f16";
    let i8 = Dtype::I8;
    refused(i8, "{ groupnorm = { silu = true } }", norm);
    refused(i8, "{ resblock = { out = 12 } }", norm);
    refused(
        i8,
        "{ attention = { heads = 2 } }",
        "attention does not run in i8",
    );
    let norm = "{ residual = { layers = [{ batchnorm = {} }, { conv = { out = 12 } }] } }";
    refused(Dtype::F32, norm, "right behind a convolution");
    refused(Dtype::F32, "{ groupnorm = { eps = 1e-40 } }", "eps");
}

/// An encoder that stays behind may normalise: it chooses the codes that i8 is calibrated on.
#[test]
fn an_encoder_that_is_left_out_may_have_any_layers() {
    let text = CONFIG.replacen(r#""silu""#, "{ groupnorm = { silu = true } }", 1);
    let (trainer, pictures) = trained(&text, 1);
    let options = Options {
        dtype: Dtype::I8,
        encoder: false,
    };
    let file = export(&trainer, options, &pictures).unwrap();
    assert!(Codec::from_bytes(file).unwrap().model().encoder().is_none());
}
