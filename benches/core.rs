//! The core's own steps: parse, plan, packets, and whole pictures on every backend that this CPU has.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use vq_benches::{Decode, SIZE, micro, native};
use vq_core::bitstream::{Assembly, CodedPicture, Packets, Stream};
use vq_core::format::Dtype;
use vq_core::threads::decode_strips;
use vq_core::{Element, Encoder, Engine, Model, NoProbe, Picture, PictureSize, Plan, f16};
use vq_tests::Random;
use vq_tests::streamed::{self, FullPlan};

/// Codes of a picture of [`SIZE`].
const CODES: usize = 256;
/// A picture that is worth several threads.
const LARGE: PictureSize = PictureSize {
    width: 1024,
    height: 1024,
};
/// Its codes.
const LARGE_CODES: usize = 128 * 128;

fn parse(criterion: &mut Criterion) {
    let file = micro(Dtype::I8);
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Bytes(file.len() as u64));
    assert!(Model::parse(&file).is_ok() && Model::parse(&file[1..]).is_err());
    group.bench_function("micro", |bencher| {
        bencher.iter(|| Model::parse(black_box(&file)).unwrap().code_id());
    });
    group.finish();
    let model = Model::parse(&file).unwrap();
    let mut plan = Plan::<32>::new();
    let mut scratch_len = || {
        let layout = plan.decoder(black_box(&model), model.native());
        layout.unwrap().scratch_len()
    };
    assert!(scratch_len() > 0);
    criterion.bench_function("plan/micro", |bencher| bencher.iter(&mut scratch_len));
}

/// A picture's codes to packets of 51 bytes, and back.
fn packets(criterion: &mut Criterion) {
    let stream = Stream::new(0xc0de, SIZE, 8, &[512]).unwrap();
    let codes = some_codes();
    let picture = CodedPicture {
        size: SIZE,
        image: 7,
        codes: &codes,
    };
    let write = || -> Vec<Vec<u8>> {
        let packets = Packets::new(&stream, black_box(picture), 51).unwrap();
        let mut buffer = [0; 51];
        let packet = |index| packets.write(index, &mut buffer).unwrap().to_vec();
        (0..packets.count()).map(packet).collect()
    };
    let written = write();
    let mut read = [0; CODES];
    let mut receive = || {
        let mut assembly = Assembly::new(&stream, &mut read);
        for packet in black_box(&written) {
            assembly.add(packet).unwrap();
        }
        assembly.codes() == codes
    };
    assert!(receive());
    let mut group = criterion.benchmark_group("packets");
    group.throughput(Throughput::Elements(CODES as u64));
    group.bench_function("write", |bencher| bencher.iter(write));
    group.bench_function("read", |bencher| bencher.iter(&mut receive));
    group.finish();
}

fn some_codes() -> Vec<u16> {
    let mut random = Random::new(2);
    (0..CODES).map(|_| random.below(512) as u16).collect()
}

fn decode<E: Element>(criterion: &mut Criterion) {
    let file = micro(E::DTYPE);
    let model = Model::parse(&file).unwrap();
    let codes = some_codes();
    let picture = streamed::decode::<E>(&model, SIZE, &codes);
    let mut group = criterion.benchmark_group("decode");
    group.sample_size(10);
    group.throughput(Throughput::Elements(model.decoder().macs(SIZE.grid(8))));
    for backend in native() {
        Decode::<E>::with(&model, SIZE, backend, |decode| {
            assert!(decode.run(&codes, &mut NoProbe) == picture);
            group.bench_function(format!("{:?}/{}", E::DTYPE, backend.name()), |bencher| {
                bencher.iter(|| decode.run(black_box(&codes), &mut NoProbe).len());
            });
        });
    }
    group.finish();
}

fn encode<E: Element>(criterion: &mut Criterion) {
    let file = micro(E::DTYPE);
    let model = Model::parse(&file).unwrap();
    let pixels = Random::new(3).bytes(usize::from(SIZE.width) * usize::from(SIZE.height) * 3);
    let expected = streamed::encode::<E>(&model, SIZE, &pixels);
    let mut group = criterion.benchmark_group("encode");
    group.sample_size(10);
    let macs = model.encoder().map(|encoder| encoder.macs(SIZE.grid(8)));
    group.throughput(Throughput::Elements(macs.unwrap_or(0)));
    for backend in native() {
        let mut plan = FullPlan::on(backend);
        let mut layout = plan.encoder(&model, SIZE).unwrap();
        let mut scratch = vec![E::default(); layout.scratch_len()];
        let row_bytes = layout.row_bytes();
        let mut engine = Engine::new(&mut layout, &mut scratch).unwrap();
        let mut codes = vec![0; CODES];
        let mut run = || {
            let pixels = black_box(&pixels[..]);
            let encoder = Encoder::new(&mut engine, Picture { pixels, row_bytes }).unwrap();
            encoder.encode(&mut codes).unwrap();
            codes == expected
        };
        assert!(run());
        group.bench_function(format!("{:?}/{}", E::DTYPE, backend.name()), |bencher| {
            bencher.iter(&mut run);
        });
    }
    group.finish();
}

/// A large picture by as many threads.
fn strips(criterion: &mut Criterion) {
    let file = micro(Dtype::I8);
    let model = Model::parse(&file).unwrap();
    let mut random = Random::new(4);
    let codes: Vec<_> = (0..LARGE_CODES).map(|_| random.below(512) as u16).collect();
    let mut group = criterion.benchmark_group("strips");
    group.sample_size(10);
    group.throughput(Throughput::Elements(model.decoder().macs(LARGE.grid(8))));
    let mut expected = None;
    for threads in [1, 2] {
        let mut plans = vec![FullPlan::new(); threads];
        let layouts = plans.iter_mut().map(|plan| plan.decoder(&model, LARGE));
        let mut layouts: Vec<_> = layouts.map(Result::unwrap).collect();
        let mut pixels = vec![0; layouts[0].row_bytes() * usize::from(LARGE.height)];
        let scratches = layouts.iter().map(|layout| vec![0; layout.scratch_len()]);
        let mut scratches: Vec<_> = scratches.collect();
        let engines = layouts.iter_mut().zip(&mut scratches);
        let engines = engines.map(|(layout, scratch)| Engine::new(layout, scratch).unwrap());
        let mut engines: Vec<_> = engines.collect();
        decode_strips(&mut engines, &codes, &mut pixels).unwrap();
        assert!(*expected.get_or_insert_with(|| pixels.clone()) == pixels);
        group.bench_function(format!("{threads}"), |bencher| {
            bencher.iter(|| decode_strips(&mut engines, black_box(&codes), &mut pixels).unwrap());
        });
    }
    group.finish();
}

criterion_group!(
    benches,
    parse,
    packets,
    decode::<i8>,
    decode::<f16>,
    decode::<f32>,
    encode::<i8>,
    encode::<f16>,
    encode::<f32>,
    strips,
);
criterion_main!(benches);
