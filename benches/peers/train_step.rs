//! Times full training steps on noise, as `train_step.py` beside it does in PyTorch, and prints the same
//! JSON object.
//!
//!     train-step configs/micro.toml --batch 16 --threads 1 --seconds 10

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use vq_benches::finish;
use vq_train::config::{
    Config, DiscriminatorConfig, GanConfig, LayerConfig, LossConfig, PixelLossKind,
};
use vq_train::data::Dataset;
use vq_train::picture::{Picture, Size};
use vq_train::train::{Networks, Trainer};

/// Blocks of steps, of whose rates the median counts.
const BLOCKS: u32 = 10;
/// Steps before the first block; the first of them also places the codebook.
const WARM_UP: usize = 3;

/// Times full training steps and prints one JSON object.
#[derive(Parser)]
struct Args {
    /// A training configuration; its data is replaced by noise.
    config: PathBuf,
    /// Pictures a step.
    #[arg(long)]
    batch: usize,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Width and height of the pictures, instead of the configuration's.
    #[arg(long)]
    side: Option<usize>,
    /// Channels of the widest layer, instead of the configuration's; all but latent and pixels in proportion.
    #[arg(long)]
    hidden: Option<usize>,
    /// A VQ-GAN's step: L1 and hinge losses, adaptive weight, LeCAM, a PatchGAN of 32 channels.
    #[arg(long)]
    adversarial: bool,
    /// Time to measure for, warm-up excluded.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build_global()?;
    let mut config = comparable(Config::load(&args.config)?, args.batch);
    if args.adversarial {
        config.loss.kind = PixelLossKind::L1;
        config.gan = Some(adversarial());
    }
    if let Some(side) = args.side {
        config.data.size = [side, side];
    }
    if let Some(hidden) = args.hidden {
        widen(&mut config, hidden);
    }
    config.check()?;
    let name = config.name.clone();
    let rate = images_per_second(config, args)?;
    let line = serde_json::json!({
        "workload": name,
        "batch": args.batch,
        "threads": args.threads,
        "images_per_s": (rate * 100.0).round() / 100.0,
        "peak_mib": peak_mib(),
        "engine": "vq",
    });
    println!("{line}");
    Ok(())
}

/// The step that PyTorch is timed on: an autoencoder's, by MSE, no clipping, no restarts, quantised from the first step.
fn comparable(mut config: Config, batch: usize) -> Config {
    config.loss = LossConfig::default();
    config.gan = None;
    config.optimizer.ema = 0.0;
    config.optimizer.clip = 0.0;
    config.quantizer.restart = 0.0;
    config.quantizer.start = 0;
    config.train.batch = batch;
    config
}

fn adversarial() -> GanConfig {
    let discriminator = DiscriminatorConfig {
        channels: 32,
        ..DiscriminatorConfig::default()
    };
    GanConfig {
        discriminator,
        pause_below: 0.0,
        ..GanConfig::default()
    }
}

/// Scales the channels of all layers but the last of each side.
fn widen(config: &mut Config, hidden: usize) {
    let model = &mut config.model;
    let mut sides = [&mut model.encoder, &mut model.decoder].map(|layers| {
        let last = layers.len().saturating_sub(1);
        &mut layers[..last]
    });
    let mut widest = 0;
    for layers in &mut sides {
        each_width(layers, &mut |width| widest = widest.max(*width));
    }
    for layers in &mut sides {
        each_width(layers, &mut |width| *width = *width * hidden / widest);
    }
}

fn each_width(layers: &mut [LayerConfig], change: &mut impl FnMut(&mut usize)) {
    for layer in layers {
        match layer {
            LayerConfig::Conv(conv) => change(&mut conv.out),
            LayerConfig::Transposed(conv) => change(&mut conv.out),
            LayerConfig::Residual(block) => each_width(&mut block.layers, change),
            _ => {}
        }
    }
}

/// The most memory that this process has had, in MiB; none where there is no /proc.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// The median over the blocks.
fn images_per_second(config: Config, args: &Args) -> Result<f64, Box<dyn std::error::Error>> {
    let data = Dataset::from_pictures(&config, noise(&config, args.batch), Vec::new());
    let x = data.batch(0, args.batch);
    let mut trainer = Trainer::new(Networks::build(config)?, &data);
    for _ in 0..WARM_UP {
        trainer.train_step(&x, &data)?;
    }
    let span = Duration::from_secs_f64(args.seconds / f64::from(BLOCKS));
    let mut rates = Vec::new();
    for _ in 0..BLOCKS {
        let (start, mut images) = (Instant::now(), 0);
        while images == 0 || start.elapsed() < span {
            trainer.train_step(&x, &data)?;
            images += args.batch;
        }
        rates.push(images as f64 / start.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let middle = rates.len() / 2;
    Ok((rates[middle - 1] + rates[middle]) / 2.0)
}

/// Pictures of the training size with bytes from a linear congruential generator (Knuth's MMIX).
fn noise(config: &Config, count: usize) -> Vec<Picture> {
    let [width, height] = config.data.size;
    let channels = config.model.channels;
    let mut state = 1u64;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut picture = || {
        let pixels = (0..width * height * channels).map(|_| byte()).collect();
        Picture::new(Size { width, height }, channels, pixels)
    };
    (0..count).map(|_| picture()).collect()
}
