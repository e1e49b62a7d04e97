//! Every layer of the trainer against PyTorch: outputs, and the gradients of inputs and parameters.
//!
//! The fixtures are written by `oracle/layers.py` and `oracle/layers_more.py`, which compute in float64.
//! They name the layers as configurations do, so that a new case is a line there and none here.

use std::fs;
use std::path::PathBuf;

use ndarray::{Array4, Axis};
use safetensors::SafeTensors;
use serde::Deserialize;
use vq_train::config::LayerConfig;
use vq_train::model;
use vq_train::nn::{Chain, Embedding, ParamInfo, ParamTable, Role, Tape, Weights, Worker};

/// Of single precision against double, relative to the whole tensor.
const TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
struct Case {
    layers: Vec<LayerConfig>,
    /// Whether the pass trains, so that there are gradients.
    trains: bool,
}

/// The tensors of one case.
struct Tensors<'f> {
    file: &'f SafeTensors<'f>,
    index: usize,
}

impl Tensors<'_> {
    fn get(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let name = format!("{}/{name}", self.index);
        let tensor = self.file.tensor(&name).unwrap_or_else(|_| panic!("{name}"));
        let value = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
        let values = tensor.data().chunks_exact(4).map(value);
        (tensor.shape().to_vec(), values.collect())
    }

    fn map(&self, name: &str) -> Array4<f32> {
        let (shape, values) = self.get(name);
        let shape: [usize; 4] = shape.try_into().expect("maps have four sizes");
        Array4::from_shape_vec(shape, values).unwrap()
    }

    /// The parameters of the table, all of them.
    fn params(&self, table: &ParamTable) -> Vec<f32> {
        let of = |(i, entry): (usize, &ParamInfo)| {
            let (shape, values) = self.get(&format!("param.{i}"));
            assert_eq!(shape, entry.shape, "{}", entry.name);
            values
        };
        let params = table.entries.iter().enumerate().flat_map(of).collect();
        let next = format!("{}/param.{}", self.index, table.entries.len());
        assert!(self.file.tensor(&next).is_err(), "{next} has no place here");
        params
    }
}

fn oracle(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("oracle");
    fs::read(folder.join(name)).unwrap()
}

#[test]
fn layers_agree_with_pytorch() {
    assert!(check_all("layers.safetensors") >= 15);
}

#[test]
fn pooling_masks_linear_layers_and_spectral_normalisation_agree_with_pytorch() {
    assert_eq!(check_all("layers_more.safetensors"), 25);
}

/// Checks every case of a fixture and says how many there are.
fn check_all(name: &str) -> usize {
    let bytes = oracle(name);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let described = &metadata.metadata().as_ref().unwrap()["cases"];
    let cases: Vec<Case> = serde_json::from_str(described).unwrap();
    let file = &SafeTensors::deserialize(&bytes).unwrap();
    for (index, case) in cases.iter().enumerate() {
        let tensors = Tensors { file, index };
        check(case, &tensors, 1);
        check(case, &tensors, usize::MAX);
    }
    cases.len()
}

#[derive(Deserialize)]
struct Reading {
    weight: Vec<f64>,
    indices: Vec<usize>,
    y: Vec<f64>,
    dy: Vec<f64>,
    grad: Vec<f64>,
}

#[test]
fn an_embedding_agrees_with_pytorch() {
    let case: Reading = serde_json::from_slice(&oracle("embedding.json")).unwrap();
    let mut table = ParamTable::default();
    let embedding = Embedding::new(5, 3, "e", &mut table);
    let mut panels = Vec::new();
    let p = Weights::new(&table, &[], &case.weight, &mut panels);
    let mut y = vec![0.0; case.y.len()];
    embedding.read(&p, case.indices.iter().copied(), &mut y);
    assert_eq!(y, case.y);
    let mut grads = vec![0.0; table.len()];
    embedding.add_grad(case.indices.iter().copied(), &case.dy, &mut grads);
    let error = |(a, b): (&f64, &f64)| (a - b).abs();
    let largest = grads.iter().zip(&case.grad).map(error).fold(0.0, f64::max);
    assert!(largest < 1e-14, "{largest}");
}

