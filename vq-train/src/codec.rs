//! A model file at work on the host: pictures to codes to packets, and back.
//!
//! All arithmetic is the core's; this module owns the memory that the core asks for, and picks the
//! element type that the file names.

use crate::input;
use crate::picture::{MAX_PIXELS, Picture, Size};
use std::io::Read;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use vq_core::bitstream::{
    Assembly, CodedPicture, Frames, MISSING, Packet, PacketError, Packets, frame_length,
};
use vq_core::format::Dtype;
use vq_core::threads::decode_strips;
use vq_core::{
    Decoder, Element, Encoder, Engine, FormatError, Grid, Layout, Model, NoProbe, PictureSize,
    Plan, PlanError, Probe, RunError, f16,
};

/// Room for the plan of every graph that the format allows.
pub type HostPlan = Plan<{ vq_core::format::MAX_OPS + 1 }>;

/// Pixels for which a thread of their own is worth its while: it also makes some rows around them.
const STRIP_PIXELS: usize = 256 * 256;

/// No model and no file of packets has more bytes.
const MAX_FILE: u64 = 256 << 20;

/// What went wrong between a model file, a picture and packets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not a valid model.
    #[error("{path} is not a usable model: {source}")]
    Model {
        /// The file.
        path: PathBuf,
        /// What its bytes say wrong.
        source: FormatError,
    },
    /// The bytes are not a valid model.
    #[error("not a usable model: {0}")]
    Format(FormatError),
    /// The model cannot run on this picture.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The model and the data do not fit each other.
    #[error("{0}")]
    Run(#[from] RunError),
    /// A packet, or what is to become one.
    #[error("{0}")]
    Packet(#[from] PacketError),
    /// No packet of a picture was usable.
    #[error("no packet of the picture is usable; the first fault: {0}")]
    Nothing(PacketError),
    /// The file is larger than any of ours.
    #[error("{path} has more than {MAX_FILE} bytes: it is no file of vq")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The picture is larger than the format can name, or than memory should bear.
    #[error(
        "a picture of {0} is too large: a side has at most 65535 pixels, all of it {MAX_PIXELS}"
    )]
    TooLarge(Size),
}

/// A proved model file.
#[derive(Debug, Clone)]
pub struct Codec {
    file: Vec<u8>,
}

/// A picture put together from packets.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its size in pixels.
    pub size: Size,
    /// Stage by stage, row by row; [`MISSING`] where no packet told.
    pub codes: Vec<u16>,
    /// Packets that were usable, duplicates left out.
    pub packets: usize,
    /// Packets that the picture was sent in.
    pub sent: usize,
    /// The faults of those that were not usable.
    pub faults: Vec<PacketError>,
}

impl Codec {
    /// Reads and proves a file.
    ///
    /// # Errors
    /// As [`read()`], and [`CodecError::Model`] with the path.
    pub fn load(path: &Path) -> Result<Codec, CodecError> {
        let file = read(path)?;
        let model = |source| CodecError::Model {
            path: path.to_owned(),
            source,
        };
        Model::parse(&file).map_err(model)?;
        Ok(Codec { file })
    }

    /// Proves the bytes of a file.
    ///
    /// # Errors
    /// [`CodecError::Format`].
    pub fn from_bytes(file: Vec<u8>) -> Result<Codec, CodecError> {
        Model::parse(&file).map_err(CodecError::Format)?;
        Ok(Codec { file })
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.file
    }

