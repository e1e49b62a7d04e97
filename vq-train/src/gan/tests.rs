//! The generator's losses and the discriminator's penalty against finite differences in f64; the discriminator's steps.

use super::discriminator::R1;
use super::*;
use crate::config::{AdversarialLoss, Config, DiscriminatorConfig, DiscriminatorNorm};
use crate::loss::adversarial::{Discriminate, feature_matching, gradient_of_mean, mean};
use crate::nn::{Activation, Workspace, normal};
use crate::optim::Progress;
use ndarray::{Array4, ArrayView4, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const NORMS: [DiscriminatorNorm; 3] = [
    DiscriminatorNorm::Batch,
    DiscriminatorNorm::Spectral,
    DiscriminatorNorm::None,
];

struct Case {
    net: Discriminator,
    params: Vec<f64>,
    x: Array4<f64>,
    y: Array4<f64>,
}

/// Its curves have no kinks, so that differences of any reach are slopes.
fn case(norm: DiscriminatorNorm) -> Case {
    let config = DiscriminatorConfig {
        channels: 3,
        layers: 2,
        norm,
    };
    let net = Discriminator::with_activation(&config, 3, Activation::Silu);
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut params: Vec<f64> = net.table.init(&mut rng);
    for entry in net.table.entries.iter().filter(|e| e.role.learns()) {
        let values = &mut params[entry.range.clone()];
        values.iter_mut().for_each(|p| *p += 0.3 * normal(&mut rng));
    }
    let mut pictures = || Array4::from_shape_simple_fn((3, 18, 20, 3), || 0.5 * normal(&mut rng));
    let (x, y) = (pictures(), pictures());
    let mut case = Case { net, params, x, y };
    // Once they have settled, nothing depends on spectral normalisation's vectors.
    for _ in 0..300 {
        let (_, _, grads) = case.generator(&case.params, &case.y, 0.0);
        for entry in &case.net.table.entries {
            if entry.name.ends_with(".u") || entry.name.ends_with(".v") {
                case.params[entry.range.clone()].copy_from_slice(&grads[entry.range.clone()]);
            }
        }
    }
    case
}

impl Case {
    fn chunks<'x>(x: &'x Array4<f64>) -> Vec<ArrayView4<'x, f64>> {
        x.axis_chunks_iter(Axis(0), 2).collect()
    }

    /// A generator's non-saturating loss and `matching` times that of features, their gradient by y, and by the
    /// parameters.
    fn generator(
        &self,
        params: &[f64],
        y: &Array4<f64>,
        matching: f64,
    ) -> (f64, Array4<f64>, Vec<f64>) {
        let mut space = Workspace::default();
        let (x, y) = (Case::chunks(&self.x), Case::chunks(y));
        space.prepare(x.len(), self.net.table.len(), ChaCha8Rng::seed_from_u64);
        let Workspace { workers, panels } = &mut space;
        let p = &self.net.weights(params, panels);
        let (mut of_real, mut of_fake) = (Vec::new(), Vec::new());
        self.net.forward(p, &x, workers, Some(&mut of_real));
        let fake = self.net.forward(p, &y, workers, Some(&mut of_fake));
        let kind = AdversarialLoss::NonSaturating;
        let loss = mean(&fake, |l| kind.generator(l).0);
        let slopes = gradient_of_mean(fake, |l| kind.generator(l).1);
        let (other, features) = feature_matching(&of_real, of_fake, matching);
        let maps = self.net.backward_features(p, features, slopes, workers);
        space.reduce();
        let views: Vec<_> = maps.iter().map(|map| map.view()).collect();
        let maps = ndarray::concatenate(Axis(0), &views).unwrap();
        (loss + other, maps, space.grads().to_vec())
    }

    /// The mean squared slope, and the penalty's gradient by the parameters.
    fn penalty(&self, params: &[f64], reach: f64) -> (f64, Vec<f64>) {
        let mut space = Workspace::default();
        let x = Case::chunks(&self.x);
        space.prepare(x.len(), self.net.table.len(), ChaCha8Rng::seed_from_u64);
        let Workspace { workers, panels } = &mut space;
        let p = &self.net.weights(params, panels);
        let r1 = R1 { gamma: 2.0, reach };
        let slope = self.net.penalise(p, &x, r1, workers);
        space.reduce();
        (slope, space.grads().to_vec())
    }

    fn assert_gradients(&self, grads: &[f64], tolerance: f64, loss: impl Fn(&[f64]) -> f64) {
        for entry in self.net.table.entries.iter().filter(|e| e.role.learns()) {
            for i in entry.range.clone().step_by(7) {
                let step = 1e-6;
                let at = |side: f64| {
                    let mut params = self.params.clone();
                    params[i] += side * step;
                    loss(&params)
                };
                let numeric = (at(1.0) - at(-1.0)) / (2.0 * step);
                let error = (grads[i] - numeric).abs() / (1e-2 + numeric.abs());
                assert!(
                    error < tolerance,
                    "{} {i}: {} {numeric}",
                    entry.name,
                    grads[i]
                );
            }
        }
    }
}

