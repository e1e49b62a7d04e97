//! `vq import`: from weights that were trained elsewhere to a checkpoint.

use crate::messages::note;
use crate::outputs::{Files, folder, print_json, write};
use crate::shared::{Result, source};
use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use vq_train::checkpoint::FILE_NAME;
use vq_train::claim::Claim;
use vq_train::config::{Config, Source};
use vq_train::data::Dataset;
use vq_train::input;
use vq_train::interchange::{self, InterchangeError, Names, Pixels};
use vq_train::loss::PixelLoss;
use vq_train::run::CONFIG_NAME;

/// Make a checkpoint of weights that were trained elsewhere, for export or further training.
///
/// The file has PyTorch's names and layouts. Tensors are taken by the names of the map; the others by equal
/// names, or by their order within encoder and decoder. Anything that could be two things is refused.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:  vq import W.safetensors --config mine.toml --out runs/mine --pixels -1..1\n\
                  Pipes:    cat W.safetensors | vq import - --config mine.toml --out runs/mine"
)]
pub(crate) struct Args {
    /// The weights, f32, f16 or bf16; - is standard input.
    weights: PathBuf,
    /// The configuration with the same layers
    #[arg(long, value_name = "C.toml")]
    config: PathBuf,
    /// Folder for the checkpoint
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Names that differ: a TOML file with lines like "encoder.0" = "model.conv_in"
    #[arg(long, value_name = "NAMES.toml")]
    map: Option<PathBuf>,
    /// What 0 and 255 were in training [default: -1 and 127/128, as in vq train]
    #[arg(long, value_name = "LOW..HIGH", allow_hyphen_values = true)]
    pixels: Option<Pixels>,
    /// Pictures for further training: their variance scales the loss [default: it is not scaled]
    #[arg(long, value_name = "DIR[=WEIGHT]", value_parser = source())]
    data: Vec<Source>,
    /// Print what was taken from where as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// No weights that a configuration can describe are as long, even beside an optimiser's state.
const MAX_FILE: u64 = 4 << 30;

#[derive(Debug, Serialize)]
struct Report {
    checkpoint: String,
    /// Numbers in the model's parameters.
    parameters: usize,
    /// Our parameters, and the tensors they were taken from.
    taken: Vec<(String, String)>,
    /// Our parameters that the file does not have, and what they start at.
    assumed: Vec<(String, &'static str)>,
    /// Tensors that nothing was taken from.
    unused: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    folder(&args.out)?;
    let read = Files::read([&args.weights, &args.config].into_iter().chain(&args.map))?;
    let config = Config::load(&args.config)?;
    let claim = Claim::of(&args.out)?;
    let path = args.out.join(FILE_NAME);
    if path.exists() {
        return Err(format!("{} exists: name another --out", path.display()).into());
    }
    let kept = args.out.join(CONFIG_NAME);
    read.refuse_change(&kept, &config.to_toml())?;
    let names = args.map.as_deref().map(Names::load).transpose()?;
    let file = weights(&args.weights)?;
    let named = |e| match e {
        InterchangeError::Config(e) => e.in_file(&args.config.display().to_string()).to_string(),
        e => format!("{}: {e}", args.weights.display()),
    };
    let imported = interchange::import(&config, &file, &names.unwrap_or_default(), args.pixels);
    let mut imported = imported.map_err(named)?;
    if !args.data.is_empty() {
        let variance = Dataset::load(&config, &args.data, None)?.variance();
        imported.checkpoint.scale = PixelLoss::new(config.loss.kind, variance).scale;
    }
    write(&kept, imported.checkpoint.config.as_bytes())?;
    imported.checkpoint.save(&path)?;
    drop(claim);
    let report = Report {
        checkpoint: path.display().to_string(),
        parameters: imported.checkpoint.params.len(),
        taken: imported.taken,
        assumed: imported.assumed,
        unused: imported.unused,
    };
    for (ours, theirs) in &report.taken {
        note!("{ours} <- {theirs}");
    }
    for (ours, origin) in &report.assumed {
        note!("{ours} <- {origin}: the file has none");
    }
    for theirs in &report.unused {
        note!("not used: {theirs}");
    }
    note!("{}: {} numbers", report.checkpoint, report.parameters);
    if args.json {
        print_json(&report)
    } else {
        Ok(())
    }
}

fn weights(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = input::open(path);
    file.and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("{} has more than {MAX_FILE} bytes", path.display()).into());
    }
    Ok(bytes)
}
