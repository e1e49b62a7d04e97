//! `vq decode`: from packets to pictures.

use crate::messages::note;
use crate::outputs::{Files, Kind, Output, print_json};
use crate::shared::{Result, percent, sorted};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vq_train::codec::{self, Codec, CodecError};
use vq_train::link::drop_packets;
use vq_train::packets::Bundle;

/// Turn packets into PNGs; what is lost is filled in from its neighbours.
///
/// A file may hold the packets of several pictures, in any order: OUT.png then becomes OUT-1.png, OUT-2.png and so
/// on, in the order in which their first packets stand there.
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
    /// Refuse pictures of more megapixels than this of which not a tenth has come
    #[arg(long, value_name = "MEGAPIXELS", default_value_t = 4.0)]
    limit: f64,
    /// Print the figures as JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    images: usize,
    packets_sent: usize,
    packets_used: usize,
    packets_repeated: usize,
    packets_refused: usize,
    /// Files that gave no picture.
    skipped: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let files = Files::read([&args.input, &args.model])?
        .and_folder(&args.input, is_packets)
        .with_json(args.json);
    let mut work = Work {
        args,
        files,
        codec: Codec::load(&args.model)?,
        report: Report::default(),
        written: BTreeMap::new(),
    };
    let inputs = inputs(&args.input)?;
    let paths = inputs.iter().map(PathBuf::as_path);
    let outputs = work
        .files
        .outputs(&args.input, paths, &args.out, Kind::Png)?;
    for (path, out) in inputs.iter().zip(outputs) {
        match work.file(path, out) {
            Err(error) if args.input.is_dir() => {
                note!("skipped: {error}");
                work.report.skipped.push(path.display().to_string());
            }
            done => done?,
        }
    }
    if args.json {
        print_json(&work.report)?;
    }
    match &work.report.skipped[..] {
        [] => Ok(()),
        [first, ..] => {
            let (n, all) = (work.report.skipped.len(), inputs.len());
            Err(format!("{n} of {all} files could not be decoded; the first is {first}").into())
        }
    }
}

/// What one run of the command has at hand.
struct Work<'a> {
    args: &'a Args,
    files: Files,
    codec: Codec,
    report: Report,
    /// Pictures that were written, and the files that they came from.
    written: BTreeMap<String, PathBuf>,
}

impl Work<'_> {
    /// Decodes all pictures of a file; at least one.
    fn file(&mut self, path: &Path, out: Output) -> Result<()> {
        let file = codec::read(path)?;
        let sorted = sorted(path, &file, self.codec.model().stream())?;
        self.report.packets_refused += sorted.faults.len();
        let pictures = sorted.pictures.into_iter();
        let (sparse, mut pictures): (Vec<_>, Vec<_>) =
            pictures.partition(|bundle| self.is_sparse(bundle));
        for bundle in &sparse {
            let error = format!("{}: {}", path.display(), self.too_sparse(bundle));
            if pictures.is_empty() {
                return Err(error.into());
            }
            note!("{error}");
            self.report.packets_refused += bundle.packets.len();
        }
        if let [bundle] = &mut pictures[..] {
            return self.picture(bundle, path, &out);
        }
        for (i, bundle) in pictures.iter_mut().enumerate() {
            let named = |e| format!("{}: {e}", path.display());
            let out = self.files.numbered(&out, Kind::Png, i + 1).map_err(named)?;
            self.picture(bundle, path, &out)?;
        }
        Ok(())
    }

    /// Whether a picture is far larger than its packets can fill.
    fn is_sparse(&self, bundle: &Bundle<'_>) -> bool {
        megapixels(bundle) > self.args.limit
            && bundle.share(self.codec.model().stream()) < LEAST_SHARE
    }

    fn too_sparse(&self, bundle: &Bundle<'_>) -> String {
        let (size, limit) = (bundle.size(), megapixels(bundle).ceil());
        let share = 100.0 * bundle.share(self.codec.model().stream());
        format!(
            "only {share:.2} % of a picture of {size} has come: --limit {limit} decodes it all the same"
        )
    }

    /// Decodes and writes one picture.
    fn picture(&mut self, bundle: &mut Bundle<'_>, path: &Path, out: &Output) -> Result<()> {
        let args = self.args;
        if let Some(other) = self.written.insert(out.to_string(), path.to_owned()) {
            let (a, b) = (other.display(), path.display());
            return Err(format!("{a} and {b} would both become {out}: rename one").into());
        }
        let named = |e: CodecError| format!("{}: {e}", path.display());
        let seed = args.seed.wrapping_add(self.report.images as u64);
        drop_packets(&mut bundle.packets, args.drop / 100.0, seed);
        let got = bundle.receive(self.codec.model().stream()).map_err(named)?;
        let picture = self.codec.decode(&got.codes, got.size).map_err(named)?;
        out.write(&picture.to_png())?;
        note!(
            "{out}: {}, {} of {} packets",
            got.size,
            got.packets,
            got.sent
        );
        self.report.images += 1;
        self.report.packets_sent += got.sent;
        self.report.packets_used += got.packets;
        self.report.packets_repeated += bundle.repeated;
        Ok(())
    }
}

/// The share of a large picture that must have come.
const LEAST_SHARE: f64 = 0.1;

fn megapixels(bundle: &Bundle<'_>) -> f64 {
    let size = bundle.size();
    (size.width * size.height) as f64 / 1e6
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
