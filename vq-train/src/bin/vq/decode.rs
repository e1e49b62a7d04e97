//! `vq decode`: from packets to pictures.

use crate::shared::{Result, output, print_json, write};
use serde::Serialize;
use std::path::{Path, PathBuf};
use vq_train::codec::{Codec, split};
use vq_train::link::drop_packets;

/// Turn packets into a PNG; what is lost is filled in from its neighbours.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:  vq decode cat.vqc -m micro.vqm -o cat.png --drop 20 --seed 1")]
pub(crate) struct Args {
    /// A .vqc file, or a folder of them.
    input: PathBuf,
    /// The model.
    #[arg(short, long, value_name = "M.vqm")]
    model: PathBuf,
    /// The PNG to write, or the folder for them.
    #[arg(short, long)]
    out: PathBuf,
    /// Lose this share of each picture's packets, at random; one always arrives
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
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
    if !(0.0..=100.0).contains(&args.drop) {
        return Err("--drop must be 0 to 100".into());
    }
    let codec = Codec::load(&args.model)?;
    let mut report = Report::default();
    for (i, path) in inputs(&args.input)?.iter().enumerate() {
        let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let file = std::fs::read(path).map_err(|e| named(&e))?;
        let mut packets = split(&file).map_err(|e| named(&e))?;
        drop_packets(
            &mut packets,
            args.drop / 100.0,
            args.seed.wrapping_add(i as u64),
        );
        let got = codec.receive(&packets).map_err(|e| named(&e))?;
        for fault in &got.faults {
            eprintln!("{}: a packet was refused: {fault}", path.display());
        }
        let picture = codec.decode(&got.codes, got.size)?;
        let out = output(path, &args.out, args.input.is_dir(), "png");
        write(&out, &picture.to_png())?;
        eprintln!(
            "{}: {}, {} of {} packets",
            out.display(),
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
    for entry in std::fs::read_dir(input)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "vqc") {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(format!("{}: no .vqc files", input.display()).into());
    }
    Ok(found)
}
