//! `vq info`: what is in a model or in a file of packets.

use crate::outputs::{print, print_json};
use crate::shared::{Result, packets as split};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use vq_core::bitstream::Header;
use vq_core::format::container::MAGIC;
use vq_core::model::Network;
use vq_core::{Backend, Direction, Model, PictureSize};
use vq_train::codec::{self, Codec, CodecError};
use vq_train::packets::Frame;
use vq_train::strip::without_encoder;

/// Widths that RAM is told for.
const WIDTHS: [u16; 5] = [64, 128, 256, 512, 1024];

/// Show what is in a model (.vqm) or in packets (.vqc).
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:  vq info micro.vqm\nPipes:    cat cat.vqc | vq info -")]
pub(crate) struct Args {
    /// The file; - is standard input.
    file: PathBuf,
    /// Print as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let bytes = codec::read(&args.file)?;
    if bytes.starts_with(&MAGIC[..3]) || args.file.extension().is_some_and(|e| e == "vqm") {
        return model(&codec(&args.file, bytes)?, args.json);
    }
    packets(&split(&args.file, &bytes)?, args.json)
}

fn codec(path: &Path, bytes: Vec<u8>) -> Result<Codec> {
    Codec::from_bytes(bytes).map_err(|error| match error {
        CodecError::Format(source) => CodecError::Model {
            path: path.to_owned(),
            source,
        }
        .into(),
        other => other.into(),
    })
}

#[derive(Debug, Serialize)]
struct ModelInfo {
    name: String,
    code_id: String,
    dtype: String,
    channels: u8,
    down: u8,
    native: String,
    dim: u16,
    codebooks: Vec<u16>,
    file_bytes: usize,
    /// The file's bytes without the encoder; none where it has no decoder.
    decoder_file_bytes: Option<usize>,
    /// None in a file for senders.
    decoder: Option<GraphInfo>,
    encoder: Option<GraphInfo>,
}

#[derive(Debug, Serialize)]
struct GraphInfo {
    macs_per_pixel: u64,
    tensor_bytes: u64,
    /// Whether scratch grows with the picture's height too.
    sees_whole_map: bool,
    /// Scratch in bytes by backend and the picture's width; where it grows with the height, for square pictures.
    scratch_bytes: BTreeMap<&'static str, BTreeMap<u16, usize>>,
    layers: Vec<LayerInfo>,
}

#[derive(Debug, Serialize)]
struct LayerInfo {
    index: u16,
    op: &'static str,
    reads: u16,
    channels_in: u16,
    channels_out: u16,
    macs_per_pixel: f64,
    bytes: u64,
}

fn model(codec: &Codec, json: bool) -> Result<()> {
    let m = codec.model();
    let info = ModelInfo {
        name: m.name().into(),
        code_id: format!("{:08x}", m.code_id()),
        dtype: format!("{:?}", m.dtype()).to_lowercase(),
        channels: m.channels(),
        down: m.down(),
        native: format!("{}x{}", m.native().width, m.native().height),
        dim: m.dim(),
        codebooks: m.codebooks().iter().map(|c| c.codes).collect(),
        file_bytes: codec.bytes().len(),
        decoder_file_bytes: without_encoder(codec.bytes()).ok().map(|file| file.len()),
        decoder: Some(m.decoder())
            .filter(|decoder| !decoder.is_empty())
            .map(|decoder| graph(&m, decoder, Direction::Decode))
            .transpose()?,
        encoder: m
            .encoder()
            .map(|e| graph(&m, e, Direction::Encode))
            .transpose()?,
    };
    if json {
        return print_json(&info);
    }
    print(format_args!(
        "{}: {} model, code id {}",
        info.name, info.dtype, info.code_id
    ))?;
    print(format_args!(
        "  native {} with {} channels, {} pixels a code each way, codes {:?} of {} dimensions",
        info.native, info.channels, info.down, info.codebooks, info.dim
    ))?;
    let file = info.file_bytes;
    match info.decoder_file_bytes {
        Some(bare) => print(format_args!(
            "  file {file} bytes, {bare} of them without the encoder"
        ))?,
        None => print(format_args!("  file {file} bytes, for senders: no decoder"))?,
    }
    for (name, graph) in [("decoder", &info.decoder), ("encoder", &info.encoder)] {
        graph
            .iter()
            .try_for_each(|graph| print_graph(name, graph))?;
    }
    Ok(())
}

