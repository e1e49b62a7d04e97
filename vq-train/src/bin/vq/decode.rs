//! `vq decode`: from packets to pictures.

use crate::messages::note;
use crate::outputs::{Files, Kind, print_json};
use crate::shared::{Result, packets, percent};
use serde::Serialize;
use std::path::{Path, PathBuf};
use vq_train::codec::{self, Codec};
use vq_train::link::drop_packets;

/// Turn packets into a PNG; what is lost is filled in from its neighbours.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:  vq decode cat.vqc -m micro.vqm -o cat.png --drop 20 --seed 1\n\
                  Folders:  vq decode codes/ -m micro.vqm -o pictures/\n\
                  Pipes:    cat cat.vqc | vq decode - -m micro.vqm -o - > cat.png"
)]
pub(crate) struct Args {
    /// A .vqc file, or a folder of them; - is standard input.
    input: PathBuf,
    /// The model.
    #[arg(short, long, value_name = "M.vqm")]
    model: PathBuf,
    /// The PNG to write, or the folder for it or them; - is standard output.
    #[arg(short, long)]
    out: PathBuf,
    /// Lose this share of each picture's packets, at random; one always arrives
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent, allow_negative_numbers = true)]
    drop: f64,
    /// Seed for --drop
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the figures as JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    images: usize,
    packets_sent: usize,
    packets_used: usize,
    packets_refused: usize,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let read = Files::read([&args.input, &args.model])?
        .and_folder(&args.input, is_packets)
        .with_json(args.json);
    let codec = Codec::load(&args.model)?;
    let mut report = Report::default();
    let inputs = inputs(&args.input)?;
    let paths = inputs.iter().map(PathBuf::as_path);
    let outputs = read.outputs(&args.input, paths, &args.out, Kind::Png)?;
    for (i, (path, out)) in inputs.iter().zip(outputs).enumerate() {
        let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let file = codec::read(path)?;
        let mut packets =
            packets(&file).map_err(|e| format!("{} is no file of packets: {e}", path.display()))?;
        drop_packets(
            &mut packets,
            args.drop / 100.0,
            args.seed.wrapping_add(i as u64),
        );
        let got = codec.receive(&packets).map_err(|e| named(&e))?;
        for fault in &got.faults {
            note!("{}: a packet was refused: {fault}", path.display());
        }
        let picture = codec.decode(&got.codes, got.size).map_err(|e| named(&e))?;
        out.write(&picture.to_png())?;
        note!(
            "{out}: {}, {} of {} packets",
            got.size,
            got.packets,
            got.sent
        );
        report.images += 1;
        report.packets_sent += got.sent;
        report.packets_used += got.packets;
        report.packets_refused += got.faults.len();
    }
    if args.json {
        print_json(&report)
    } else {
        Ok(())
    }
}

fn inputs(input: &Path) -> Result<Vec<PathBuf>> {
    if !input.is_dir() {
        return Ok(vec![input.to_owned()]);
    }
    let mut found = Vec::new();
    collect(input, &mut found)?;
    found.sort();
    if found.is_empty() {
        return Err(format!("{}: no .vqc files", input.display()).into());
    }
    Ok(found)
}

fn is_packets(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "vqc")
}

/// The .vqc files in a folder and the folders below it, as `vq encode` leaves them.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let named = |e: std::io::Error| format!("cannot read {}: {e}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(named)? {
        let entry = entry.map_err(named)?;
        let path = entry.path();
        if entry.file_type().map_err(named)?.is_dir() {
            collect(&path, found)?;
        } else if is_packets(&path) {
            found.push(path);
        }
    }
    Ok(())
}
