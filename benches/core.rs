//! The core's own steps: parse, plan, packets, and whole pictures on every backend that this CPU has.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::thread;
use vq_benches::{SIZE, decode_into, micro, native};
use vq_core::bitstream::{CodedPicture, Packets, Receiver, Stream};
use vq_core::format::Dtype;
use vq_core::{
    Backend, Codec, Direction, Encoding, HasKernels, Model, NoProbe, Picture, PictureSize, f16,
    needs,
};
use vq_tests::Random;

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
    let backend = Backend::best();
    let plan = || needs(black_box(&model), Direction::Decode, SIZE, backend).unwrap();
    assert!(plan().scratch > 0);
    criterion.bench_function("plan/micro", |bencher| bencher.iter(plan));
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
        let mut receiver = Receiver::new(&stream, &mut read);
        for packet in black_box(&written) {
            receiver.push(packet).unwrap();
        }
        receiver.codes() == codes
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

fn decode<E: HasKernels>(criterion: &mut Criterion) {
    let file = micro(E::DTYPE);
    let codes = some_codes();
    let picture = Codec::new(file.clone()).unwrap().decode(&codes, SIZE);
    let picture = picture.unwrap();
    let mut group = criterion.benchmark_group("decode");
    group.sample_size(10);
    for backend in native() {
        let codec = Codec::on(backend, file.clone()).unwrap();
        let model = codec.model();
        group.throughput(Throughput::Elements(model.decoder().macs(SIZE.grid(8))));
        let name = format!("{:?}/{}", E::DTYPE, backend.name());
        let done = codec.with_engine::<E, _>(Direction::Decode, SIZE, |engine| {
            let mut pixels = vec![0; picture.len()];
            decode_into(engine, &codes, &mut NoProbe, &mut pixels)?;
            assert!(pixels == picture);
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    decode_into(engine, black_box(&codes), &mut NoProbe, &mut pixels).unwrap();
                });
            });
            Ok(())
        });
        done.unwrap();
    }
    group.finish();
}

/// What a picture costs through the codec beside what it costs an engine that is ready.
fn facade(criterion: &mut Criterion) {
    let models: [(&str, &[u8]); 2] = [
        ("micro", include_bytes!("../vq-train/models/micro.vqm")),
        (
            "edge-gan",
            include_bytes!("../vq-train/models/edge-gan.vqm"),
        ),
    ];
    for (name, file) in models {
        let codec = Codec::new(file.to_vec()).unwrap();
        let model = codec.model();
        assert_eq!(model.dtype(), Dtype::I8, "{name}");
        let stream = model.stream();
        let mut random = Random::new(5);
        let cells = stream.code_count(SIZE).unwrap() / stream.stages().len();
        let books = stream.stages().iter().flat_map(|&k| vec![k; cells]);
        let codes: Vec<u16> = books.map(|k| random.below(k.into()) as u16).collect();
        let picture = codec.decode(&codes, SIZE).unwrap();
        let mut group = criterion.benchmark_group(format!("facade/{name}"));
        let done = codec.with_engine::<i8, _>(Direction::Decode, SIZE, |engine| {
            let mut pixels = vec![0; picture.len()];
            decode_into(engine, &codes, &mut NoProbe, &mut pixels)?;
            assert!(pixels == picture);
            group.bench_function("engine", |bencher| {
                bencher.iter(|| {
                    decode_into(engine, black_box(&codes), &mut NoProbe, &mut pixels).unwrap();
                });
            });
            Ok(())
        });
        done.unwrap();
        group.bench_function("codec", |bencher| {
            bencher.iter(|| codec.decode(black_box(&codes), SIZE).unwrap());
        });
        group.finish();
    }
}

fn encode<E: HasKernels>(criterion: &mut Criterion) {
    let file = micro(E::DTYPE);
    let pixels = Random::new(3).bytes(usize::from(SIZE.width) * usize::from(SIZE.height) * 3);
    let expected = Codec::new(file.clone()).unwrap().encode(&pixels, SIZE);
    let expected = expected.unwrap();
    let mut group = criterion.benchmark_group("encode");
    group.sample_size(10);
    for backend in native() {
        let codec = Codec::on(backend, file.clone()).unwrap();
        let model = codec.model();
        let macs = model.encoder().map(|encoder| encoder.macs(SIZE.grid(8)));
        group.throughput(Throughput::Elements(macs.unwrap_or(0)));
        let name = format!("{:?}/{}", E::DTYPE, backend.name());
        let done = codec.with_engine::<E, _>(Direction::Encode, SIZE, |engine| {
            let row_bytes = engine.plan().row_bytes();
            let mut codes = vec![0; CODES];
            let mut run = || {
                let pixels = black_box(&pixels[..]);
                let encoding = Encoding::new(engine, Picture { pixels, row_bytes }).unwrap();
                encoding.encode(&mut codes).unwrap();
                codes == expected
            };
            assert!(run());
            group.bench_function(name, |bencher| bencher.iter(&mut run));
            Ok(())
        });
        done.unwrap();
    }
    group.finish();
}

/// A large picture by as many threads.
fn strips(criterion: &mut Criterion) {
    let codec = Codec::new(micro(Dtype::I8)).unwrap();
    let mut random = Random::new(4);
    let codes: Vec<_> = (0..LARGE_CODES).map(|_| random.below(512) as u16).collect();
    let expected = codec.decode(&codes, LARGE).unwrap();
    let mut group = criterion.benchmark_group("strips");
    group.sample_size(10);
    let macs = codec.model().decoder().macs(LARGE.grid(8));
    group.throughput(Throughput::Elements(macs));
    for threads in [1, 2] {
        let mut pixels = vec![0; expected.len()];
        by_threads(&codec, &codes, threads, &mut pixels);
        assert!(pixels == expected);
        group.bench_function(format!("{threads}"), |bencher| {
            bencher.iter(|| by_threads(&codec, black_box(&codes), threads, &mut pixels));
        });
    }
    group.finish();
}

/// Decodes a strip in each thread.
fn by_threads(codec: &Codec, codes: &[u16], threads: u16, pixels: &mut [u8]) {
    let rows = LARGE.height / threads;
    let strips = pixels.chunks_exact_mut(pixels.len() / usize::from(threads));
    thread::scope(|scope| {
        for (i, strip) in (0..threads).zip(strips) {
            let rows = i * rows..(i + 1) * rows;
            scope.spawn(move || codec.decode_rows(codes, LARGE, rows, strip).unwrap());
        }
    });
}

criterion_group!(
    benches,
    parse,
    packets,
    decode::<i8>,
    decode::<f16>,
    decode::<f32>,
    facade,
    encode::<i8>,
    encode::<f16>,
    encode::<f32>,
    strips,
);
criterion_main!(benches);
