//! `vq export`: from a checkpoint to a model file, or to weights for other frameworks.

use crate::messages::note;
use crate::outputs::{Files, Kind, Output, print_json, stem};
use crate::shared::{Result, source};
use clap::ValueEnum;
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use vq_core::format::Dtype;
use vq_core::format::container::MAGIC;
use vq_train::checkpoint::{Checkpoint, FILE_NAME};
use vq_train::codec::{self, Codec};
use vq_train::config::Source;
use vq_train::data::{DataError, Dataset, to_pictures};
use vq_train::export::{self, LayerError, Options, layer_errors};
use vq_train::interchange;
use vq_train::metrics::psnr;
use vq_train::picture::Picture;
use vq_train::strip;
use vq_train::train::Trainer;

/// Crops that ranges are measured on.
const CROPS: usize = 64;
/// Crops that the cost of each element type is measured on.
const MEASURED: usize = 16;

/// Turn a checkpoint into a model file for devices and for the other commands.
///
/// Prints what each step from f32 to f16 to i8 costs in PSNR, on crops of the calibration data.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:  vq export runs/micro -o micro.vqm --dtype i8 --calibrate photos/\n\
                  Folder:   vq export runs/micro -o models/ --calibrate photos/   (models/micro.vqm)\n\
                  Pipes:    cat checkpoint.vqck | vq export - -o - --calibrate photos/ > micro.vqm"
)]
pub(crate) struct Args {
    /// A run's folder, or a checkpoint; - is standard input.
    run: PathBuf,
    /// The model file to write, or the folder for it; - is standard output.
    #[arg(
        short,
        long,
        value_name = "M.vqm",
        required_unless_present = "safetensors"
    )]
    out: Option<PathBuf>,
    /// Write the weights as they were trained, with PyTorch's names and layouts, and no model file
    #[arg(
        long,
        value_name = "W.safetensors",
        conflicts_with_all = ["out", "dtype", "calibrate", "without_encoder", "without_decoder", "layers", "json"]
    )]
    safetensors: Option<PathBuf>,
    /// Element type of weights and activations
    #[arg(long, value_enum, default_value = "i8")]
    dtype: Type,
    /// Training data to find the ranges of activations on; several folders as for `vq train --data`
    /// [default: data.path or data.mix of the configuration]
    #[arg(long, value_name = "DIR[=WEIGHT]", value_parser = source())]
    calibrate: Vec<Source>,
    /// Leave the encoder out: the file can only decode
    #[arg(long)]
    without_encoder: bool,
    /// Leave the decoder out: the file can only encode, on a camera
    #[arg(long, conflicts_with = "without_encoder")]
    without_decoder: bool,
    /// Show the signal-to-noise ratio of each operator
    #[arg(long)]
    layers: bool,
    /// Print the figures as JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, ValueEnum)]
enum Type {
    F32,
    F16,
    I8,
}