#[test]
fn the_generators_gradients_are_the_slopes_of_its_losses() {
    for norm in NORMS {
        let case = case(norm);
        let (_, maps, grads) = case.generator(&case.params, &case.y, 0.7);
        for i in (0..case.y.len()).step_by(37) {
            let at = |side: f64| {
                let mut y = case.y.clone();
                y.as_slice_mut().unwrap()[i] += side * 1e-6;
                case.generator(&case.params, &y, 0.7).0
            };
            let numeric = (at(1.0) - at(-1.0)) / 2e-6;
            let analytic = maps.as_slice().unwrap()[i];
            let error = (analytic - numeric).abs() / (1e-4 + numeric.abs());
            assert!(error < 1e-4, "{norm:?} {i}: {analytic} {numeric}");
        }
        // Without feature matching, whose targets move with the parameters.
        let (_, _, plain) = case.generator(&case.params, &case.y, 0.0);
        assert_ne!(plain, grads);
        case.assert_gradients(&plain, 1e-4, |p| case.generator(p, &case.y, 0.0).0);
    }
}

/// gamma = 2: the penalty is the mean squared slope itself.
#[test]
fn the_penalty_on_slopes_has_the_gradient_of_a_second_order_pass() {
    for norm in NORMS {
        let case = case(norm);
        let (slope, grads) = case.penalty(&case.params, 1e-5);
        assert!(slope > 1e-6, "{norm:?}: {slope}");
        case.assert_gradients(&grads, 2e-3, |p| case.penalty(p, 1e-5).0);
    }
}

fn config(fields: &str) -> Config {
    let text = format!(
        r#"
        name = "t"
        data = {{ kind = "photos", size = [16, 16] }}
        model = {{ channels = 3, encoder = [{{ conv = {{ out = 2 }} }}], decoder = [{{ conv = {{ out = 3 }} }}] }}
        quantizer = {{ codes = 4, dim = 2 }}
        train = {{ steps = 100, batch = 4 }}
        [gan]
        discriminator = {{ channels = 4, layers = 1 }}
        {fields}"#
    );
    Config::parse(&text, "test").unwrap()
}

fn pictures(seed: u64) -> Array4<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let bright = if seed == 0 { 0.3 } else { -0.3 };
    Array4::from_shape_simple_fn((4, 16, 16, 3), || (bright + 0.1 * normal(&mut rng)) as f32)
}

fn adversary(config: &Config) -> Adversary {
    let net = Discriminator::build(config).unwrap().unwrap();
    Adversary::new(net, config.gan.as_ref().unwrap(), config.seed)
}

fn learn(
    adversary: &mut Adversary,
    x: &Array4<f32>,
    config: &Config,
    step: u64,
) -> Option<AdversaryReport> {
    let steps = config.train.steps;
    adversary.learn(
        &[x.view()],
        &config.optimizer,
        1.0,
        Progress { step, steps },
    )
}

/// One step of the discriminator on a batch that passes with or without the generator's losses.
fn step(adversary: &mut Adversary, config: &Config, at: u64, generator: bool) -> AdversaryReport {
    let (x, y) = (pictures(0), pictures(1));
    adversary.pass(&[x.view()], std::slice::from_ref(&y), generator);
    learn(adversary, &x, config, at).unwrap()
}

#[test]
fn the_generators_losses_change_nothing_for_the_discriminator() {
    let config = config("features = 1.0\nr1 = 1.0\nr1_every = 2");
    let (mut alone, mut with_generator) = (adversary(&config), adversary(&config));
    for at in 0..4 {
        let one = step(&mut alone, &config, at, false);
        assert_eq!(one, step(&mut with_generator, &config, at, true));
        assert_eq!(one.d_slope.is_some(), at % 2 == 0);
    }
    assert_eq!(alone.params(), with_generator.params());
}

#[test]
fn learning_is_paused_while_the_discriminator_tells_all_pictures_apart() {
    let config = config("lr = 0.01\nlecam = 0.0\npause_below = 0.45");
    let mut adversary = adversary(&config);
    let first = step(&mut adversary, &config, 0, false);
    let reports: Vec<_> = (1..90)
        .map(|at| step(&mut adversary, &config, at, false))
        .collect();
    let last = reports.last().unwrap();
    assert!(
        last.d_loss < 0.5 * first.d_loss && last.d_real > last.d_fake,
        "{last:?}"
    );
    assert!(last.d_paused && last.d_grad_norm == 0.0, "{last:?}");
    // It learns on when pictures and reconstructions are alike.
    let same = pictures(0);
    let learns = (90..290).any(|at| {
        adversary.pass(&[same.view()], std::slice::from_ref(&same), false);
        !learn(&mut adversary, &same, &config, at).unwrap().d_paused
    });
    assert!(learns);
}

#[test]
fn nothing_is_learnt_before_the_configured_step() {
    let config = config("start = 2\nlearns_from = 2");
    let mut adversary = adversary(&config);
    let before = adversary.params().to_vec();
    step(&mut adversary, &config, 0, false);
    step(&mut adversary, &config, 1, false);
    assert_eq!(adversary.params(), before);
    step(&mut adversary, &config, 2, false);
    assert_ne!(adversary.params(), before);
}

#[test]
fn what_is_not_finite_changes_nothing() {
    let config = config("");
    let mut adversary = adversary(&config);
    step(&mut adversary, &config, 0, false);
    let before = adversary.state().clone();
    let (x, mut y) = (pictures(0), pictures(1));
    y[[0, 3, 3, 0]] = f32::NAN;
    adversary.pass(&[x.view()], std::slice::from_ref(&y), true);
    assert!(learn(&mut adversary, &x, &config, 1).is_none());
    assert_eq!(*adversary.state(), before);
}

#[test]
fn pictures_that_are_too_small_are_named() {
    let mut config = config("");
    config.gan.as_mut().unwrap().discriminator.layers = 3;
    let error = Discriminator::build(&config).unwrap_err().to_string();
    assert!(
        error.contains("gan.discriminator.layers") && error.contains("16x16"),
        "{error}"
    );
}
