//! A whole training step: forward, backward, codebook statistics, on a batch of noise.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array4;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::hint::black_box;
use vq_train::config::Config;
use vq_train::loss::PixelLoss;
use vq_train::model::VqVae;
use vq_train::nn::Workspace;

fn step(criterion: &mut Criterion, name: &str, text: &str, batch: usize) {
    let config = Config::parse(text, name).expect("a configuration of this repository");
    let model = VqVae::build(&config).expect("layers whose shapes chain");
    let mut params: Vec<f32> = model.table.init(&mut ChaCha8Rng::seed_from_u64(1));
    let [width, height] = config.data.size;
    let shape = (batch, height, width, config.model.channels);
    let x = Array4::from_shape_fn(shape, |(n, y, x, c)| {
        ((n * 31 + y * 17 + x * 7 + c * 3) % 61) as f32 / 30.0 - 1.0
    });
    let z = model.encode(&params, x.view());
    let values = z.as_slice().expect("maps are contiguous");
    let mut draws = ChaCha8Rng::seed_from_u64(2);
    model.quantizer().place(&mut params, values, &mut draws);
    let mut space = Workspace::default();
    let mut pixels = PixelLoss {
        kind: config.loss.kind,
        scale: 0.3,
    };
    let mut run = || {
        let seed = ChaCha8Rng::seed_from_u64;
        model.step(&mut space, &params, true, x.view(), &mut pixels, seed)
    };
    let (first, second) = (run(), run());
    assert!(
        first.loss.is_finite() && first.loss == second.loss,
        "a step is reproducible"
    );
    let mut group = criterion.benchmark_group("train_step");
    group
        .throughput(Throughput::Elements(batch as u64))
        .sample_size(10);
    group.bench_function(format!("{name}/batch {batch}"), |b| {
        b.iter(|| black_box(run().loss))
    });
    group.finish();
}

fn train_step(criterion: &mut Criterion) {
    step(
        criterion,
        "micro",
        include_str!("../configs/micro.toml"),
        16,
    );
    step(
        criterion,
        "mnist",
        include_str!("../configs/mnist.toml"),
        64,
    );
}

criterion_group!(benches, train_step);
criterion_main!(benches);
