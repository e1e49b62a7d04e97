//! `vq eval`: how good, at how many bytes, beside whom.

use crate::messages::{Bar, note};
use crate::outputs::{Files, Kind, Output, print_beside, print_json};
use crate::shared::{Result, encoder, percent, pictures};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use vq_train::codec::{Codec, CodecError};
use vq_train::evaluate::{Coded, Contestant, Report, Setup, evaluate};
use vq_train::link::drop_packets;
use vq_train::metrics::Lpips;
use vq_train::packets::receive;
use vq_train::picture::{Picture, Size, files};
use vq_train::refine;
use vq_train::rivals::{Rival, RivalError};

/// Measure bytes, PSNR, SSIM, MS-SSIM, LPIPS, SSIMULACRA2 and code usage on a folder of pictures.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:  vq eval photos/ -m micro.vqm --size 128x128 --against jpeg,webp --sheet sheet.png\n\
                  Several:  vq eval photos/ -m vae.vqm -m gan.vqm --against jpeg,webp --sheet sheet.png\n\
                  Pipes:    cat cat.jpg | vq eval - -m micro.vqm --sheet - > sheet.png"
)]
pub(crate) struct Args {
    /// A folder of pictures, or one picture; - is standard input.
    input: PathBuf,
    /// The model; given several times, models side by side, named after their files
    #[arg(short = 'm', long = "model", value_name = "M.vqm", required = true)]
    models: Vec<PathBuf>,
    /// Crop around the centre to these proportions and resample [default: as they are]
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Codecs to compare with, each at the setting nearest in bytes to the (first) model: jpeg,webp
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
    /// Write a contact sheet of the first pictures; with - it goes to standard output, and the figures to stderr
    #[arg(long, value_name = "OUT.png")]
    sheet: Option<PathBuf>,
    /// Pictures on the sheet
    #[arg(long, default_value_t = 8)]
    samples: usize,
    /// Print the figures as JSON on stdout: the (first) model's as fields of the object itself, every model's in
    /// the list `models`, in the order of -m, and the other codecs' in `rivals`
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
    let sheet = sheet(args)?;
    let codecs = args.models.iter().map(|path| encoder(path));
    let codecs = codecs.collect::<Result<Vec<Codec>>>()?;
    let channels = common_channels(args, &codecs)?;
    let lpips = Lpips::named(args.lpips.as_deref());
    let lpips = lpips.map(|path| Lpips::load(&path)).transpose()?;
    let pictures: Vec<(PathBuf, Picture)> = pictures(&args.input, args.size)?
        .into_iter()
        .map(|(path, p)| (path, p.with_channels(channels)))
        .collect();
    let models = contestants(args, &codecs);
    let setup = Setup {
        lpips: lpips.as_ref(),
        models: &models,
        rivals: &args.against,
        samples: args.sheet.as_ref().map_or(0, |_| args.samples),
    };
    let bar = Bar::show(
        pictures.len() as u64,
        0,
        "{bar:30} {pos}/{len} pictures [{elapsed} + {eta}]",
    );
    let once = |model: usize, picture: &Picture| coded(&codecs[model], args, picture);
    let outcome = evaluate::<EvalError>(&pictures, setup, once, || bar.advance())?;
    drop(bar);
    if lpips.is_none() {
        note!(
            "LPIPS is left out: name its weights with --lpips FILE or in {}",
            Lpips::VARIABLE
        );
    }
    if let Some(out) = &sheet {
        let sheet = outcome.sheet(&title(&codecs, &outcome.report), &args.against);
        let written = out.write(&sheet.render().to_png());
        // Whatever became of the sheet, the figures were the longest work.
        written.inspect_err(|_| note!("{}", outcome.report))?;
        note!("sheet: {out}");
    }
    if args.json {
        return print_json(&outcome.report);
    }
    print_beside(sheet.as_ref(), &outcome.report)
}

/// Where the contact sheet goes; this is settled before the work begins.
fn sheet(args: &Args) -> Result<Option<Output>> {
    let lpips = Lpips::named(args.lpips.as_deref());
    let files = args.models.iter().chain([&args.input]).chain(&lpips);
    let read = Files::read(files)?
        .and_folder(&args.input, files::has_picture_name)
        .with_json(args.json);
    let out = args.sheet.as_deref();
    out.map(|out| read.output(out, Kind::Png, "sheet".as_ref()))
        .transpose()
}

/// The channels of all models' pictures.
fn common_channels(args: &Args, codecs: &[Codec]) -> Result<usize> {
    let channels = |codec: &Codec| usize::from(codec.model().channels());
    let first = channels(&codecs[0]);
    let Some(i) = codecs.iter().position(|codec| channels(codec) != first) else {
        return Ok(first);
    };
    let (this, other) = (args.models[i].display(), args.models[0].display());
    let kinds = if first == 1 {
        ["RGB", "grey"]
    } else {
        ["grey", "RGB"]
    };
    let [kind, first] = kinds;
    Err(
        format!("{this} is for {kind} pictures, {other} for {first} ones: measure them apart")
            .into(),
    )
}

/// One model is "vq"; several go by the names of their files, or by whole paths where two are of one name.
fn contestants(args: &Args, codecs: &[Codec]) -> Vec<Contestant> {
    let stem = |path: &Path| {
        path.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let mut names: Vec<String> = args.models.iter().map(|path| stem(path)).collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    if distinct.len() < names.len() {
        names = args
            .models
            .iter()
            .map(|path| path.display().to_string())
            .collect();
    }
    if let [only] = &mut names[..] {
        *only = "vq".into();
    }
    let named = names.into_iter().zip(codecs);
    named
        .map(|(name, codec)| Contestant {
            name,
            codebooks: codec.codebooks(),
        })
        .collect()
}

/// The names that the models were given in training, and what a picture costs with each.
fn title(codecs: &[Codec], report: &Report) -> String {
    let parts = codecs.iter().zip(&report.models).map(|(codec, model)| {
        let bytes = model.figures.bytes_mean;
        format!("{} at {bytes:.0} bytes", codec.model().name())
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// One picture to packets, through the lossy link, and back.
fn coded(codec: &Codec, args: &Args, picture: &Picture) -> std::result::Result<Coded, EvalError> {
    let codes = refine::encode(codec, picture, args.search)?;
    let packets = codec.packets(&codes, picture.size(), None, args.packet.into())?;
    let bytes = packets.iter().map(Vec::len).sum();
    let mut arrived: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    drop_packets(
        &mut arrived,
        args.drop / 100.0,
        args.seed.wrapping_add(u64::from(codes[0])),
    );
    let received = receive(codec.model().stream(), &arrived)?;
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
