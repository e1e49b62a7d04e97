//! Whole training steps against PyTorch: losses, weights and codes after some of them.
//!
//! The fixture is written by `oracle/train_steps.py`, which also says how far float32 may stray. First
//! weights and pictures are drawn here as they are there, bit for bit.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vq_tests::Random;
use vq_train::config::{Codes, Config};
use vq_train::data::{Purpose, generator, to_batch};
use vq_train::model::{Pixels, VqVae, Workspace};
use vq_train::nn::{ParamInfo, ParamTable};
use vq_train::optim::Adam;
use vq_train::picture::{Picture, Size};
use vq_train::quantizer::{histogram, perplexity};

/// Of a figure relative to itself, and of a value relative to the root mean square of its tensor. Float32
/// strays by 3e-6.
const TOLERANCE: f64 = 3e-5;

#[derive(Deserialize)]
struct Fixture {
    variance: f64,
    lr: f64,
    warmup: u64,
    tile: usize,
    grid: f32,
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
    tensors: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Figures {
    loss: f64,
    mse: f64,
    commitment: f64,
    perplexity: f64,
}

/// What is left of a tensor after the last step.
#[derive(Deserialize)]
struct Tensor {
    name: String,
    len: usize,
    norm: f64,
    every: usize,
    /// Every `every`-th value.
    values: Vec<f64>,
    /// How far PyTorch's own float32 strays, relative to the tensor's root mean square. It is large where
    /// there is no true gradient, as for a bias that the normalisation behind it takes away: Adam makes
    /// steps of any noise.
    noise: f64,
}

/// Convolutions with and without stride, transposed ones, residual blocks.
#[test]
fn ten_steps_of_sonnet_cifar10_agree_with_pytorch() {
    agrees("sonnet-cifar10");
}

/// Group normalisation, SiLU, attention, upsampling and shortcuts of VQ-GAN's form; few codes, so that no
/// vector comes near the border between two.
#[test]
fn ten_steps_of_taming_64_agree_with_pytorch() {
    agrees("taming-64");
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
    let lengths = learnt(&table).map(|entry| entry.range.len());
    assert_eq!(lengths.sum::<usize>(), 662_083);
}

/// The configuration with the settings of the oracle.
fn configuration(path: &Path, fixture: &Fixture) -> Config {
    let mut config = Config::load(path).unwrap();
    config.quantizer.restart = 0.0;
    config.optimizer.lr = fixture.lr;
    config.optimizer.warmup = fixture.warmup;
    config
}

fn repeat(case: &Case, fixture: &Fixture, config: Config) {
    let model = VqVae::build(&config).unwrap();
    let mut random = Random::new(case.seed);
    let mut params = vec![0.0; model.table.len()];
    fill(&model.table, &mut params, &mut random);
    place_codes(&model.table, &mut params, case, fixture.grid);
    let (mut adam, mut space) = (Adam::new(params.len()), Workspace::default());
    for (step, theirs) in case.steps.iter().enumerate() {
        let x = to_batch(&pictures(
            &mut random,
            case.batch,
            fixture.tile,
            config.data.size[0],
        ));
        let draws = |chunk| generator(0, Purpose::Layers, chunk);
        let mut pixels = Pixels {
            kind: config.loss.kind,
            scale: fixture.variance,
        };
        let out = model.step(&mut space, &params, true, x.view(), &mut pixels, draws);
        let position = (step as u64, config.train.steps);
        let (rates, grads) = (&config.optimizer, space.grads());
        adam.update(rates, &model.table, position, grads, &mut params);
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
    assert_tensors(&model.table, &params, &case.tensors);
}

/// Learnt parameters: weights uniform with the variance 1 / fan-in, gains and biases within 0.05 of 1 and 0.
fn fill(table: &ParamTable, params: &mut [f32], random: &mut Random) {
    for entry in learnt(table) {
        let (middle, range) = match entry.shape.len() {
            1 if entry.name.ends_with("weight") => (1.0, 0.05),
            1 => (0.0, 0.05),
            _ => (0.0, (3.0 / fan_in(entry)).sqrt() as f32),
        };
        for p in &mut params[entry.range.clone()] {
            *p = middle + random.real() * range;
        }
    }
}

fn learnt(table: &ParamTable) -> impl Iterator<Item = &ParamInfo> {
    table.entries.iter().filter(|entry| entry.role.learns())
}

/// Of `[k, k, cin, cout]`; or of a transposed `[cin, 4, 4, cout]` of stride 2, which has four taps.
fn fan_in(entry: &ParamInfo) -> f64 {
    match entry.shape[..] {
        [a, b, cin, _] if a == b => (a * b * cin) as f64,
        [cin, 4, 4, _] => (4 * cin) as f64,
        _ => panic!("{}: no convolution", entry.name),
    }
}

/// Starts at the oracle's codes, each as if it had been chosen once.
fn place_codes(table: &ParamTable, params: &mut [f32], case: &Case, grid: f32) {
    let byte = |at| u8::from_str_radix(&case.codes[at..at + 2], 16).unwrap();
    let hex = (0..case.codes.len()).step_by(2);
    let codes: Vec<f32> = hex.map(|at| f32::from(byte(at) as i8) / grid).collect();
    params[entry(table, "quantizer.codebook").range.clone()].copy_from_slice(&codes);
    params[entry(table, "quantizer.sums").range.clone()].copy_from_slice(&codes);
    params[entry(table, "quantizer.counts").range.clone()].fill(1.0);
}

fn entry<'t>(table: &'t ParamTable, name: &str) -> &'t ParamInfo {
    let found = table.entries.iter().find(|entry| entry.name == name);
    found.unwrap_or_else(|| panic!("the model has no {name}"))
}

