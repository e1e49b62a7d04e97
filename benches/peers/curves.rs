//! Our side of `curves.py`: the batches that PyTorch trains on, and our own training on them.
//!
//!     curves --data DIR --steps 2000 --batch 256 batches
//!     curves --data DIR --steps 2000 --batch 256 plain START.safetensors
//!     curves --data DIR --steps 2000 --batch 256 defaults --dim 8
//!
//! The first writes a JSON object in a line, then a byte for each value of each picture, batch behind batch,
//! `[n, h, w, c]`; the others a JSON object for each step.

use clap::{Parser, Subcommand};
use serde_json::json;
use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vq_benches::finish;
use vq_train::config::{Config, LayerConfig, OptimizerConfig, PixelLossKind, Schedule, Source};
use vq_train::data::{Dataset, to_pictures};
use vq_train::interchange::{self, Names};
use vq_train::train::{Networks, Trainer};

const CONFIG: &str = include_str!("../../configs/sonnet-cifar10.toml");
/// The codebook's buffers in models.py.
const NAMES: &str = r#"
    quantizer.codebook = "codebook.table"
    quantizer.counts = "codebook.counts"
    quantizer.sums = "codebook.sums""#;

/// Training on the batches of configs/sonnet-cifar10.toml, or the batches themselves.
#[derive(Parser)]
struct Args {
    /// A folder with CIFAR-10's binary files
    #[arg(long)]
    data: PathBuf,
    /// Steps.
    #[arg(long)]
    steps: u64,
    /// Pictures a step.
    #[arg(long)]
    batch: usize,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write the batches and what PyTorch has to know of them
    Batches,
    /// Train as PyTorch does, from the same weights and codes
    Plain {
        /// The state of models.py's network
        start: PathBuf,
    },
    /// Train from our own first weights, with the quantiser as it is by default
    Defaults {
        /// Channels of the latent
        #[arg(long)]
        dim: usize,
        /// The optimiser as it is by default, too: warm-up, a cosine, and clipping
        #[arg(long)]
        optimizer: bool,
    },
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build_global()?;
    let config = comparable(args)?;
    let data = Dataset::load(&config, &[Source::from(args.data.as_path())], None)?;
    match &args.task {
        Task::Batches => batches(args, &config, &data)?,
        Task::Plain { start } => train(args, plain(config, start, &data)?, &data)?,
        Task::Defaults { dim, optimizer } => {
            let mut config = with_latent_channels(config, *dim)?;
            if *optimizer {
                config.optimizer = OptimizerConfig::default();
            }
            train(args, Trainer::new(Networks::build(config)?, &data), &data)?;
        }
    }
    Ok(())
}

/// The configuration with PyTorch's loss and optimiser: MSE and Adam, without warm-up, schedule and clipping.
fn comparable(args: &Args) -> Result<Config, Box<dyn Error>> {
    let mut config = Config::parse(CONFIG, "configs/sonnet-cifar10.toml")?;
    config.loss.kind = PixelLossKind::Mse;
    config.optimizer.schedule = Schedule::Constant;
    config.optimizer.warmup = 0;
    config.optimizer.clip = 0.0;
    config.train.steps = args.steps;
    config.train.batch = args.batch;
    config.check()?;
    Ok(config)
}

/// A trainer of PyTorch's weights and codes, which does not restart codes.
fn plain(mut config: Config, start: &Path, data: &Dataset) -> Result<Trainer, Box<dyn Error>> {
    config.quantizer.restart = 0.0;
    let names = Names::parse(NAMES, "NAMES")?;
    let start = interchange::import(&config, &std::fs::read(start)?, &names, None)?;
    let networks = Networks::build(config)?;
    Ok(Trainer::with_params(
        networks,
        start.checkpoint.params,
        data,
    ))
}

/// The encoder's last convolution makes so many channels.
fn with_latent_channels(mut config: Config, dim: usize) -> Result<Config, Box<dyn Error>> {
    if let Some(LayerConfig::Conv(last)) = config.model.encoder.last_mut() {
        last.out = dim;
    }
    config.quantizer.dim = dim;
    config.check()?;
    Ok(config)
}

fn batches(args: &Args, config: &Config, data: &Dataset) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let [width, height] = config.data.size;
    let shape = [args.batch, height, width, config.model.channels];
    writeln!(
        out,
        "{}",
        json!({ "shape": shape, "variance": data.variance() })
    )?;
    for step in 0..args.steps {
        for picture in to_pictures(&data.batch(step, args.batch)) {
            out.write_all(&picture.pixels)?;
        }
    }
    out.flush()
}

fn train(args: &Args, mut trainer: Trainer, data: &Dataset) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    for step in 0..args.steps {
        let x = data.batch(step, args.batch);
        let report = trainer.train_step(&x, data)?;
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    }
    Ok(())
}
