//! Steps, averages and codes; adversarial training that goes on where it stopped.

use super::*;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::data::Dataset;
use crate::export::{Options, export};
use crate::health::Event;
use crate::picture::{Picture, Size};
use ndarray::Array4;
use vq_core::format::Dtype;

const CONFIG: &str = r#"
    name = "t"
    data = { kind = "photos", size = [8, 8] }
    model = { channels = 3, encoder = [{ conv = { out = 2, stride = 2 } }],
              decoder = [{ transposed = { out = 3 } }] }
    quantizer = { codes = 4, dim = 2 }
    optimizer = { ema = 0.9 }
    train = { steps = 9, batch = 2 }"#;

fn networks(config: Config) -> Networks {
    Networks::build(config).unwrap()
}

fn photo() -> Picture {
    let size = Size {
        width: 16,
        height: 16,
    };
    Picture::new(size, 3, (0..768).map(|i| (i * i / 7 % 256) as u8).collect())
}

#[test]
fn given_codes_are_not_placed() {
    let config = Config::parse(CONFIG, "test").unwrap();
    let data = Dataset::from_pictures(&config, vec![photo()], Vec::new());
    let x = data.batch(0, 2);
    let fresh = Trainer::new(networks(config.clone()), &data);
    // All four codes are zero, of which the first is taken.
    let params = fresh.params.clone();
    let given = Trainer::with_params(networks(config), params, &data);
    assert!(fresh.tables().is_none() && given.tables().is_some());
    let perplexity = |mut trainer: Trainer| trainer.train_step(&x, &data).unwrap().perplexity;
    let resumed = Trainer::resume(given.checkpoint()).unwrap();
    assert_eq!([given, resumed].map(perplexity), [1.0; 2]);
    assert!(perplexity(fresh) > 1.0);
}

#[test]
fn another_runs_average_is_what_a_run_starts_from() {
    let config = Config::parse(CONFIG, "test").unwrap();
    let data = Dataset::from_pictures(&config, vec![photo()], Vec::new());
    let mut first = Trainer::new(networks(config.clone()), &data);
    let unplaced = Trainer::from_run(networks(config.clone()), first.checkpoint(), &data).unwrap();
    for step in 0..9 {
        first.train_step(&data.batch(step, 2), &data).unwrap();
    }
    // Another loss, and a start of the quantiser that is over already.
    let other = CONFIG.replace(
        "dim = 2 }",
        "dim = 2, start = 5 }\n    loss = { kind = 'l1' }",
    );
    let other = Config::parse(&other, "test").unwrap();
    let second = Trainer::from_run(networks(other), first.checkpoint(), &data).unwrap();
    assert_ne!(first.params, first.deployed());
    assert_eq!(second.params, first.deployed());
    assert_eq!(second.averaged.as_deref(), Some(first.deployed()));
    assert_eq!(second.step, 0);
    assert_eq!(second.tables(), first.tables());
    assert!(unplaced.tables().is_none());
    let mut second = second;
    let report = second.train_step(&data.batch(0, 2), &data).unwrap();
    assert!(report.perplexity >= 1.0, "not quantised at once");
    let wider = Config::parse(&CONFIG.replace("codes = 4", "codes = 8"), "test").unwrap();
    let refused = Trainer::from_run(networks(wider), first.checkpoint(), &data).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("[4, 2]") && text.contains("[8, 2]"), "{text}");
}

#[test]
fn averaged_parameters_are_validated_and_exported() {
    let photo = photo();
    let pictures = [photo.fit(Size {
        width: 8,
        height: 8,
    })];
    let config = Config::parse(CONFIG, "test").unwrap();
    let data = Dataset::from_pictures(&config, vec![photo], Vec::new());
    let mut trainer = Trainer::new(networks(config), &data);
    for step in 0..9 {
        trainer.train_step(&data.batch(step, 2), &data).unwrap();
    }
    let results = |trainer: &Trainer| {
        let options = Options {
            dtype: Dtype::F32,
            encoder: true,
        };
        let file = export(trainer, options, &[]).unwrap();
        (trainer.validate(&pictures).0.nmse, file)
    };
    let kept = results(&trainer);
    let averaged = trainer.averaged.take().unwrap();
    let last = std::mem::replace(&mut trainer.params, averaged);
    assert!(results(&trainer) == kept);
    trainer.params = last;
    let other = results(&trainer);
    assert!(other.0 != kept.0 && other.1 != kept.1);
}

