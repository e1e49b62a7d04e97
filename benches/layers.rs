//! One layer at a time, on every backend that this CPU has: the shapes of which the figures of CMSIS-NN are known.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::{Duration, Instant};
use vq_benches::{decode_into, native, square};
use vq_core::format::Quant;
use vq_core::{Codec, Direction, Element, HasKernels, NoProbe, PictureSize, Probe, f16};
use vq_tests::{Draft, Random};

/// A layer of `side` x `side` points.
struct Layer {
    name: &'static str,
    side: u16,
    input: u16,
    output: u16,
    kind: Kind,
}

enum Kind {
    /// A convolution with a kernel of so many points along each side.
    Conv(u8),
    /// A transposed convolution of 4x4 that doubles the map, as four phases of 2x2.
    Up,
}

const LAYERS: [Layer; 9] = [
    layer("A", 16, 64, 64, Kind::Conv(3)),
    layer("B", 16, 32, 32, Kind::Conv(3)),
    layer("C", 16, 64, 32, Kind::Conv(1)),
    layer("D", 32, 32, 16, Kind::Conv(3)),
    layer("E", 16, 64, 32, Kind::Up),
    layer("G", 64, 16, 3, Kind::Conv(3)),
    layer("H", 8, 128, 128, Kind::Conv(3)),
    layer("I", 8, 32, 128, Kind::Conv(1)),
    layer("J", 32, 64, 32, Kind::Conv(3)),
];

const fn layer(name: &'static str, side: u16, input: u16, output: u16, kind: Kind) -> Layer {
    Layer {
        name,
        side,
        input,
        output,
        kind,
    }
}

impl Layer {
    /// A decoder of the layer and one more that makes pixels.
    fn file<E: Element>(&self) -> Vec<u8> {
        let down = match self.kind {
            Kind::Conv(_) => 1,
            Kind::Up => 2,
        };
        let mut draft = Draft::new(1, E::DTYPE, 3, down, self.input, &[512]);
        let mut graph = draft.start(draft.latent_map());
        let quant = draft.quant();
        match self.kind {
            Kind::Conv(side) => draft.conv(&mut graph, square(self.output, side, 1), true, quant),
            Kind::Up => draft.upconv(&mut graph, self.output, true, quant),
        }
        draft.conv(&mut graph, square(3, 1, 1), false, Quant::pixel(E::DTYPE));
        draft.decoder = graph.ops;
        draft.file()
    }
}

/// Time spent on value 1.
struct Clock {
    spent: Duration,
    started: Instant,
}

impl<E> Probe<E> for Clock {
    fn before(&mut self, _value: usize) {
        self.started = Instant::now();
    }

    fn after(&mut self, value: usize, _y: u32, _row: &[E]) {
        if value == 1 {
            self.spent += self.started.elapsed();
            self.started = Instant::now();
        }
    }
}

fn layers<E: HasKernels>(criterion: &mut Criterion) {
    for layer in &LAYERS {
        let file = layer.file::<E>();
        let codec = Codec::new(file.clone()).unwrap();
        let model = codec.model();
        let side = layer.side * u16::from(model.down());
        let size = PictureSize {
            width: side,
            height: side,
        };
        let mut random = Random::new(2);
        let codes = usize::from(layer.side) * usize::from(layer.side);
        let codes: Vec<u16> = (0..codes).map(|_| random.below(512) as u16).collect();
        let expected = codec.decode(&codes, size).unwrap();
        let macs = model.decoder().layers().next().unwrap();
        let macs = macs.macs(size.grid(model.down()));
        let mut group = criterion.benchmark_group(format!("layer/{}", layer.name));
        group.throughput(Throughput::Elements(macs)).sample_size(20);
        group.warm_up_time(Duration::from_millis(200));
        group.measurement_time(Duration::from_millis(500));
        for backend in native() {
            let codec = Codec::on(backend, file.clone()).unwrap();
            let name = format!("{:?}/{}", E::DTYPE, backend.name());
            let done = codec.with_engine::<E, _>(Direction::Decode, size, |engine| {
                let mut pixels = vec![0; expected.len()];
                decode_into(engine, &codes, &mut NoProbe, &mut pixels)?;
                assert!(pixels == expected);
                group.bench_function(name, |bencher| {
                    bencher.iter_custom(|iterations| {
                        let mut clock = Clock {
                            spent: Duration::ZERO,
                            started: Instant::now(),
                        };
                        for _ in 0..iterations {
                            decode_into(engine, &codes, &mut clock, &mut pixels).unwrap();
                        }
                        clock.spent
                    });
                });
                Ok(())
            });
            done.unwrap();
        }
        group.finish();
    }
}

criterion_group!(benches, layers::<i8>, layers::<f16>, layers::<f32>);
criterion_main!(benches);
