//! `vq bench`: how long a decode takes on this CPU, operator by operator, or by the picture's size.

use crate::outputs::{print, print_json};
use crate::shared::Result;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use vq_core::format::Dtype;
use vq_core::{Backend, Decoding, Direction, Engine, HasKernels, NoProbe, Probe, RunError, f16};
use vq_train::codec::{Codec, picture_size};
use vq_train::picture::{Picture, Size};

/// Measure the latency of a decode on this machine.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:  vq bench -m micro.vqm --size 64x64,128x128,256x256\n\
                  Pipes:    cat micro.vqm | vq bench -m -"
)]
pub(crate) struct Args {
    /// The model; - is standard input.
    #[arg(short, long, value_name = "M.vqm")]
    model: PathBuf,
    /// Size of the picture; time and memory of each, if there are several [default: the model's native size]
    #[arg(long, value_name = "WxH,..", value_delimiter = ',')]
    size: Vec<Size>,
    /// Only this backend [default: every one that this CPU has]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Decodes to take the median of
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Print the figures as JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    backend: &'static str,
    threads: usize,
    macs: u64,
    /// What the decoder keeps at this size.
    scratch_bytes: usize,
    /// Median of a whole decode, in microseconds.
    decode_us: f64,
    layers: Vec<LayerTime>,
    /// The backends that this CPU has beside it.
    others: Vec<Other>,
}

#[derive(Debug, Serialize)]
struct Other {
    backend: &'static str,
    decode_us: f64,
}

#[derive(Debug, Serialize)]
struct LayerTime {
    index: usize,
    op: &'static str,
    macs: u64,
    /// Median over the runs, in microseconds; looking on is included.
    us: f64,
}

/// What a decode of one size takes.
#[derive(Debug, Serialize)]
struct SizeReport {
    width: usize,
    height: usize,
    scratch_bytes: usize,
    /// Rows of maps that the decoder keeps: all of the scratch but what the backend works in.
    rings_bytes: usize,
    /// Median of a whole decode, in microseconds.
    decode_us: f64,
    ns_per_pixel: f64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let codec = Codec::load(&args.model)?;
    match codec.model().dtype() {
        Dtype::I8 => bench::<i8>(args, &codec),
        Dtype::F16 => bench::<f16>(args, &codec),
        Dtype::F32 => bench::<f32>(args, &codec),
    }
}

fn bench<E: HasKernels>(args: &Args, codec: &Codec) -> Result<()> {
    let backends = backends(args.backend.as_deref())?;
    let sizes = match args.size[..] {
        [] => &[codec.native()],
        ref sizes => sizes,
    };
    if let [size] = *sizes {
        let report = report::<E>(codec, size, &backends, args.runs)?;
        return if args.json {
            print_json(&report)
        } else {
            print_report(&report, size)
        };
    }
    let by_size = |&size| size_report::<E>(codec, size, backends[0], args.runs);
    let reports: Vec<_> = sizes.iter().map(by_size).collect::<Result<_>>()?;
    let backend = backends[0].name();
    if args.json {
        return print_json(&serde_json::json!({ "backend": backend, "sizes": reports }));
    }
    print_sizes(backend, &reports)
}

fn print_report(report: &Report, size: Size) -> Result<()> {
    print(format_args!(
        "{} at {size}, {} thread",
        report.backend, report.threads
    ))?;
    for l in &report.layers {
        let rate = match l.macs {
            0 => "-".into(),
            macs => format!("{:.2}", macs as f64 / l.us.max(1e-9) / 1e3),
        };
        print(format_args!(
            "{:3} {:15} {:>12} MACs {:>10.1} us {rate:>7} GMAC/s",
            l.index, l.op, l.macs, l.us
        ))?;
    }
    let rate = report.macs as f64 / report.decode_us / 1e3;
    print(format_args!(
        "    decode          {:>12} MACs {:>10.1} us {rate:>7.2} GMAC/s",
        report.macs, report.decode_us
    ))?;
    print(format_args!(
        "    scratch         {:>12} bytes",
        report.scratch_bytes
    ))?;
    for other in &report.others {
        print(format_args!(
            "    {:33} {:>10.1} us",
            other.backend, other.decode_us
        ))?;
    }
    Ok(())
}

fn print_sizes(backend: &str, reports: &[SizeReport]) -> Result<()> {
    print(format_args!(
        "{backend}, 1 thread\n{:>11} {:>12} {:>12} {:>12} {:>9}",
        "size", "scratch B", "rings B", "decode us", "ns/pixel"
    ))?;
    reports.iter().try_for_each(|r| {
        let size = format!("{}x{}", r.width, r.height);
        print(format_args!(
            "{size:>11} {:>12} {:>12} {:>12.1} {:>9.2}",
            r.scratch_bytes, r.rings_bytes, r.decode_us, r.ns_per_pixel
        ))
    })
}

/// The backends to be measured, the fastest first.
fn backends(wanted: Option<&str>) -> Result<Vec<Backend>> {
    let native = Backend::ALL.into_iter().rev().filter(|b| b.is_native());
    let Some(name) = wanted else {
        return Ok(native.collect());
    };
    let found = native.clone().find(|backend| backend.name() == name);
    found.map(|backend| vec![backend]).ok_or_else(|| {
        let names: Vec<_> = native.map(Backend::name).collect();
        format!(
            "no backend {name:?} on this CPU; there are: {}",
            names.join(", ")
        )
        .into()
    })
}