#[test]
fn codes_of_two_levels_train_and_are_refused_for_export_by_name() {
    let levels = "codes = [6, 4], stages = 2, sides = [2, 1], start = 3";
    let text = CONFIG.replace("codes = 4", levels);
    let config = Config::parse(&text, "test").unwrap();
    let pictures: Vec<Picture> = (0..5)
        .map(|n| {
            let size = Size {
                width: 8,
                height: 8,
            };
            let value = |i: usize| ((i + n) * (i + 3 * n) / 5 % 256) as u8;
            Picture::new(size, 3, (0..192).map(value).collect())
        })
        .collect();
    let data = Dataset::from_pictures(&config, pictures.clone(), Vec::new());
    let mut trainer = Trainer::new(networks(config), &data);
    // Before the codes are placed, none is in use.
    let (before, seen) = trainer.validate(&pictures);
    assert_eq!((before.usage, seen.counts), (0.0, vec![0; 10]));
    for step in 0..9 {
        trainer.train_step(&data.batch(step, 2), &data).unwrap();
    }
    let (after, seen) = trainer.validate(&pictures);
    let of_stage = |range: std::ops::Range<usize>| seen.counts[range].iter().sum::<u64>();
    // Each picture has 2x2 coarse codes and 4x4 fine ones.
    assert_eq!((of_stage(0..6), of_stage(6..10)), (5 * 4, 5 * 16));
    assert!(after.nmse.is_finite() && after.stages.len() == 2);
    let options = Options {
        dtype: Dtype::F32,
        encoder: true,
    };
    let error = export(&trainer, options, &[]).unwrap_err().to_string();
    assert!(error.contains("quantizer.sides"), "{error}");
}

/// All losses but LPIPS, whose weights are not here; the penalty on slopes on every second step.
const GAN: &str = r#"
    name = "t"
    data = { kind = "photos", size = [16, 16] }
    model = { channels = 3, encoder = [{ conv = { out = 2, stride = 2 } }],
              decoder = [{ transposed = { out = 3 } }] }
    quantizer = { codes = 4, dim = 2, start = 2 }
    optimizer = { ema = 0.9, warmup = 0, schedule = "constant" }
    train = { steps = 20, batch = 6 }
    loss = { kind = "charbonnier", pixels = 0.9, ms_ssim = 0.5 }
    [gan]
    start = 3
    features = 0.2
    r1 = 1.0
    r1_every = 2
    discriminator = { channels = 4, layers = 1 }"#;

fn adversarial() -> (Trainer, Dataset) {
    let config = Config::parse(GAN, "test").unwrap();
    let large = photo().fit(Size {
        width: 40,
        height: 32,
    });
    let data = Dataset::from_pictures(&config, vec![large], Vec::new());
    (Trainer::new(networks(config), &data), data)
}

fn train(trainer: &mut Trainer, data: &Dataset, until: u64) -> Vec<StepReport> {
    let steps = trainer.step..until;
    let batches = steps.map(|step| data.batch(step, 6));
    batches
        .map(|x| trainer.train_step(&x, data).unwrap())
        .collect()
}

#[test]
fn both_sides_go_on_where_a_checkpoint_was_made() {
    let (mut whole, data) = adversarial();
    let reports = train(&mut whole, &data, 12);
    let (active, before) = (&reports[3], &reports[2]);
    assert!(active.g_weight.is_some() && active.terms.features.is_some());
    assert!(before.g_weight.is_none() && before.adversary.unwrap().d_grad_norm > 0.0);
    assert!(active.terms.ms_ssim.unwrap() < 1.0 && active.terms.lpips.is_none());
    let (mut first, data) = adversarial();
    train(&mut first, &data, 5);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.vqck");
    first.checkpoint().save(&path).unwrap();
    let mut second = Trainer::resume(Checkpoint::load(&path).unwrap()).unwrap();
    train(&mut second, &data, 12);
    assert_eq!(second.checkpoint(), whole.checkpoint());
}