    /// The model in it.
    pub fn model(&self) -> Model<'_> {
        Model::parse(&self.file).expect("proved when the codec was made")
    }

    /// The number of codes in each stage's codebook.
    pub fn codebooks(&self) -> Vec<usize> {
        let model = self.model();
        model
            .codebooks()
            .iter()
            .map(|c| usize::from(c.codes))
            .collect()
    }

    /// The size of picture that packets need not mention.
    pub fn native(&self) -> Size {
        size_of(self.model().native())
    }

    /// The grid of codes that covers a picture.
    ///
    /// # Errors
    /// [`CodecError::TooLarge`].
    pub fn grid(&self, size: Size) -> Result<Grid, CodecError> {
        Ok(picture_size(size)?.grid(self.model().down()))
    }

    /// The scratch of the decoder for a picture of this size, in elements of the model's type.
    ///
    /// # Errors
    /// [`CodecError::TooLarge`], and [`CodecError::Plan`] for a picture without pixels.
    pub fn scratch_len(&self, size: Size) -> Result<usize, CodecError> {
        let model = self.model();
        let mut plan = HostPlan::new();
        let layout = plan.decoder(&model, picture_size(size)?)?;
        Ok(layout.scratch_len())
    }

    /// Codes of a picture of any size, stage by stage and row by row.
    ///
    /// # Errors
    /// [`PlanError::NoEncoder`] when the file can only decode.
    pub fn encode(&self, picture: &Picture) -> Result<Vec<u16>, CodecError> {
        match self.model().dtype() {
            Dtype::I8 => self.encode_with::<i8>(&mut NoProbe, picture),
            Dtype::F16 => self.encode_with::<f16>(&mut NoProbe, picture),
            Dtype::F32 => self.encode_with::<f32>(&mut NoProbe, picture),
        }
    }

    /// The picture of some codes; missing ones are concealed. A large one takes all cores.
    ///
    /// # Errors
    /// When the codes are not those of a picture of this size.
    pub fn decode(&self, codes: &[u16], size: Size) -> Result<Picture, CodecError> {
        let model = self.model();
        match model.dtype() {
            Dtype::I8 => decode_large::<i8>(&model, codes, size),
            Dtype::F16 => decode_large::<f16>(&model, codes, size),
            Dtype::F32 => decode_large::<f32>(&model, codes, size),
        }
    }

    /// As [`Codec::encode`], with somebody looking on; `E` must be the file's element type.
    ///
    /// # Errors
    /// As [`Codec::encode`], and [`RunError::Dtype`].
    pub fn encode_with<E: Element>(
        &self,
        probe: &mut impl Probe<E>,
        picture: &Picture,
    ) -> Result<Vec<u16>, CodecError> {
        let model = self.model();
        let picture = picture.with_channels(model.channels().into());
        let mut plan = HostPlan::new();
        let mut layout = plan.encoder(&model, picture_size(picture.size())?)?;
        let mut scratch = vec![E::default(); layout.scratch_len()];
        let mut codes = vec![0; layout.code_count()];
        let rows = vq_core::Picture {
            pixels: &picture.pixels,
            row_bytes: layout.row_bytes(),
        };
        let mut engine = Engine::new(&mut layout, &mut scratch)?;
        let mut encoder = Encoder::new(&mut engine, rows)?;
        while encoder.next_row_with(probe, &mut codes)?.is_some() {}
        Ok(codes)
    }

    /// As [`Codec::decode`], with somebody looking on; `E` must be the file's element type.
    ///
    /// # Errors
    /// As [`Codec::decode`], and [`RunError::Dtype`].
    pub fn decode_with<E: Element>(
        &self,
        probe: &mut impl Probe<E>,
        codes: &[u16],
        size: Size,
    ) -> Result<Picture, CodecError> {
        let model = self.model();
        let mut plan = HostPlan::new();
        let mut layout = plan.decoder(&model, picture_size(size)?)?;
        let mut scratch = vec![E::default(); layout.scratch_len()];
        let row = layout.row_bytes();
        let mut pixels = vec![0; row * size.height];
        let mut engine = Engine::new(&mut layout, &mut scratch)?;
        let mut decoder = Decoder::new(&mut engine, codes)?;
        for pixels in pixels.chunks_exact_mut(row) {
            decoder.next_row_with(probe, pixels)?;
        }
        Ok(Picture::new(size, model.channels().into(), pixels))
    }

    /// The packets of a picture's codes, each of at most `most` bytes.
    ///
    /// # Errors
    /// `most` outside 20..=65535, or a picture that takes too many packets of this size.
    pub fn packets(
        &self,
        codes: &[u16],
        size: Size,
        image: u16,
        most: usize,
    ) -> Result<Vec<Vec<u8>>, CodecError> {
        let model = self.model();
        let picture = CodedPicture {
            size: picture_size(size)?,
            image,
            codes,
        };
        let packets = Packets::new(model.stream(), picture, most)?;
        let mut buffer = vec![0; most];
        let write = |index| Ok(packets.write(index, &mut buffer)?.to_vec());
        (0..packets.count()).map(write).collect()
    }

    /// Puts a picture together from whatever packets came, in any order.
    ///
    /// # Errors
    /// [`CodecError::Nothing`] when not one of them is usable, [`CodecError::TooLarge`] when they
    /// name a size that would exhaust the memory.
    pub fn receive(&self, packets: &[&[u8]]) -> Result<Received, CodecError> {
        let model = self.model();
        let stream = model.stream();
        // The first usable packet names the size; one of another model must not.
        let mut checked = packets
            .iter()
            .filter_map(|packet| Packet::check(packet, stream).ok());
        let size = checked
            .next()
            .map_or(stream.native(), |packet| packet.size());
        picture_size(size_of(size))?;
        let mut codes = vec![MISSING; stream.code_count(size)?];
        let mut assembly = Assembly::new(stream, &mut codes);
        let mut faults = Vec::new();
        for packet in packets {
            faults.extend(assembly.add(packet).err());
        }
        let (got, sent) = (
            assembly.packets_present().into(),
            assembly.packet_count().into(),
        );
        let Some(size) = assembly.size() else {
            return Err(CodecError::Nothing(
                faults.first().copied().unwrap_or(PacketError::Truncated),
            ));
        };
        Ok(Received {
            size: size_of(size),
            codes,
            packets: got,
            sent,
            faults,
        })
    }
}