/// Tiles of one colour under noise.
fn pictures(random: &mut Random, batch: usize, tile: usize, side: usize) -> Vec<Picture> {
    let row = side / tile;
    let mut bytes = |count: usize, below: usize| -> Vec<u8> {
        (0..count).map(|_| random.below(below) as u8).collect()
    };
    let tiles = bytes(batch * row * row * 3, 192);
    let noise = bytes(batch * side * side * 3, 64);
    let value = |i: usize| {
        let (n, y, x, c) = (
            i / (3 * side * side),
            i / (3 * side) % side,
            i / 3 % side,
            i % 3,
        );
        noise[i] + tiles[((n * row + y / tile) * row + x / tile) * 3 + c]
    };
    let pixels: Vec<u8> = (0..noise.len()).map(value).collect();
    let size = Size {
        width: side,
        height: side,
    };
    let pictures = pixels.chunks_exact(side * side * 3);
    pictures
        .map(|p| Picture::new(size, 3, p.to_vec()))
        .collect()
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
            error <= TOLERANCE,
            "step {step}, {name}: {ours} here, {theirs} there"
        );
    }
}

fn assert_tensors(table: &ParamTable, params: &[f32], theirs: &[Tensor]) {
    let codebook = entry(table, "quantizer.codebook");
    let noisy = theirs.iter().filter(|tensor| tensor.noise > 1e-5).count();
    assert!(noisy * 8 < theirs.len(), "{noisy} tensors are mostly noise");
    let ours: Vec<&ParamInfo> = learnt(table).chain([codebook]).collect();
    assert_eq!(ours.len(), theirs.len());
    for (entry, tensor) in ours.into_iter().zip(theirs) {
        let (values, name) = (&params[entry.range.clone()], &entry.name);
        assert_eq!(values.len(), tensor.len, "{name} and {}", tensor.name);
        let tolerance = TOLERANCE.max(5.0 * tensor.noise);
        let square = |&v: &f32| f64::from(v).powi(2);
        let norm = values.iter().map(square).sum::<f64>().sqrt();
        assert!(
            (norm / tensor.norm - 1.0).abs() <= tolerance,
            "{name}: norm {norm}"
        );
        let rms = tensor.norm / (tensor.len as f64).sqrt();
        let kept = values.iter().step_by(tensor.every);
        assert_eq!(kept.len(), tensor.values.len());
        for (i, (&ours, &theirs)) in kept.zip(&tensor.values).enumerate() {
            let error = (f64::from(ours) - theirs).abs() / rms;
            assert!(
                error <= tolerance,
                "{name}, value {i}: {ours} here, {theirs} there"
            );
        }
    }
}
