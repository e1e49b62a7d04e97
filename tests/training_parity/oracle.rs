//! What the oracles' fixtures have in common: first weights, codes and pictures, drawn as they draw them, bit for
//! bit, and tensors after the last step.

use serde::Deserialize;
use vq_tests::Random;
use vq_train::nn::{ParamInfo, ParamTable};
use vq_train::picture::{Picture, Size};

/// Of a figure relative to itself, and of a value relative to the root mean square of its tensor. Float32
/// strays by 3e-6.
pub(super) const TOLERANCE: f64 = 3e-5;

/// Pixels on a side of a picture's tiles.
const TILE: usize = 8;
/// First codes are whole multiples of 1 / GRID.
const GRID: f32 = 64.0;

/// What is left of a tensor after the last step.
#[derive(Deserialize)]
pub(super) struct Tensor {
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

/// Learnt parameters: weights uniform with the variance 1 / fan-in, gains and biases within 0.05 of 1 and 0.
pub(super) fn fill(table: &ParamTable, params: &mut [f32], random: &mut Random) {
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

/// What gradients move.
pub(super) fn learnt(table: &ParamTable) -> impl Iterator<Item = &ParamInfo> {
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
pub(super) fn place_codes(table: &ParamTable, params: &mut [f32], hex: &str) {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let places = (0..hex.len()).step_by(2);
    let codes: Vec<f32> = places.map(|at| f32::from(byte(at) as i8) / GRID).collect();
    params[entry(table, "quantizer.codebook").range.clone()].copy_from_slice(&codes);
    params[entry(table, "quantizer.sums").range.clone()].copy_from_slice(&codes);
    params[entry(table, "quantizer.counts").range.clone()].fill(1.0);
}

fn entry<'t>(table: &'t ParamTable, name: &str) -> &'t ParamInfo {
    let found = table.entries.iter().find(|entry| entry.name == name);
    found.unwrap_or_else(|| panic!("the model has no {name}"))
}

/// Tiles of one colour under noise.
pub(super) fn pictures(random: &mut Random, batch: usize, side: usize) -> Vec<Picture> {
    let row = side / TILE;
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
        noise[i] + tiles[((n * row + y / TILE) * row + x / TILE) * 3 + c]
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

/// Learnt parameters and the codebook, if there is one, agree with the oracle's.
pub(super) fn assert_tensors(table: &ParamTable, params: &[f32], theirs: &[Tensor]) {
    let codebook = table
        .entries
        .iter()
        .find(|e| e.name == "quantizer.codebook");
    let noisy = theirs.iter().filter(|tensor| tensor.noise > 1e-5).count();
    assert!(noisy * 8 < theirs.len(), "{noisy} tensors are mostly noise");
    let ours: Vec<&ParamInfo> = learnt(table).chain(codebook).collect();
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
