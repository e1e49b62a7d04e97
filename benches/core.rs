//! The core's own steps: parse, plan, decode, encode.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use vq_benches::micro;
use vq_core::format::Dtype;
use vq_core::{Element, Model, Plan, f16};
use vq_tests::{Random, streamed};

fn parse(criterion: &mut Criterion) {
    let file = micro(Dtype::I8);
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Bytes(file.len() as u64));
    group.bench_function("micro", |bencher| {
        bencher.iter(|| Model::parse(black_box(&file)).unwrap().code_id());
    });
    group.finish();
    let model = Model::parse(&file).unwrap();
    let mut plan = Plan::<32>::new();
    criterion.bench_function("plan/micro", |bencher| {
        bencher.iter(|| {
            plan.decoder(black_box(&model), model.native())
                .unwrap()
                .scratch_len()
        });
    });
}

fn decode<E: Element>(criterion: &mut Criterion) {
    let file = micro(E::DTYPE);
    let model = Model::parse(&file).unwrap();
    let mut random = Random::new(2);
    let codes: Vec<u16> = (0..256).map(|_| random.below(512) as u16).collect();
    let size = vq_core::PictureSize {
        width: 128,
        height: 128,
    };
    let picture = streamed::decode::<E>(&model, size, &codes);
    assert_eq!(picture.len(), 128 * 128 * 3);
    let mut group = criterion.benchmark_group("decode");
    group.sample_size(10);
    group.throughput(Throughput::Elements(model.decoder().macs(size.grid(8))));
    group.bench_function(format!("{:?}", E::DTYPE), |bencher| {
        bencher.iter(|| assert!(streamed::decode::<E>(&model, size, black_box(&codes)) == picture));
    });
    group.finish();
}

fn encode<E: Element>(criterion: &mut Criterion) {
    let file = micro(E::DTYPE);
    let model = Model::parse(&file).unwrap();
    let size = vq_core::PictureSize {
        width: 128,
        height: 128,
    };
    let pixels = Random::new(3).bytes(128 * 128 * 3);
    let codes = streamed::encode::<E>(&model, size, &pixels);
    let mut group = criterion.benchmark_group("encode");
    group.sample_size(10);
    let macs = model.encoder().map(|encoder| encoder.macs(size.grid(8)));
    group.throughput(Throughput::Elements(macs.unwrap_or(0)));
    group.bench_function(format!("{:?}", E::DTYPE), |bencher| {
        bencher.iter(|| assert!(streamed::encode::<E>(&model, size, black_box(&pixels)) == codes));
    });
    group.finish();
}

criterion_group!(
    benches,
    parse,
    decode::<i8>,
    decode::<f16>,
    decode::<f32>,
    encode::<i8>,
    encode::<f16>,
    encode::<f32>,
);
criterion_main!(benches);