fn graph(model: &Model<'_>, network: Network<'_>, direction: Direction) -> Result<GraphInfo> {
    let grid = model.native().grid(model.down());
    let pixels = f64::from(grid.cells()) * f64::from(model.down()).powi(2);
    let layers = network.layers().map(|l| LayerInfo {
        index: l.index,
        op: l.op.name(),
        reads: l.op.inputs()[0],
        channels_in: l.input.channels,
        channels_out: l.output.channels,
        macs_per_pixel: l.macs(grid) as f64 / pixels,
        bytes: l.tensor_bytes,
    });
    let mut scratch_by_backend = BTreeMap::new();
    for backend in Backend::ALL {
        let mut bytes = BTreeMap::new();
        for width in WIDTHS {
            bytes.insert(width, scratch_bytes(model, direction, backend, width)?);
        }
        scratch_by_backend.insert(backend.name(), bytes);
    }
    Ok(GraphInfo {
        macs_per_pixel: network.macs_per_pixel(grid),
        sees_whole_map: network.sees_whole_map(),
        tensor_bytes: network.tensor_bytes(),
        scratch_bytes: scratch_by_backend,
        layers: layers.collect(),
    })
}

fn scratch_bytes(
    model: &Model<'_>,
    direction: Direction,
    backend: Backend,
    side: u16,
) -> Result<usize> {
    let size = PictureSize {
        width: side,
        height: side,
    };
    Ok(vq_core::needs(model, direction, size, backend)?.scratch)
}

fn print_graph(name: &str, g: &GraphInfo) -> Result<()> {
    print(format_args!(
        "{name}: {} MACs a pixel, {} bytes of tensors",
        g.macs_per_pixel, g.tensor_bytes
    ))?;
    print(format_args!(
        "   op              reads  channels     MACs/px    bytes"
    ))?;
    for l in &g.layers {
        let channels = format!("{} -> {}", l.channels_in, l.channels_out);
        print(format_args!(
            "{:3} {:15} {:>4}  {channels:>11} {:>9.1} {:>8}",
            l.index, l.op, l.reads, l.macs_per_pixel, l.bytes
        ))?;
    }
    let sizes = WIDTHS.map(|w| match g.sees_whole_map {
        true => format!("{w}x{w}"),
        false => format!("{w} wide"),
    });
    let columns = |words: Vec<String>| -> String {
        words.iter().map(|word| format!(" {word:>10}")).collect()
    };
    print(format_args!(
        "    scratch in bytes{}",
        columns(sizes.into())
    ))?;
    g.scratch_bytes.iter().try_for_each(|(backend, bytes)| {
        let bytes = columns(bytes.values().map(usize::to_string).collect());
        print(format_args!("    {backend:16}{bytes}"))
    })
}

#[derive(Debug, Serialize)]
struct PacketInfo {
    /// Where it begins in the file, with its length field.
    at: usize,
    /// Its own; of bytes that are no packet, all.
    bytes: usize,
    /// What is wrong with it.
    damaged: Option<String>,
    #[serde(flatten)]
    header: Option<HeaderInfo>,
}

#[derive(Debug, Serialize)]
struct HeaderInfo {
    model: String,
    size: Option<String>,
    scan: String,
    image: Option<u16>,
    index: Option<u16>,
    count: Option<u16>,
    overhead: usize,
}

fn packets(frames: &[Frame<'_>], json: bool) -> Result<()> {
    let infos: Vec<_> = frames.iter().map(PacketInfo::of).collect();
    if json {
        return print_json(&serde_json::json!({ "packets": infos }));
    }
    let mut lines = infos.iter().enumerate();
    lines.try_for_each(|(i, info)| print(format_args!("packet {i}: {info}")))
}

impl PacketInfo {
    fn of(frame: &Frame<'_>) -> Self {
        let header = frame.packet.and_then(Header::read);
        Self {
            at: frame.at,
            bytes: frame.packet.map_or(frame.bytes, <[u8]>::len),
            damaged: header.err().map(|fault| fault.to_string()),
            header: header.ok().map(HeaderInfo::of),
        }
    }
}

impl HeaderInfo {
    fn of(h: Header) -> Self {
        Self {
            model: format!("{:04x}", h.model),
            size: h.size.map(|s| format!("{}x{}", s.width, s.height)),
            scan: format!("{:?}", h.scan).to_lowercase(),
            image: h.fragment.map(|f| f.image),
            index: h.fragment.map(|f| f.index),
            count: h.fragment.map(|f| f.count),
            overhead: h.overhead(),
        }
    }
}

impl fmt::Display for PacketInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(p) = &self.header else {
            let why = self.damaged.as_deref().unwrap_or_default();
            return write!(
                f,
                "{} bytes from byte {}: DAMAGED: {why}",
                self.bytes, self.at
            );
        };
        let size = p.size.as_deref().unwrap_or("native size");
        let part = match (p.image, p.index, p.count) {
            (Some(image), Some(index), Some(count)) => {
                format!("image {image}, packet {} of {count}", index + 1)
            }
            _ => "the whole picture".into(),
        };
        write!(
            f,
            "{} bytes, {} of them header and checksum; model {}, {size}, {} scan, {part}",
            self.bytes, p.overhead, p.model, p.scan
        )
    }
}