/// Runs a case on chunks of so many pictures, as a training step does, and compares everything.
fn check(case: &Case, tensors: &Tensors<'_>, pictures: usize) {
    let name = format!("case {}, {:?}", tensors.index, case.layers);
    let x = tensors.map("x");
    let (chain, table) = model::chain(&case.layers, x.dim().3).unwrap();
    let params = tensors.params(&table);
    let mut panels = Vec::new();
    let pack = if case.trains {
        Weights::new
    } else {
        Weights::in_use
    };
    let p = pack(&table, &[&chain], &params, &mut panels);
    let mut workers = Vec::new();
    let maps = chunks(&x, pictures);
    workers.resize_with(maps.len(), || Worker {
        tape: if case.trains {
            Tape::recording()
        } else {
            Tape::off()
        },
        grads: vec![0.0; table.len()],
    });
    let y = chain.forward_all(&p, maps, &mut workers);
    assert_close(&name, "y", &joined(&y), &tensors.map("y"));
    if case.trains {
        backward(&name, tensors, (&chain, &table), &p, y, workers);
    }
}

fn backward(
    name: &str,
    tensors: &Tensors<'_>,
    (chain, table): (&Chain, &ParamTable),
    p: &Weights<'_, f32>,
    y: Vec<Array4<f32>>,
    mut workers: Vec<Worker<f32>>,
) {
    let maps = chunks(&tensors.map("dy"), y[0].dim().0);
    let dx = chain.backward_all(p, maps, &mut workers);
    assert_close(name, "dx", &joined(&dx), &tensors.map("dx"));
    let sum = |i: usize| workers.iter().map(|w| w.grads[i]).sum::<f32>();
    for (i, entry) in table.entries.iter().enumerate() {
        let found: Vec<f32> = entry.range.clone().map(sum).collect();
        let old = &p.values[entry.range.clone()];
        let (kind, found) = match entry.role {
            Role::Weight | Role::Bias => ("grad", found),
            Role::Statistic { rate } => ("after", follow(old, &found, rate as f32)),
            Role::State => ("after", old.to_vec()),
        };
        let (_, wanted) = tensors.get(&format!("{kind}.{i}"));
        let place = format!("{kind} of {}", entry.name);
        assert_close(name, &place, &found, &wanted);
    }
}

/// p + rate (v - p), as the optimiser does.
fn follow(old: &[f32], measured: &[f32], rate: f32) -> Vec<f32> {
    let both = old.iter().zip(measured);
    both.map(|(&p, &v)| p + rate * (v - p)).collect()
}

fn chunks(map: &Array4<f32>, pictures: usize) -> Vec<Array4<f32>> {
    let chunks = map.axis_chunks_iter(Axis(0), pictures.min(map.dim().0));
    chunks.map(|chunk| chunk.to_owned()).collect()
}

fn joined(maps: &[Array4<f32>]) -> Array4<f32> {
    let views: Vec<_> = maps.iter().map(|map| map.view()).collect();
    ndarray::concatenate(Axis(0), &views).unwrap()
}

/// The difference is small in its Euclidean norm and in its largest value.
fn assert_close<'a, L, R>(name: &str, what: &str, found: L, wanted: R)
where
    L: IntoIterator<Item = &'a f32, IntoIter: ExactSizeIterator>,
    R: IntoIterator<Item = &'a f32, IntoIter: ExactSizeIterator>,
{
    let (found, wanted) = (found.into_iter(), wanted.into_iter());
    assert_eq!(found.len(), wanted.len(), "{name}: values of {what}");
    let (mut error, mut size) = ([0.0f64; 2], [0.0f64; 2]);
    for (&a, &b) in found.zip(wanted) {
        for (sum, v) in [(&mut error, a - b), (&mut size, b)] {
            let v = f64::from(v).abs();
            *sum = [sum[0] + v * v, sum[1].max(v)];
        }
    }
    let norm = (error[0] / size[0]).sqrt();
    let largest = error[1] / size[1];
    assert!(
        norm < TOLERANCE && largest < TOLERANCE,
        "{name}: {what} is off by {norm:e} of its norm, {largest:e} of its largest value"
    );
}
