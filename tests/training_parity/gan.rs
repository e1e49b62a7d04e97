//! Alternating steps of generator and discriminator, by the fixture of `oracle/gan_steps.py`.

use super::oracle::{self, TOLERANCE, Tensor};
use ndarray::Array4;
use serde::Deserialize;
use std::fs;
use std::path::PathBuf;
use vq_tests::Random;
use vq_train::checkpoint::Checkpoint;
use vq_train::config::Config;
use vq_train::data::{Dataset, to_batch};
use vq_train::model::VqVae;
use vq_train::train::{StepReport, Trainer};

const BATCH: usize = 4;
const SIDE: usize = 32;

/// Half of the layers that a deployable decoder has; the last weights are followed by a shuffle.
const CONFIG: &str = r#"
    name = "t"
    data = { kind = "photos", size = [32, 32] }
    loss = { kind = "l1" }
    optimizer = { lr = 1e-3, warmup = 20, clip = 0.0 }
    train = { steps = 1000, batch = 4 }
    [model]
    channels = 3
    encoder = [
      { unshuffle = 2 },
      { conv = { out = 16, kernel = 4, stride = 2, relu = true } },
      { residual = { relu = true, layers = [{ conv = { out = 8, relu = true } }, { conv = { out = 16, kernel = 1 } }] } },
      { conv = { out = 4, kernel = 1 } },
    ]
    decoder = [
      { conv = { out = 16, relu = true } },
      { transposed = { out = 8, relu = true } },
      { conv = { out = 12 } },
      { shuffle = 2 },
    ]
    [quantizer]
    codes = 8
    dim = 4
    restart = 0.0
    [gan]
    lr = 1e-3
    lecam = 0.05
    lecam_decay = 0.9
    pause_below = 0.0
"#;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    seed: u64,
    how: How,
    /// First codes in units of 1 / grid: signed bytes as hex.
    codes: String,
    steps: Vec<Figures>,
    tensors: Vec<Tensor>,
    discriminator: Vec<Tensor>,
}

#[derive(Deserialize)]
struct How {
    norm: String,
    adaptive: bool,
    weight: f64,
    features: f64,
}

#[derive(Debug, Deserialize)]
struct Figures {
    loss: f64,
    g: f64,
    weight: f64,
    d: f64,
    real: f64,
    fake: f64,
    perplexity: f64,
}

/// Batch normalisation over both chunks of a batch, an adaptive weight, LeCAM.
#[test]
fn ten_steps_of_the_hinge_losses_agree_with_pytorch() {
    agrees("hinge");
}

/// An adaptive weight, feature matching, no normalisation.
#[test]
fn ten_steps_of_the_non_saturating_losses_agree_with_pytorch() {
    agrees("nonsaturating");
}

/// A fixed weight.
#[test]
fn ten_steps_of_the_vanilla_losses_agree_with_pytorch() {
    agrees("vanilla");
}

fn agrees(name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("oracle/gan_steps.json");
    let fixture: Fixture = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let case = fixture.cases.iter().find(|case| case.name == name).unwrap();
    assert_eq!(case.steps.len(), 10);
    let mut random = Random::new(case.seed);
    let mut trainer = begin(case, &mut random);
    let data = Dataset::from_pictures(&trainer.config, Vec::new(), Vec::new());
    for (step, theirs) in case.steps.iter().enumerate() {
        let x: Array4<f32> = to_batch(&oracle::pictures(&mut random, BATCH, SIDE));
        let report = trainer.train_step(&x, &data).unwrap();
        assert_figures(step, &report, theirs);
    }
    oracle::assert_tensors(&trainer.model.table, &trainer.params, &case.tensors);
    let adversary = trainer.adversary().unwrap();
    let (table, params) = (&adversary.net().table, adversary.params());
    oracle::assert_tensors(table, params, &case.discriminator);
}

/// Both sides with the oracle's first weights.
fn begin(case: &Case, random: &mut Random) -> Trainer {
    let How {
        norm,
        adaptive,
        weight,
        features,
    } = &case.how;
    let text = format!(
        "{CONFIG}loss = \"{}\"\nadaptive = {adaptive}\nweight = {weight:?}\nfeatures = {features:?}\n\
         discriminator = {{ channels = 8, layers = 2, norm = \"{norm}\" }}",
        case.name
    );
    let config = Config::parse(&text, "gan.rs").unwrap();
    let model = VqVae::build(&config).unwrap();
    let mut params = vec![0.0; model.table.len()];
    oracle::fill(&model.table, &mut params, random);
    oracle::place_codes(&model.table, &mut params, &case.codes);
    let mut trainer = Trainer::resume(Checkpoint {
        step: 0,
        ..Checkpoint::of_params(&config, params, 1.0)
    })
    .unwrap();
    let adversary = trainer.adversary_mut().unwrap();
    let table = adversary.net().table.clone();
    oracle::fill(&table, adversary.params_mut(), random);
    trainer
}

fn assert_figures(step: usize, ours: &StepReport, theirs: &Figures) {
    let adversary = ours.adversary.unwrap();
    for (name, ours, theirs) in [
        ("loss", ours.loss, theirs.loss),
        ("g", ours.terms.g_loss.unwrap(), theirs.g),
        ("weight", ours.g_weight.unwrap(), theirs.weight),
        ("d", adversary.d_loss, theirs.d),
        ("real", adversary.d_real, theirs.real),
        ("fake", adversary.d_fake, theirs.fake),
        ("perplexity", ours.perplexity, theirs.perplexity),
    ] {
        // Mean logits may lie near 0.
        let error = (ours - theirs).abs() / (theirs.abs() + 0.01);
        assert!(
            error <= TOLERANCE,
            "step {step}, {name}: {ours} here, {theirs} there"
        );
    }
}
