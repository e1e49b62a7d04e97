//! `vq demo`: the whole story in about two minutes, on photos and a model that are in this program.

use crate::messages::note;
use crate::outputs::{Files, Kind, Output, folder, print, print_json, write};
use crate::shared::Result;
use crate::train::Watcher;
use include_dir::{Dir, include_dir};
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use vq_train::codec::{Codec, CodecError};
use vq_train::config::Config;
use vq_train::data::Dataset;
use vq_train::evaluate::{Coded, Contestant, Report, Setup, evaluate};
use vq_train::link::drop_packets;
use vq_train::metrics::psnr;
use vq_train::packets::{join, receive};
use vq_train::picture::Picture;
use vq_train::rivals::{Rival, RivalError};
use vq_train::run::{self, Observer, Summary};
use vq_train::sheet::{Cell, Sheet};
use vq_train::train::{Networks, StepReport, Trainer, Validation};

/// 64x64 photos to train on, and larger ones that the shipped models have never seen.
static PHOTOS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/photos");
/// Trained by squared errors, and adversarially.
static MODELS: [&[u8]; 2] = [
    include_bytes!("../../../models/micro.vqm"),
    include_bytes!("../../../models/micro-gan.vqm"),
];
static CONFIG: &str = include_str!("../../../../configs/demo.toml");

/// The payload of a LoRaWAN frame at its longest range.
const PACKET: usize = 51;
/// The share of packets that the demonstration loses.
const LOST: f64 = 0.2;

/// Show everything at once: train a small model for a minute, then send photos through packets, lose
/// some, and compare with JPEG and WebP. Needs no other files.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:  vq demo --out demo")]
pub(crate) struct Args {
    /// Folder for the pictures and packets
    #[arg(long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
    /// Seconds to train for at the most
    #[arg(long, default_value_t = 75)]
    seconds: u64,
    /// Print the figures as JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct DemoReport {
    training: Summary,
    #[serde(flatten)]
    figures: Report,
    packet_bytes: usize,
    packets_lost_percent: f64,
    psnr_with_losses: f64,
    sheet: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    folder(&args.out)?;
    let out = args.out.join("sheet.png");
    let out = Files::default().output(&out, Kind::Png, "sheet".as_ref())?;
    note!(
        "1. Training a small model on {} photos of 64x64.",
        photos("train")?.len()
    );
    let training = train_small(args)?;
    note!(
        "   Its reconstructions: {}",
        args.out.join("training.png").display()
    );

    let codecs: Vec<Codec> = MODELS
        .iter()
        .map(|file| Codec::from_bytes(file.to_vec()))
        .collect::<std::result::Result<_, _>>()?;
    let (codec, size) = (&codecs[0], codecs[0].native());
    let pictures: Vec<(PathBuf, Picture)> = photos("demo")?
        .into_iter()
        .map(|(path, p)| (path, p.fit(size)))
        .collect();
    note!(
        "2. The shipped models code {} photos of {size} that they never saw: {} of {} bytes was trained by squared \
         errors, {} adversarially. Packets of {PACKET} bytes; {:.0} % of the packets are lost.",
        pictures.len(),
        codec.model().name(),
        codec.bytes().len(),
        codecs[1].model().name(),
        100.0 * LOST
    );
    let models: Vec<_> = codecs
        .iter()
        .map(|codec| Contestant {
            name: codec.model().name().into(),
            codebooks: codec.codebooks(),
        })
        .collect();
    let setup = Setup {
        lpips: None,
        models: &models,
        rivals: &Rival::ALL,
        samples: pictures.len(),
    };
    let outcome = evaluate::<DemoError>(&pictures, setup, |i, p| whole(&codecs[i], p), || ())?;
    let mut sheet = outcome.sheet("a picture in a packet", &Rival::ALL);
    let behind = 1 + codecs.len();
    let title = format!("{}, {:.0} % lost", codec.model().name(), 100.0 * LOST);
    sheet.columns.insert(behind, title);
    let mut with_losses = 0.0;
    for (i, ((path, picture), row)) in pictures.iter().zip(&mut sheet.rows).enumerate() {
        let (cell, psnr) = lossy(codec, path, picture, i as u16, &args.out)?;
        row.insert(behind, cell);
        with_losses += psnr / pictures.len() as f64;
    }
    out.write(&sheet.render().to_png())?;
    finish(args, training, outcome.report, with_losses, &out)
}

