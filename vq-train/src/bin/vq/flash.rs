//! `vq flash`: run a model on a board, and compare.

use crate::messages::note;
use crate::outputs::{Files, Kind, Output, print_beside, print_json, stem};
use crate::shared::{Result, sorted};
use std::path::{Path, PathBuf};
use std::time::Duration;
use vq_train::codec::{self, Codec};
use vq_train::flash::{self, Board, FlashReport, Job, LayerCost, Payload};
use vq_train::packets::join;
use vq_train::picture::Picture;
use vq_train::strip::without_encoder;

/// Build the firmware with this model, run it (QEMU or a real board), measure it, and compare its
/// picture with this machine's, bit for bit.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:  vq flash -m micro.vqm --board mps2-an386 -o decoded.png\n\
                  Pipes:    cat cat.vqc | vq flash -m micro.vqm --codes - -o - > decoded.png"
)]
pub(crate) struct Args {
    /// The model; its encoder is left out.
    #[arg(short, long, value_name = "M.vqm")]
    model: PathBuf,
    /// The board
    #[arg(long, default_value = "mps2-an386")]
    board: String,
    /// The packets to decode; - is standard input [default: a test card of the model's native size]
    #[arg(long, value_name = "X.vqc")]
    codes: Option<PathBuf>,
    /// Write the board's picture, to a file or into a folder; with - it goes to standard output, and the report to
    /// stderr
    #[arg(short, long, value_name = "OUT.png")]
    out: Option<PathBuf>,
    /// Also measure each operator
    #[arg(long)]
    layers: bool,
    /// Seconds that the firmware may run
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Print the report as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let out = output(args)?;
    let codec = Codec::load(&args.model)?;
    let codes = match &args.codes {
        Some(path) => good_packets(&codec, path)?,
        None => test_card(&codec)?,
    };
    let model = without_encoder(codec.bytes())?;
    let job = Job {
        board: Board::find(&args.board)?,
        payload: Payload { model, codes },
        timeout: Duration::from_secs(args.timeout),
    };
    note!("building the firmware and running it on {} ...", args.board);
    let flash::Flashed {
        mut report,
        picture,
    } = flash::decode(&job)?;
    if args.layers {
        report.layers = flash::bench(&job)?;
    }
    if let Some(out) = &out {
        out.write(&picture.to_png())?;
        note!("{out}");
    }
    if args.json {
        print_json(&report)?;
    } else {
        print_beside(out.as_ref(), figures(&report))?;
    }
    if report.identical {
        Ok(())
    } else {
        Err("the board's picture differs from this machine's".into())
    }
}

/// Where the board's picture goes; this is settled before the work begins.
fn output(args: &Args) -> Result<Option<Output>> {
    let files = [&args.model].into_iter().chain(&args.codes);
    let read = Files::read(files)?.with_json(args.json);
    let stem = stem(args.codes.as_ref().unwrap_or(&args.model));
    let out = args.out.as_deref();
    out.map(|out| read.output(out, Kind::Png, &stem))
        .transpose()
}

/// The good packets of a file, those of its first picture.
fn good_packets(codec: &Codec, path: &Path) -> Result<Vec<u8>> {
    let file = codec::read(path)?;
    let pictures = sorted(path, &file, codec.model().stream())?.pictures;
    if pictures.len() > 1 {
        let path = path.display();
        note!("{path}: the first of {} pictures", pictures.len());
    }
    let packets = pictures.first().map_or(&[][..], |bundle| &bundle.packets);
    Ok(join(packets)?)
}

/// The report for people: a line each figure.
fn figures(report: &FlashReport) -> String {
    let mut lines: Vec<String> = report.layers.iter().map(row).collect();
    let (unit, cost) = match (report.instructions, report.cycles) {
        (Some(count), _) => ("instructions", count),
        (None, count) => ("cycles", count.unwrap_or(0)),
    };
    let each = cost as f64 / report.macs as f64;
    let cost = format!(
        "{cost} ({each:.2} a MAC), and {} before the picture",
        report.start
    );
    let bytes = |n: u64| format!("{n} bytes");
    let rows = [
        ("board", report.board.clone()),
        (unit, cost),
        ("MACs", report.macs.to_string()),
        ("scratch", bytes(report.scratch_bytes)),
        ("stack", bytes(report.stack_bytes)),
        ("RAM in all", bytes(report.ram_bytes)),
        ("flash", bytes(report.flash_bytes)),
        ("codes missing", report.missing.to_string()),
        ("identical", report.identical.to_string()),
    ];
    lines.extend(rows.map(|(name, value)| format!("{name:16} {value}")));
    lines.join("\n")
}

/// An operator's line of the table; what multiplies nothing has no cost a MAC.
fn row(layer: &LayerCost) -> String {
    let LayerCost {
        index,
        op,
        macs,
        cost,
    } = layer;
    let each = if *macs > 0 {
        format!("{:6.2} a MAC", *cost as f64 / *macs as f64)
    } else {
        String::new()
    };
    format!("{index:3} {op:15} {macs:>10} MACs {cost:>11} counted {each}")
}

/// Packets of a picture with edges, slopes and colours, or of evenly spread codes where the file
/// cannot encode.
fn test_card(codec: &Codec) -> Result<Vec<u8>> {
    let (size, model) = (codec.native(), codec.model());
    let channels = usize::from(model.channels());
    let codes = if model.encoder().is_some() {
        let sample = |i: usize| {
            let (x, y, c) = (
                i / channels % size.width,
                i / channels / size.width,
                i % channels,
            );
            let ring = x.abs_diff(size.width / 2).pow(2) + y.abs_diff(size.height / 2).pow(2);
            match ring < (size.width.min(size.height) / 3).pow(2) {
                true => 255 * (c == x * 3 / size.width) as usize,
                false => (x * 255 / size.width + y * 128 / size.height) / 2 + 30 * c,
            }
        };
        let pixels = (0..size.width * size.height * channels).map(|i| sample(i).min(255) as u8);
        codec.encode(&Picture::new(size, channels, pixels.collect()))?
    } else {
        let cells = model.native().grid(model.down()).cells();
        let spread = |k: u16| (0..cells).map(move |i| (i * 7919 % u32::from(k)) as u16);
        model
            .codebooks()
            .iter()
            .flat_map(|c| spread(c.codes))
            .collect()
    };
    Ok(join(&codec.packets(&codes, size, None, 65535)?)?)
}
