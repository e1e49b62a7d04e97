//! Every configuration that is shipped builds, trains and, where it is meant to, deploys within its tier.

use std::fs;
use std::path::{Path, PathBuf};
use vq_core::format::Dtype;
use vq_core::{Backend, Direction, PictureSize};
use vq_train::checkpoint::Checkpoint;
use vq_train::codec::Codec;
use vq_train::config::Config;
use vq_train::data::{Dataset, to_batch};
use vq_train::export::{ExportError, Options, export};
use vq_train::loss::Lpips;
use vq_train::model::VqVae;
use vq_train::picture::{Picture, Size};
use vq_train::random::{Purpose, generator};
use vq_train::strip::without_encoder;
use vq_train::train::Trainer;

/// Limits on a decoder with 8-bit weights.
struct Tier {
    name: &'static str,
    macs_per_pixel: u64,
    /// Bytes of the model file without its encoder.
    flash: usize,
    /// Bytes while a picture 128 pixels wide is decoded; none where RAM is plenty.
    ram_at_128: Option<usize>,
}

const TIERS: [Tier; 3] = [
    Tier {
        name: "nano",
        macs_per_pixel: 400,
        flash: 64 << 10,
        ram_at_128: Some(24 << 10),
    },
    Tier {
        name: "micro",
        macs_per_pixel: 2000,
        flash: 256 << 10,
        ram_at_128: Some(64 << 10),
    },
    Tier {
        name: "edge",
        macs_per_pixel: 20_000,
        flash: 2 << 20,
        ram_at_128: None,
    },
];
/// RAM for the stack, which no model file tells; 3,160 bytes were measured on a Cortex-M4.
const STACK: usize = 4 << 10;

fn configs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("configs");
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|e| e.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    paths.sort();
    paths
}

fn picture(config: &Config) -> Picture {
    let [width, height] = config.data.size;
    let channels = config.model.channels;
    let sample = |i: usize| (i * i / 7 + i / 3) as u8;
    let pixels = (0..width * height * channels).map(sample).collect();
    Picture::new(Size { width, height }, channels, pixels)
}

/// A model with its first weights and a codebook, one step on one picture behind its start.
fn trained(path: &Path) -> Trainer {
    let mut config = Config::load(path).unwrap();
    config.train.batch = 1;
    let data = Dataset::from_pictures(&config, vec![picture(&config)], Vec::new());
    let model = VqVae::build(&config).unwrap();
    let mut params: Vec<f32> = model.table.init(&mut generator(1, Purpose::Weights, 0));
    let x = to_batch(&[picture(&config)]);
    let z = model.encode(&params, x.view());
    let values: Vec<f32> = z.iter().copied().collect();
    let quantizer = model.quantizer::<f32>();
    quantizer.place(&mut params, &values, &mut generator(1, Purpose::Codes, 0));
    let checkpoint = Checkpoint::of_params(&config, params, data.variance());
    let mut trainer = Trainer::resume(checkpoint).unwrap();
    if config.loss.lpips > 0.0 {
        let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle/lpips.safetensors");
        trainer.set_lpips(Lpips::find(Some(&small)).unwrap());
    }
    let report = trainer.train_step(&x, &data).unwrap();
    assert!(
        report.loss.is_finite() && report.grad_norm > 0.0,
        "{path:?}: {report:?}"
    );
    trainer
}

#[test]
fn every_configuration_builds_and_trains() {
    let paths = configs();
    for path in &paths {
        let trainer = trained(path);
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(
            trainer.config.name, stem,
            "the name that people type is the model's"
        );
    }
    let has = |name: &str| {
        paths
            .iter()
            .any(|p| p.file_stem().is_some_and(|s| s == name))
    };
    assert!(TIERS.iter().all(|tier| has(tier.name)), "{paths:?}");
}

#[test]
fn deployable_configurations_keep_to_their_tiers() {
    for path in configs() {
        let trainer = trained(&path);
        let options = |dtype| Options {
            dtype,
            encoder: true,
        };
        let pictures = [picture(&trainer.config)];
        let name = trainer.config.name.as_str();
        let tier = TIERS
            .iter()
            .find(|t| name.split('-').next() == Some(t.name));
        match export(&trainer, options(Dtype::I8), &pictures) {
            Ok(file) => {
                let codec = Codec::from_bytes(file).unwrap();
                tier.iter().for_each(|tier| assert_within(tier, &codec));
            }
            Err(ExportError::Levels) if tier.is_none() => {}
            Err(ExportError::Layer { .. }) if tier.is_none() => {
                let file = export(&trainer, options(Dtype::F16), &pictures).unwrap();
                Codec::from_bytes(file).unwrap();
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

/// The figures of `vq info`, against the tier's.
fn assert_within(tier: &Tier, codec: &Codec) {
    let name = tier.name;
    let model = codec.model();
    let macs = model
        .decoder()
        .macs_per_pixel(model.native().grid(model.down()));
    assert!(macs <= tier.macs_per_pixel, "{name}: {macs} MACs a pixel");
    let flash = without_encoder(codec.bytes()).unwrap().len();
    assert!(flash <= tier.flash, "{name}: {flash} bytes of flash");
    let size = PictureSize {
        width: 128,
        height: 128,
    };
    println!("{name}: {macs} MACs a pixel, {flash} bytes of flash");
    let limit = tier.ram_at_128.unwrap_or(usize::MAX);
    // Those of the processors that have a limit.
    for backend in [
        Backend::Scalar,
        Backend::Thumb1,
        Backend::Thumb2,
        Backend::Thumb2Dsp,
        Backend::Helium,
    ] {
        let needs = vq_core::needs(&model, Direction::Decode, size, backend).unwrap();
        let ram = needs.scratch + STACK;
        let backend = backend.name();
        assert!(ram <= limit, "{name}: {ram} bytes of RAM with {backend}");
        println!("{name}: {ram} bytes of RAM with {backend}");
    }
}