fn finish(
    args: &Args,
    training: Summary,
    figures: Report,
    psnr_with_losses: f64,
    sheet: &Output,
) -> Result<()> {
    if args.json {
        let (packet_bytes, packets_lost_percent) = (PACKET, 100.0 * LOST);
        return print_json(&DemoReport {
            training,
            figures,
            packet_bytes,
            packets_lost_percent,
            psnr_with_losses,
            sheet: sheet.to_string(),
        });
    }
    print(format_args!("{figures}"))?;
    print(format_args!(
        "micro with {:.0} % of its packets lost: {psnr_with_losses:.2} dB",
        100.0 * LOST
    ))?;
    print("")?;
    print(format_args!("Side by side:    {sheet}"))?;
    print(format_args!("Packets (.vqc):  {}", args.out.display()))?;
    print(format_args!(
        "Next:            vq encode YOUR.jpg -m vq-train/models/micro.vqm -o out.vqc --size 128x128"
    ))?;
    print(format_args!(
        "                 vq flash -m vq-train/models/micro.vqm --codes out.vqc -o out.png"
    ))?;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Rival(#[from] RivalError),
}

/// A picture in as few packets as it takes, all of them arriving.
fn whole(codec: &Codec, picture: &Picture) -> std::result::Result<Coded, DemoError> {
    let codes = codec.encode(picture)?;
    let packets = codec.packets(&codes, picture.size(), None, 65535)?;
    let bytes = packets.iter().map(Vec::len).sum();
    let picture = codec.decode(&codes, picture.size())?;
    Ok(Coded {
        picture,
        bytes,
        codes: vec![codes],
    })
}

/// A picture in small packets of which some are lost; the packets that were sent are kept as a file.
fn lossy(
    codec: &Codec,
    path: &Path,
    picture: &Picture,
    image: u16,
    out: &Path,
) -> Result<(Cell, f64)> {
    let codes = codec.encode(picture)?;
    let packets = codec.packets(&codes, picture.size(), Some(image), PACKET)?;
    let stem = path.file_stem().unwrap_or_default();
    write(&out.join(stem).with_extension("vqc"), &join(&packets)?)?;
    let mut arrived: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    drop_packets(&mut arrived, LOST, image.into());
    let received = receive(codec.model().stream(), &arrived)?;
    let decoded = codec.decode(&received.codes, received.size)?;
    let psnr = psnr(picture, &decoded);
    let left = format!("{} of {} packets", received.packets, received.sent);
    Ok((Cell::new(&decoded, &left, &format!("{psnr:.2} dB")), psnr))
}

fn photos(folder: &str) -> Result<Vec<(PathBuf, Picture)>> {
    let folder = PHOTOS
        .get_dir(folder)
        .ok_or("the program was built without its photos")?;
    let load = |file: &include_dir::File<'_>| {
        let picture = Picture::from_file_bytes(file.contents(), file.path())?;
        Ok((file.path().to_owned(), picture.with_channels(3)))
    };
    folder.files().map(load).collect()
}

fn train_small(args: &Args) -> Result<Summary> {
    let config = Config::parse(CONFIG, "configs/demo.toml")?;
    let all: Vec<Picture> = photos("train")?.into_iter().map(|(_, p)| p).collect();
    let side = config.data.size[0];
    let (held, training): (Vec<_>, Vec<_>) =
        all.into_iter().enumerate().partition(|(i, _)| i % 20 == 19);
    let pictures = |list: Vec<(usize, Picture)>| list.into_iter().map(|(_, p)| p).collect();
    let data = Dataset::from_pictures(&config, pictures(training), pictures(held));
    let mut trainer = Trainer::new(Networks::build(config)?, &data);
    let watcher = Watcher::new(&trainer, Arc::new(AtomicBool::new(false)));
    let limit = Duration::from_secs(args.seconds);
    let mut watcher = Limited {
        watcher,
        started: Instant::now(),
        limit,
    };
    let summary = run::train(&mut trainer, &data, None, &mut watcher)?;
    drop(watcher);
    let (decoded, _) = trainer.reconstruct(&data.validation);
    let title = format!("{side}x{side}, after {} steps", summary.steps);
    let sheet = Sheet::of_pairs(&title, data.validation.iter().zip(&decoded));
    write(&args.out.join("training.png"), &sheet.render().to_png())?;
    note!(
        "   {} steps, {:.0} images/s: {:.2} dB on photos held out",
        summary.steps,
        summary.images_per_s,
        summary.psnr
    );
    Ok(summary)
}

/// Watches as `vq train` does, and stops when the time is up.
struct Limited {
    watcher: Watcher,
    started: Instant,
    limit: Duration,
}

impl Observer for Limited {
    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        if self.started.elapsed() > self.limit {
            return ControlFlow::Break(());
        }
        self.watcher.step(report)
    }

    fn validated(&mut self, figures: &Validation) {
        self.watcher.validated(figures);
    }
}