/// Reads a model or a file of packets whole.
///
/// # Errors
/// [`CodecError::Read`], and [`CodecError::TooLong`] before an endless one fills the memory.
pub fn read(path: &Path) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    input::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|source| CodecError::Read {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(CodecError::TooLong {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

/// Packets as the bytes of a `.vqc` file.
///
/// # Errors
/// A packet too long for the file's framing.
pub fn join(packets: &[Vec<u8>]) -> Result<Vec<u8>, PacketError> {
    let mut file = Vec::new();
    for packet in packets {
        file.extend(frame_length(packet)?);
        file.extend(packet);
    }
    Ok(file)
}

/// The packets of a `.vqc` file.
///
/// # Errors
/// Where the framing ends in the middle of a packet.
pub fn split(file: &[u8]) -> Result<Vec<&[u8]>, PacketError> {
    Frames::new(file).collect()
}

/// Decodes with as many threads as the picture has work for.
fn decode_large<E: Element + Send + Sync>(
    model: &Model<'_>,
    codes: &[u16],
    size: Size,
) -> Result<Picture, CodecError> {
    let picture_size = picture_size(size)?;
    let mut plans = vec![HostPlan::new(); strips(model, size)];
    let layouts = plans
        .iter_mut()
        .map(|plan| plan.decoder(model, picture_size));
    let mut layouts: Vec<_> = layouts.collect::<Result<_, _>>()?;
    let scratch = |layout: &Layout| vec![E::default(); layout.scratch_len()];
    let mut scratches: Vec<_> = layouts.iter().map(scratch).collect();
    let mut pixels = vec![0; layouts[0].row_bytes() * size.height];
    let engines = layouts.iter_mut().zip(&mut scratches);
    let engines = engines.map(|(layout, scratch)| Engine::new(layout, scratch));
    let mut engines: Vec<_> = engines.collect::<Result<_, _>>()?;
    decode_strips(&mut engines, codes, &mut pixels)?;
    Ok(Picture::new(size, model.channels().into(), pixels))
}

/// Strips that a picture is worth.
fn strips(model: &Model<'_>, size: Size) -> usize {
    let worth = size.height * size.width / STRIP_PIXELS;
    if worth <= 1 || model.decoder().sees_whole_map() {
        return 1;
    }
    worth.min(available_parallelism().map_or(1, NonZero::get))
}

/// A size as the core names it.
///
/// # Errors
/// [`CodecError::TooLarge`].
pub fn picture_size(size: Size) -> Result<PictureSize, CodecError> {
    if size.width * size.height > MAX_PIXELS {
        return Err(CodecError::TooLarge(size));
    }
    let side = |n: usize| u16::try_from(n).map_err(|_| CodecError::TooLarge(size));
    Ok(PictureSize {
        width: side(size.width)?,
        height: side(size.height)?,
    })
}

fn size_of(size: PictureSize) -> Size {
    Size {
        width: size.width.into(),
        height: size.height.into(),
    }
}
