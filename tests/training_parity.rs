//! Whole training steps against PyTorch: losses, weights and codes after some of them.
//!
//! The fixture is written by `oracle/train_steps.py`, which also says how far float32 may stray. First
//! weights and pictures are drawn here as they are there, bit for bit.

#[path = "training_parity/gan.rs"]
mod gan;
#[path = "training_parity/oracle.rs"]
mod oracle;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vq_tests::Random;
use vq_train::config::{Codes, Config, LossConfig};
use vq_train::data::to_batch;
use vq_train::loss::PixelLoss;
use vq_train::model::VqVae;
use vq_train::nn::Workspace;
use vq_train::optim::{Adam, Progress};
use vq_train::quantizer::{histogram, perplexity};
use vq_train::random::{Purpose, generator};

#[derive(Deserialize)]
struct Fixture {
    variance: f64,
    lr: f64,
    warmup: u64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    seed: u64,
    /// Pictures a step.
    batch: usize,
    /// First codes in units of 1 / grid: signed bytes as hex.
    codes: String,
    steps: Vec<Figures>,
    /// In our order; the last one is the codebook.
    tensors: Vec<oracle::Tensor>,
}

#[derive(Deserialize)]
struct Figures {
    loss: f64,
    mse: f64,
    commitment: f64,
    perplexity: f64,
}

/// Convolutions with and without stride, transposed ones, residual blocks.
#[test]
fn ten_steps_of_sonnet_cifar10_agree_with_pytorch() {
    agrees("sonnet-cifar10");
}

/// Group normalisation, SiLU, attention, upsampling and shortcuts of VQ-GAN's form; few codes, so that no
/// vector comes near the border between two.
#[test]
fn ten_steps_of_vqgan_64_agree_with_pytorch() {
    agrees("vqgan-64");
}

fn agrees(name: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(folder.join("oracle/train_steps.json")).unwrap();
    let fixture: Fixture = serde_json::from_str(&text).unwrap();
    let case = fixture.cases.iter().find(|case| case.name == name).unwrap();
    assert_eq!(case.steps.len(), 10);
    let path = folder.join(format!("../configs/{name}.toml"));
    let mut config = configuration(&path, &fixture);
    let bytes = case.codes.len() / 2;
    config.quantizer.codes = Codes::Same(bytes / config.quantizer.dim);
    repeat(case, &fixture, config);
}

#[test]
fn sonnet_has_as_many_parameters_as_its_example() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let config = Config::load(&folder.join("../configs/sonnet-cifar10.toml")).unwrap();
    let table = VqVae::build(&config).unwrap().table;
    let lengths = oracle::learnt(&table).map(|entry| entry.range.len());
    assert_eq!(lengths.sum::<usize>(), 662_083);
}

/// The configuration with the settings of the oracle, which trains the autoencoder alone, by its MSE.
fn configuration(path: &Path, fixture: &Fixture) -> Config {
    let mut config = Config::load(path).unwrap();
    config.quantizer.restart = 0.0;
    config.gan = None;
    config.loss = LossConfig::default();
    config.optimizer.lr = fixture.lr;
    config.optimizer.warmup = fixture.warmup;
    config
}

fn repeat(case: &Case, fixture: &Fixture, config: Config) {
    let model = VqVae::build(&config).unwrap();
    let mut random = Random::new(case.seed);
    let mut params = vec![0.0; model.table.len()];
    oracle::fill(&model.table, &mut params, &mut random);
    oracle::place_codes(&model.table, &mut params, &case.codes);
    let (mut adam, mut space) = (Adam::new(params.len()), Workspace::default());
    for (step, theirs) in case.steps.iter().enumerate() {
        let side = config.data.size[0];
        let x = to_batch(&oracle::pictures(&mut random, case.batch, side));
        let draws = |chunk| generator(0, Purpose::Layers, chunk);
        let mut pixels = PixelLoss {
            kind: config.loss.kind,
            scale: fixture.variance,
        };
        let out = model.step(&mut space, &params, true, x.view(), &mut pixels, draws);
        let progress = Progress {
            step: step as u64,
            steps: config.train.steps,
        };
        let (rates, grads) = (&config.optimizer, space.grads());
        adam.update(rates, &model.table, progress, grads, &mut params);
        let chosen = out.quantized.unwrap();
        let quantizer = model.quantizer::<f32>();
        quantizer.update(&mut params, &out.z, &chosen, &mut draws(0));
        let ours = Figures {
            loss: out.loss,
            mse: out.mse,
            commitment: chosen.commitment,
            perplexity: perplexity(&histogram(&chosen.codes, &quantizer.stages())),
        };
        assert_figures(step, &ours, theirs);
    }
    oracle::assert_tensors(&model.table, &params, &case.tensors);
}

fn assert_figures(step: usize, ours: &Figures, theirs: &Figures) {
    let pairs = [
        ("loss", ours.loss, theirs.loss),
        ("mse", ours.mse, theirs.mse),
        ("commitment", ours.commitment, theirs.commitment),
        ("perplexity", ours.perplexity, theirs.perplexity),
    ];
    for (name, ours, theirs) in pairs {
        let error = (ours / theirs - 1.0).abs();
        assert!(
            error <= oracle::TOLERANCE,
            "step {step}, {name}: {ours} here, {theirs} there"
        );
    }
}
