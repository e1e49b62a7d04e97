//! `vq encode`: from pictures to packets.

use crate::messages::note;
use crate::outputs::{Files, Kind, print_json};
use crate::shared::{Result, encoder, pictures};
use serde::Serialize;
use std::path::PathBuf;
use vq_train::codec::{CodecError, picture_size};
use vq_train::packets::{Numbers, join};
use vq_train::picture::{Size, files};
use vq_train::refine;

/// Turn a picture, or each picture of a folder, into packets.
///
/// A .vqc file is a row of packets, each behind its length as a little-endian u16; a link that keeps
/// packets apart carries them without it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:  vq encode cat.jpg -m micro.vqm -o cat.vqc --packet 222 --size 128x128\n\
                  Folders:  vq encode photos/ -m micro.vqm -o codes/\n\
                  Pipes:    cat cat.jpg | vq encode - -m micro.vqm -o - > cat.vqc"
)]
pub(crate) struct Args {
    /// A PNG, JPEG or WebP file, or a folder of them; - is standard input.
    input: PathBuf,
    /// The model.
    #[arg(short, long, value_name = "M.vqm")]
    model: PathBuf,
    /// The .vqc file to write, or the folder for it or them; - is standard output.
    #[arg(short, long)]
    out: PathBuf,
    /// The most bytes in one packet, 20 to 65535
    #[arg(long, value_name = "BYTES", default_value_t = u16::MAX, value_parser = clap::value_parser!(u16).range(20..))]
    packet: u16,
    /// Crop around the centre to these proportions and resample [default: code the picture as it is]
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Codes to try out in place of each, by their decoded pixels: some 0.3 dB for 12, in 16 decodes each
    #[arg(long, value_name = "CANDIDATES", default_value_t = 0)]
    search: usize,
    /// Number of the (first) picture, to tell the packets of several apart; below 128 it takes one byte a packet,
    /// else two [default: two bytes made from its codes]
    #[arg(long)]
    image: Option<u16>,
    /// Print the figures as JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    images: usize,
    packets: usize,
    bytes: usize,
    bpp: f64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let read = Files::read([&args.input, &args.model])?
        .and_folder(&args.input, files::has_picture_name)
        .with_json(args.json);
    let codec = encoder(&args.model)?;
    let mut report = Report {
        images: 0,
        packets: 0,
        bytes: 0,
        bpp: 0.0,
    };
    let mut pixels = 0;
    let mut numbers = Numbers::from(args.image);
    let pictures = pictures(&args.input, args.size)?;
    let paths = pictures.iter().map(|(path, _)| path.as_path());
    let outputs = read.outputs(&args.input, paths, &args.out, Kind::Packets)?;
    for ((path, picture), out) in pictures.iter().zip(outputs) {
        let named = |e: CodecError| format!("{}: {e}", path.display());
        let codes = refine::encode(&codec, picture, args.search).map_err(named)?;
        let size = picture_size(picture.size()).map_err(named)?;
        let image = numbers.next(size, &codes);
        let packets = codec
            .packets(&codes, picture.size(), Some(image), args.packet.into())
            .map_err(named)?;
        let bytes: usize = packets.iter().map(Vec::len).sum();
        out.write(&join(&packets)?)?;
        let (size, n) = (picture.size(), packets.len());
        note!("{out}: {size}, {bytes} bytes in {n} packet{}", plural(n));
        report.images += 1;
        report.packets += n;
        report.bytes += bytes;
        pixels += size.width * size.height;
    }
    report.bpp = 8.0 * report.bytes as f64 / pixels as f64;
    if args.json {
        print_json(&report)
    } else {
        Ok(())
    }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}
