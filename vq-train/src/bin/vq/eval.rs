//! `vq eval`: how good, at how many bytes, beside whom.

use crate::shared::{Result, encoder, percent, pictures, print, print_json, progress, write};
use std::path::PathBuf;
use vq_train::codec::{Codec, CodecError};
use vq_train::evaluate::{Coded, Setup, evaluate};
use vq_train::link::drop_packets;
use vq_train::metrics::Lpips;
use vq_train::picture::{Picture, Size};
use vq_train::rivals::{Rival, RivalError};
use vq_train::search;

/// Measure bytes, PSNR, SSIM, LPIPS and code usage on a folder of pictures.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:  vq eval photos/ -m micro.vqm --size 128x128 --against jpeg,webp --sheet sheet.png"
)]
pub(crate) struct Args {
    /// A folder of pictures, or one picture.
    input: PathBuf,
    /// The model.
    #[arg(short, long, value_name = "M.vqm")]
    model: PathBuf,
    /// Crop around the centre to these proportions and resample [default: as they are]
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Codecs to compare with, each at the setting nearest in bytes: jpeg,webp
    #[arg(long, value_delimiter = ',')]
    against: Vec<Rival>,
    /// AlexNet weights for LPIPS, a safetensors file [default: the file that VQ_LPIPS names, if any]
    #[arg(long, value_name = "FILE")]
    lpips: Option<PathBuf>,
    /// The most bytes in one packet, 20 to 65535
    #[arg(long, value_name = "BYTES", default_value_t = u16::MAX, value_parser = clap::value_parser!(u16).range(20..))]
    packet: u16,
    /// Codes to try out in place of each, as `vq encode --search`
    #[arg(long, value_name = "CANDIDATES", default_value_t = 0)]
    search: usize,
    /// Lose this share of each picture's packets, at random; one always arrives
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent, allow_negative_numbers = true)]
    drop: f64,
    /// Seed for --drop
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write a contact sheet of the first pictures
    #[arg(long, value_name = "OUT.png")]
    sheet: Option<PathBuf>,
    /// Pictures on the sheet
    #[arg(long, default_value_t = 8)]
    samples: usize,
    /// Print the figures as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// What can fail for one picture.
#[derive(Debug, thiserror::Error)]
enum EvalError {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Rival(#[from] RivalError),
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let codec = encoder(&args.model)?;
    let wanted = args.lpips.is_some() || std::env::var_os(Lpips::VARIABLE).is_some();
    let lpips = wanted
        .then(|| Lpips::find(args.lpips.as_deref()))
        .transpose()?;
    let pictures = pictures(&args.input, args.size)?;
    let codebooks: Vec<usize> = codec
        .model()
        .codebooks()
        .iter()
        .map(|c| usize::from(c.codes))
        .collect();
    let samples = if args.sheet.is_some() {
        args.samples
    } else {
        0
    };
    let setup = Setup {
        lpips: lpips.as_ref(),
        rivals: &args.against,
        codebooks: &codebooks,
        samples,
    };
    let bar = progress(
        pictures.len() as u64,
        "{bar:30} {pos}/{len} pictures [{elapsed} + {eta}]",
    );
    let channels = usize::from(codec.model().channels());
    let pictures: Vec<(PathBuf, Picture)> = pictures
        .into_iter()
        .map(|(path, p)| (path, p.with_channels(channels)))
        .collect();
    let once = |picture: &Picture| coded(&codec, args, picture);
    let outcome = evaluate::<EvalError>(&pictures, setup, once, || bar.inc(1))?;
    bar.finish_and_clear();
    if lpips.is_none() {
        eprintln!(
            "LPIPS is left out: name its weights with --lpips FILE or in {}",
            Lpips::VARIABLE
        );
    }
    if let Some(path) = &args.sheet {
        let title = format!(
            "{} at {:.0} bytes",
            codec.model().name(),
            outcome.report.ours.bytes_mean
        );
        write(
            path,
            &outcome.sheet(&title, &args.against).render().to_png(),
        )?;
        eprintln!("sheet: {}", path.display());
    }
    if args.json {
        return print_json(&outcome.report);
    }
    print(format_args!("{}", outcome.report))?;
    Ok(())
}

/// One picture to packets, through the lossy link, and back.
fn coded(codec: &Codec, args: &Args, picture: &Picture) -> std::result::Result<Coded, EvalError> {
    let codes = search::encode(codec, picture, args.search)?;
    let packets = codec.packets(&codes, picture.size(), 0, args.packet.into())?;
    let bytes = packets.iter().map(Vec::len).sum();
    let mut arrived: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    drop_packets(
        &mut arrived,
        args.drop / 100.0,
        args.seed.wrapping_add(u64::from(codes[0])),
    );
    let received = codec.receive(&arrived)?;
    let decoded = codec.decode(&received.codes, received.size)?;
    let stages = codec.model().codebooks().len();
    let codes = codes
        .chunks(codes.len() / stages)
        .map(<[u16]>::to_vec)
        .collect();
    Ok(Coded {
        picture: decoded,
        bytes,
        codes,
    })
}
