//! `vq bench`: how long a decode takes on this CPU, operator by operator.

use crate::shared::{Result, print, print_json};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use vq_core::format::Dtype;
use vq_core::{Element, NoProbe, Probe, f16};
use vq_train::codec::Codec;
use vq_train::picture::{Picture, Size};

/// Measure the latency of a decode on this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:  vq bench -m micro.vqm --size 128x128")]
pub(crate) struct Args {
    /// The model.
    #[arg(short, long, value_name = "M.vqm")]
    model: PathBuf,
    /// Size of the picture [default: the model's native size]
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
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

/// The kernels that the core has.
const BACKENDS: [&str; 1] = ["scalar"];

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
}

#[derive(Debug, Serialize)]
struct LayerTime {
    index: usize,
    op: &'static str,
    macs: u64,
    /// Median over the runs, in microseconds; looking on is included.
    us: f64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let codec = Codec::load(&args.model)?;
    let size = args.size.unwrap_or(codec.native());
    if let Some(name) = &args.backend
        && !BACKENDS.contains(&name.as_str())
    {
        return Err(format!("no backend {name:?}; there are: {}", BACKENDS.join(", ")).into());
    }
    let report = match codec.model().dtype() {
        Dtype::I8 => measure::<i8>(&codec, size, args.runs)?,
        Dtype::F16 => measure::<f16>(&codec, size, args.runs)?,
        Dtype::F32 => measure::<f32>(&codec, size, args.runs)?,
    };
    if args.json {
        return print_json(&report);
    }
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
    ))
}

fn measure<E: Element>(codec: &Codec, size: Size, runs: u32) -> Result<Report> {
    let model = codec.model();
    let stages = model.codebooks();
    let grid = codec.grid(size)?;
    let cells = grid.cells() as usize;
    let codes: Vec<u16> = stages
        .iter()
        .flat_map(|stage| (0..cells).map(|i| (i * 7919 % usize::from(stage.codes)) as u16))
        .collect();
    let expected: Picture = codec.decode(&codes, size)?;
    let (mut whole, mut layers) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let start = Instant::now();
        let picture = codec.decode_with::<E>(&mut NoProbe, &codes, size)?;
        whole.push(start.elapsed());
        assert!(picture == expected, "every decode gives the same picture");
        let mut clock = Clock::new(model.decoder().len() + 1);
        codec.decode_with::<E>(&mut clock, &codes, size)?;
        layers.push(clock.spent);
    }
    let time = |index: usize| median(layers.iter().map(|run| run[index + 1]).collect());
    let per_layer = model.decoder().layers().map(|layer| LayerTime {
        index: layer.index.into(),
        op: layer.op.name(),
        macs: layer.macs(grid),
        us: time(layer.index.into()),
    });
    Ok(Report {
        backend: BACKENDS[0],
        threads: 1,
        macs: model.decoder().macs(grid),
        scratch_bytes: codec.scratch_len(size)? * model.dtype().size(),
        decode_us: median(whole),
        layers: per_layer.collect(),
    })
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
