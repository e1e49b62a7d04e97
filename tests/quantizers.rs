//! Every quantiser against PyTorch: codes, values, own loss, gradients, and moving averages over some steps.
//!
//! The fixture is written by `oracle/quantizers.py`, which computes in float64 and names the quantisers as
//! configurations do, so that a new case is a line there and none here.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Deserialize;
use vq_train::config::QuantizerConfig;
use vq_train::nn::ParamTable;
use vq_train::quantizer::{QuantizeAny, Quantized, Quantizer};

/// Of single precision against double, relative to the largest number.
const TOLERANCE: f64 = 1e-5;

type Named = BTreeMap<String, Vec<f32>>;

#[derive(Deserialize)]
struct Case {
    config: QuantizerConfig,
    params: Named,
    z: Vec<f32>,
    probe: Vec<f32>,
    noise: Option<Vec<f32>>,
    codes: Vec<u16>,
    values: Vec<f32>,
    loss: f64,
    dz: Vec<f32>,
    grads: Named,
    #[serde(default)]
    batches: Vec<Vec<f32>>,
    #[serde(default)]
    updated: Named,
}

/// A case's quantiser with its parameters.
struct Made<'c> {
    case: &'c Case,
    quantizer: Quantizer,
    table: ParamTable,
    p: Vec<f32>,
}

impl Case {
    fn make(&self) -> Made<'_> {
        let mut table = ParamTable::default();
        let quantizer = Quantizer::new(&self.config, &mut table);
        let mut p = Vec::new();
        for entry in &table.entries {
            p.extend(&self.params[&entry.name]);
            assert_eq!(p.len(), entry.range.end, "{}", entry.name);
        }
        assert_eq!(table.entries.len(), self.params.len(), "{:?}", self.config);
        Made {
            case: self,
            quantizer,
            table,
            p,
        }
    }
}

impl Made<'_> {
    fn forward(&self, z: &[f32]) -> Quantized<f32> {
        if let (Quantizer::Gumbel(gumbel), Some(noise)) = (&self.quantizer, &self.case.noise) {
            return gumbel.sample(&self.p, z, noise.clone());
        }
        let mut draws = ChaCha8Rng::seed_from_u64(0);
        self.quantizer.of().forward(&self.p, z, Some(&mut draws))
    }

    fn named(&self, flat: &[f32], name: &str) -> Vec<f32> {
        let entry = self.table.entries.iter().find(|e| e.name == name);
        flat[entry.unwrap().range.clone()].to_vec()
    }

    fn assert_near(&self, what: &str, ours: &[f32], theirs: &[f32]) {
        assert_eq!(ours.len(), theirs.len(), "{what}");
        let largest = theirs.iter().fold(1e-3f32, |a, b| a.max(b.abs()));
        for (i, (&a, &b)) in ours.iter().zip(theirs).enumerate() {
            let error = f64::from(a - b).abs() / f64::from(largest);
            let config = &self.case.config;
            assert!(
                error <= TOLERANCE,
                "{config:?}: {what} {i}: {a} here, {b} there"
            );
        }
    }
}

fn cases() -> Vec<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(folder.join("oracle/quantizers.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn choices_losses_and_gradients_agree_with_pytorch() {
    let cases = cases();
    assert_eq!(cases.len(), 15);
    for case in &cases {
        let made = case.make();
        let out = made.forward(&case.z);
        assert_eq!(out.codes, case.codes, "{:?}", case.config);
        made.assert_near("values", &out.values, &case.values);
        made.assert_near("loss", &[out.loss as f32], &[case.loss as f32]);
        let (mut dz, mut grads) = (case.probe.clone(), vec![0.0; made.p.len()]);
        let quantizer = made.quantizer.of();
        quantizer.backward(&made.p, &case.z, &out, &mut dz, &mut grads);
        made.assert_near("dz", &dz, &case.dz);
        for entry in &made.table.entries {
            let ours = made.named(&grads, &entry.name);
            match case.grads.get(&entry.name) {
                Some(theirs) => made.assert_near(&entry.name, &ours, theirs),
                None => assert!(ours.iter().all(|&g| g == 0.0), "{}", entry.name),
            }
        }
    }
}

#[test]
fn moving_averages_agree_with_pytorch_over_several_steps() {
    let cases = cases();
    let followed: Vec<_> = cases
        .iter()
        .filter(|case| !case.updated.is_empty())
        .collect();
    assert_eq!(followed.len(), 2);
    for case in followed {
        let mut made = case.make();
        for z in &case.batches {
            let out = made.forward(z);
            let mut draws = ChaCha8Rng::seed_from_u64(0);
            let quantizer = made.quantizer.of();
            let moved = quantizer.update(&mut made.p, z, &out, &mut draws);
            assert_eq!(moved.codes, 0, "restarts are off");
        }
        for (name, theirs) in &case.updated {
            made.assert_near(name, &made.named(&made.p, name), theirs);
        }
    }
}
