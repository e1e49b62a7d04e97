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
use vq_train::nn::{Chain, ParamInfo, ParamTable, Role, Tape, Weights, Worker};

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

    /// The gradients of all parameters that learn.
    fn gradients(&self, table: &ParamTable) -> Vec<Vec<f32>> {
        let entries = table.entries.iter().enumerate();
        let learnt = entries.filter(|(_, entry)| entry.role.learns());
        learnt
            .map(|(i, _)| self.get(&format!("grad.{i}")).1)
            .collect()
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
    assert_eq!(check_all("layers_more.safetensors"), 21);
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
    let largest = tensors
        .gradients(table)
        .iter()
        .map(|g| size(g))
        .fold([0.0; 2], larger);
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
        let own = size(&wanted);
        // A gradient that is nothing but rounding, such as that of a bias in front of a norm, must be
        // nothing beside the others here too.
        let cancels = own[0] < 1e-6 * largest[0];
        let measure = if cancels { largest } else { own };
        assert_within(name, &place, &found, &wanted, measure);
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

fn assert_close(name: &str, what: &str, found: &Array4<f32>, wanted: &Array4<f32>) {
    assert_eq!(found.dim(), wanted.dim(), "{name}: {what}");
    let (found, wanted) = (found.as_slice().unwrap(), wanted.as_slice().unwrap());
    assert_within(name, what, found, wanted, size(wanted));
}

/// The difference is small beside `measure`, in its Euclidean norm and in its largest value.
fn assert_within(name: &str, what: &str, found: &[f32], wanted: &[f32], measure: [f64; 2]) {
    assert_eq!(found.len(), wanted.len(), "{name}: values of {what}");
    let difference: Vec<f32> = found.iter().zip(wanted).map(|(a, b)| a - b).collect();
    let error = size(&difference);
    let [norm, largest] = [error[0] / measure[0], error[1] / measure[1]];
    assert!(
        norm < TOLERANCE && largest < TOLERANCE,
        "{name}: {what} is off by {norm:e} of its norm, {largest:e} of its largest value"
    );
}

/// Euclidean norm and largest value.
fn size(values: &[f32]) -> [f64; 2] {
    let wide = || values.iter().map(|&v| f64::from(v).abs());
    [
        wide().map(|v| v * v).sum::<f64>().sqrt(),
        wide().fold(0.0, f64::max),
    ]
}

fn larger(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0].max(b[0]), a[1].max(b[1])]
}