impl From<Type> for Dtype {
    fn from(t: Type) -> Dtype {
        match t {
            Type::F32 => Dtype::F32,
            Type::F16 => Dtype::F16,
            Type::I8 => Dtype::I8,
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    bytes: usize,
    /// Mean PSNR in dB on calibration crops, by element type, down to the exported one.
    psnr: std::collections::BTreeMap<String, f64>,
    layers: Vec<LayerError>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if is_model(&args.run) {
        return strip(args);
    }
    let trainer = Trainer::resume(Checkpoint::load(&args.run)?)?;
    let out = output(args, &trainer)?;
    match args.safetensors {
        Some(_) => weights(&trainer, &out),
        None => model(args, &trainer, &out),
    }
}

/// Whether it is a model file, by its first bytes.
fn is_model(path: &Path) -> bool {
    let mut first = [0; MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && first == MAGIC
}

/// Writes a model file again without one of its parts.
fn strip(args: &Args) -> Result<()> {
    let path = args.run.display();
    let part = match (args.without_encoder, args.without_decoder) {
        (true, _) => strip::without_encoder,
        (_, true) => strip::without_decoder,
        _ => {
            let hint = "--without-encoder or --without-decoder leaves a part of it out";
            return Err(format!("{path} is a model file already, not a checkpoint: {hint}").into());
        }
    };
    let Some(out) = &args.out else {
        let why = "a model file no longer has the weights as they were trained";
        return Err(format!("{path}: {why}: export the run's folder").into());
    };
    let files = Files::read([&args.run])?.with_json(args.json);
    let out = files.output(out, Kind::Model, &stem(&args.run))?;
    let file = part(&codec::read(&args.run)?).map_err(|error| format!("{path}: {error}"))?;
    out.write(&file)?;
    note!("{out}: {} bytes", file.len());
    if !args.json {
        return Ok(());
    }
    print_json(&Report {
        model: out.to_string(),
        bytes: file.len(),
        psnr: Default::default(),
        layers: Vec::new(),
    })
}

/// Where the file goes; this is settled before the work begins.
fn output(args: &Args, trainer: &Trainer) -> Result<Output> {
    let mut read = Files::read([&args.run, &args.run.join(FILE_NAME)])?.with_json(args.json);
    let configured = trainer.config.data.sources();
    for source in args.calibrate.iter().chain(&configured) {
        read = read.and_folder(&source.path, is_data);
    }
    let (out, kind) = match (&args.out, &args.safetensors) {
        (Some(out), _) => (out, Kind::Model),
        (None, Some(out)) => (out, Kind::Safetensors),
        (None, None) => return Err("name a model file with --out".into()),
    };
    read.output(out, kind, &stem(&args.run))
}

/// Whether a file in a folder of data may be data: what this command writes is none.
fn is_data(path: &Path) -> bool {
    let extension = path.extension();
    extension.is_none_or(|e| e != "vqm" && e != "safetensors")
}

fn weights(trainer: &Trainer, out: &Output) -> Result<()> {
    let file = interchange::to_safetensors(&trainer.model, &trainer.params);
    out.write(&file)?;
    note!("{out}: {} bytes", file.len());
    Ok(())
}

fn model(args: &Args, trainer: &Trainer, out: &Output) -> Result<()> {
    let config = &trainer.config;
    let crops = match Dataset::load(config, &args.calibrate, None) {
        Err(DataError::NoPath) => Vec::new(),
        data => to_pictures(&data?.batch(0, CROPS)),
    };
    let export = |dtype, encoder| export::export(trainer, Options { dtype, encoder }, &crops);
    let mut report = Report {
        model: out.to_string(),
        bytes: 0,
        psnr: Default::default(),
        layers: Vec::new(),
    };
    let measured = &crops[..crops.len().min(MEASURED)];
    let mut reference = None;
    for dtype in Type::value_variants()
        .iter()
        .filter(|&&t| t <= args.dtype && !measured.is_empty())
    {
        let codec = Codec::from_bytes(export((*dtype).into(), !args.without_encoder)?)?;
        let encoder = match args.without_encoder {
            true => &Codec::from_bytes(export(Dtype::F32, true)?)?,
            false => &codec,
        };
        let mean = mean_psnr(encoder, &codec, measured)?;
        let first = *reference.get_or_insert(mean);
        note!("{dtype:?}: {mean:.3} dB ({:+.3} dB)", mean - first);
        report
            .psnr
            .insert(format!("{dtype:?}").to_lowercase(), mean);
    }
    if args.layers && !measured.is_empty() {
        let full = Codec::from_bytes(export(Dtype::F32, true)?)?;
        let lowered = Codec::from_bytes(export(args.dtype.into(), !args.without_encoder)?)?;
        report.layers = layer_errors(&full, &lowered, &measured[0])?;
        for l in &report.layers {
            note!("decoder op {:2} {:15} {:5.1} dB", l.index, l.op, l.sqnr);
        }
    }
    let mut file = export(args.dtype.into(), !args.without_encoder)?;
    if args.without_decoder {
        file = strip::without_decoder(&file)?;
    }
    report.bytes = file.len();
    out.write(&file)?;
    note!("{out}: {} bytes", file.len());
    if args.json {
        print_json(&report)
    } else {
        Ok(())
    }
}

/// Of pictures whose codes one model chooses and another decodes.
fn mean_psnr(encoder: &Codec, decoder: &Codec, pictures: &[Picture]) -> Result<f64> {
    let mut sum = 0.0;
    for picture in pictures {
        let codes = encoder.encode(picture)?;
        sum += psnr(picture, &decoder.decode(&codes, picture.size())?);
    }
    Ok(sum / pictures.len() as f64)
}