#[test]
fn neither_side_depends_on_the_number_of_threads() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let (mut trainer, data) = adversarial();
            train(&mut trainer, &data, 6);
            trainer.checkpoint()
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn steps_that_are_not_finite_are_skipped_then_answered_then_final() {
    let (mut trainer, data) = adversarial();
    train(&mut trainer, &data, 4);
    let good = trainer.checkpoint();
    let mut bad = data.batch(4, 6);
    bad[[3, 2, 2, 1]] = f32::NAN;
    let mut events = Vec::new();
    let error = loop {
        match trainer.train_step(&bad, &data) {
            Ok(report) => events.push(report.event.unwrap()),
            Err(error) => break error,
        }
    };
    assert_eq!(
        events[..3],
        [Event::Skipped, Event::Skipped, Event::Lowered]
    );
    assert_eq!(events.len(), 14, "{events:?}");
    assert!(matches!(error, TrainError::NotFinite { .. }), "{error}");
    assert_unlearnt(&trainer, &good);
    // A run that recovers learns on, more slowly.
    let lr = train(&mut Trainer::resume(good).unwrap(), &data, 5)[0].lr;
    let report = trainer.train_step(&data.batch(4, 6), &data).unwrap();
    assert!(report.event.is_none() && report.loss.is_finite());
    assert!(report.lr < 0.1 * lr, "{} {lr}", report.lr);
}

/// Nothing has changed but the count of steps, and of those that failed.
fn assert_unlearnt(trainer: &Trainer, good: &Checkpoint) {
    let after = trainer.checkpoint();
    let (step, health) = (good.step, good.health);
    assert_ne!((after.step, after.health), (step, health));
    let after = Checkpoint {
        step,
        health,
        ..after
    };
    assert!(after == *good);
}

#[test]
fn a_discriminator_that_fails_alone_is_treated_alike_and_named() {
    let (mut trainer, data) = adversarial();
    train(&mut trainer, &data, 1);
    let adversary = trainer.adversary_mut().unwrap();
    adversary.params_mut().iter_mut().for_each(|p| *p = 1e30);
    let good = trainer.checkpoint();
    // The adversarial loss is no part of the total yet, so that the generator's own figures are good.
    let x = data.batch(1, 6);
    let first = trainer.train_step(&x, &data).unwrap();
    assert!(first.loss.is_finite() && first.grad_norm.is_finite());
    assert_eq!(first.event, Some(Event::Skipped));
    assert_unlearnt(&trainer, &good);
    let error = loop {
        trainer.step = 1;
        if let Err(error) = trainer.train_step(&x, &data) {
            break error.to_string();
        }
    };
    assert!(error.contains("the discriminator"), "{error}");
}

#[test]
fn the_memory_of_an_adversarial_step_does_not_grow() {
    for adaptive in [true, false] {
        let (trainer, data) = adversarial();
        let mut config = trainer.config;
        config.gan.as_mut().unwrap().adaptive = adaptive;
        let mut trainer = Trainer::new(networks(config), &data);
        // Slopes are penalised on every second step.
        let [early, late] = [8, 14].map(|step| {
            let reports = train(&mut trainer, &data, step);
            assert!(reports.last().unwrap().terms.features.is_some());
            trainer.step_bytes()
        });
        assert_eq!(early, late, "adaptive: {adaptive}");
    }
}

#[test]
fn a_loss_without_its_weights_is_named() {
    let (trainer, data) = adversarial();
    let mut config = trainer.config;
    config.data.size = [32, 32];
    config.loss.lpips = 1.0;
    let mut trainer = Trainer::new(networks(config), &data);
    let x = Array4::zeros((1, 32, 32, 3));
    let error = trainer.train_step(&x, &data).unwrap_err().to_string();
    assert!(
        error.contains("loss.lpips") && error.contains("--lpips"),
        "{error}"
    );
}
