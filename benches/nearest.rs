//! The search for the nearest of a codebook's entries, by every backend that this CPU has.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use vq_benches::native;
use vq_core::format::Quant;
use vq_core::{HasKernels, Table};
use vq_tests::Random;

/// Vectors of a call.
const VECTORS: usize = 256;
/// K.
const ENTRIES: usize = 512;

fn nearest<E: HasKernels>(criterion: &mut Criterion) {
    for dim in [8, 64] {
        let bytes = Random::new(1).bytes(ENTRIES * dim);
        let numbers: Vec<E> = bytes.iter().map(|&byte| E::from_pixel(byte)).collect();
        let stored: Vec<u8> = match E::DTYPE.size() {
            1 => bytes.iter().map(|byte| byte.wrapping_sub(128)).collect(),
            _ => numbers
                .iter()
                .flat_map(|x| x.real(Quant::UNIT).to_le_bytes())
                .collect(),
        };
        let mut group = criterion.benchmark_group(format!("nearest/{:?}/{dim}", E::DTYPE));
        group.throughput(Throughput::Elements((VECTORS * ENTRIES * dim) as u64));
        for backend in native() {
            let mut memory = vec![E::default(); Table::<E>::memory_len(ENTRIES, dim, backend)];
            let table = Table::new(E::stored(&stored), dim, backend, &mut memory).unwrap();
            let vectors = &numbers[VECTORS * dim..];
            let mut codes = [0; VECTORS];
            table.nearest(vectors, &mut codes);
            let itself = (VECTORS as u16..).zip(codes).all(|(k, code)| k == code);
            assert!(itself, "an entry is nearest to itself");
            group.bench_function(backend.name(), |bencher| {
                bencher.iter(|| table.nearest(black_box(vectors), black_box(&mut codes)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, nearest::<i8>, nearest::<f32>);
criterion_main!(benches);