fn report<E: HasKernels>(
    codec: &Codec,
    size: Size,
    backends: &[Backend],
    runs: u32,
) -> Result<Report> {
    let model = codec.model();
    let grid = codec.grid(size)?;
    let codes = some_codes(codec, size)?;
    let expected = codec.decode(&codes, size)?;
    let mut times = Vec::new();
    for &backend in backends {
        times.push(measure::<E>(codec, backend, &codes, &expected, runs)?);
    }
    let best = &times[0];
    let per_layer = model.decoder().layers().map(|layer| LayerTime {
        index: layer.index.into(),
        op: layer.op.name(),
        macs: layer.macs(grid),
        us: best.values[usize::from(layer.index) + 1],
    });
    let others = backends.iter().zip(&times).skip(1);
    Ok(Report {
        backend: backends[0].name(),
        threads: 1,
        macs: model.decoder().macs(grid),
        scratch_bytes: best.scratch_bytes,
        decode_us: best.decode_us,
        layers: per_layer.collect(),
        others: others
            .map(|(backend, times)| Other {
                backend: backend.name(),
                decode_us: times.decode_us,
            })
            .collect(),
    })
}

fn size_report<E: HasKernels>(
    codec: &Codec,
    size: Size,
    backend: Backend,
    runs: u32,
) -> Result<SizeReport> {
    let codes = some_codes(codec, size)?;
    let expected = codec.decode(&codes, size)?;
    let times = measure::<E>(codec, backend, &codes, &expected, runs)?;
    Ok(SizeReport {
        width: size.width,
        height: size.height,
        scratch_bytes: times.scratch_bytes,
        rings_bytes: times.rings_bytes,
        decode_us: times.decode_us,
        ns_per_pixel: times.decode_us * 1e3 / (size.width * size.height) as f64,
    })
}

/// Codes of all stages.
fn some_codes(codec: &Codec, size: Size) -> Result<Vec<u16>> {
    let cells = codec.grid(size)?.cells() as usize;
    let of_stage = |codes: u16| (0..cells).map(move |i| (i * 7919 % usize::from(codes)) as u16);
    let model = codec.model();
    let stages = model.codebooks().iter();
    Ok(stages.flat_map(|stage| of_stage(stage.codes)).collect())
}

/// What one backend takes, in microseconds.
struct Times {
    scratch_bytes: usize,
    rings_bytes: usize,
    decode_us: f64,
    /// By value.
    values: Vec<f64>,
}

/// Decodes with one engine, as someone does who decodes many pictures.
fn measure<E: HasKernels>(
    codec: &Codec,
    backend: Backend,
    codes: &[u16],
    expected: &Picture,
    runs: u32,
) -> Result<Times> {
    let codec = Codec::on(backend, codec.bytes().to_vec())?;
    let (model, size) = (codec.model(), picture_size(expected.size())?);
    let element = model.dtype().size();
    let [scratch_bytes, rings_bytes] = codec.core().with_plan(Direction::Decode, size, |plan| {
        [plan.scratch_len(), plan.rings_len()].map(|len| len * element)
    })?;
    let mut pixels = vec![0; expected.pixels.len()];
    let (mut whole, mut values) = (Vec::new(), Vec::new());
    let core = codec.core();
    core.with_engine::<E, _>(Direction::Decode, size, |engine| {
        for _ in 0..runs {
            let start = Instant::now();
            decode(engine, codes, &mut NoProbe, &mut pixels)?;
            whole.push(start.elapsed());
            assert!(
                pixels == expected.pixels,
                "every decode gives the same picture"
            );
            let mut clock = Clock::new(model.decoder().len() + 1);
            decode(engine, codes, &mut clock, &mut pixels)?;
            values.push(clock.spent);
        }
        Ok(())
    })?;
    let value = |index: usize| median(values.iter().map(|run| run[index]).collect());
    Ok(Times {
        scratch_bytes,
        rings_bytes,
        decode_us: median(whole),
        values: (0..=model.decoder().len()).map(value).collect(),
    })
}

fn decode<E: HasKernels>(
    engine: &mut Engine<'_, E>,
    codes: &[u16],
    probe: &mut impl Probe<E>,
    pixels: &mut [u8],
) -> std::result::Result<(), RunError> {
    let row_bytes = engine.plan().row_bytes();
    let mut decoding = Decoding::rows(engine, codes, 0..u16::MAX)?;
    for pixels in pixels.chunks_exact_mut(row_bytes) {
        decoding.next_row_with(probe, pixels)?;
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// Time spent on each value of a graph.
struct Clock {
    spent: Vec<Duration>,
    started: Instant,
}

impl Clock {
    fn new(values: usize) -> Clock {
        Clock {
            spent: vec![Duration::ZERO; values],
            started: Instant::now(),
        }
    }
}

impl<E> Probe<E> for Clock {
    fn before(&mut self, _value: usize) {
        self.started = Instant::now();
    }

    fn after(&mut self, value: usize, _y: u32, _row: &[E]) {
        self.spent[value] += self.started.elapsed();
        self.started = Instant::now();
    }
}
