//! A model file at work on the host: pictures to codes to packets, and back.
//!
//! All arithmetic is [`vq_core::Codec`]'s; this module reads files, names them in errors, and cuts large pictures into strips
//! for the threads that there are.

use crate::input;
use crate::picture::{MAX_PIXELS, Picture, Size};
use rayon::prelude::*;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vq_core::bitstream::{CodedPicture, PacketError, Packets, image_number};
use vq_core::{
    Backend, Direction, FormatError, Grid, HasKernels, Model, PictureSize, PlanError, Probe,
    RunError,
};

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

impl From<vq_core::Error> for CodecError {
    fn from(error: vq_core::Error) -> Self {
        match error {
            vq_core::Error::Format(error) => Self::Format(error),
            vq_core::Error::Plan(error) => Self::Plan(error),
            vq_core::Error::Packet(error) => Self::Packet(error),
            vq_core::Error::Run(error) => Self::Run(error),
        }
    }
}

/// A proved model file. Clones share what it keeps for the next picture.
#[derive(Debug, Clone)]
pub struct Codec {
    core: Arc<vq_core::Codec>,
}

impl Codec {
    /// Reads and proves a file.
    ///
    /// # Errors
    /// As [`read()`], and [`CodecError::Model`] with the path.
    pub fn load(path: &Path) -> Result<Codec, CodecError> {
        Self::from_bytes(read(path)?).map_err(|error| match error {
            CodecError::Format(source) => CodecError::Model {
                path: path.to_owned(),
                source,
            },
            error => error,
        })
    }

    /// Proves the bytes of a file.
    ///
    /// # Errors
    /// [`CodecError::Format`].
    pub fn from_bytes(file: Vec<u8>) -> Result<Codec, CodecError> {
        Self::on(Backend::best(), file)
    }

    /// As [`Codec::from_bytes`], for the kernels of this backend.
    ///
    /// # Errors
    /// [`CodecError::Format`].
    pub fn on(backend: Backend, file: Vec<u8>) -> Result<Codec, CodecError> {
        let core = Arc::new(vq_core::Codec::on(backend, file)?);
        Ok(Codec { core })
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.core.bytes()
    }

    /// The model in it.
    pub fn model(&self) -> Model<'_> {
        self.core.model()
    }

    /// The codec without threads and files.
    pub fn core(&self) -> &vq_core::Codec {
        &self.core
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
        let size = picture_size(size)?;
        let len = self
            .core
            .with_plan(Direction::Decode, size, |plan| plan.scratch_len());
        Ok(len?)
    }

    /// Codes of a picture of any size, stage by stage and row by row.
    ///
    /// # Errors
    /// [`PlanError::NoEncoder`] when the file can only decode.
    pub fn encode(&self, picture: &Picture) -> Result<Vec<u16>, CodecError> {
        let picture = picture.with_channels(self.model().channels().into());
        let size = picture_size(picture.size())?;
        Ok(self.core.encode(&picture.pixels, size)?)
    }

    /// The picture of some codes; missing ones are concealed. A large one takes all threads that are idle.
    ///
    /// # Errors
    /// When the codes are not those of a picture of this size.
    pub fn decode(&self, codes: &[u16], size: Size) -> Result<Picture, CodecError> {
        let model = self.model();
        let strips = strips(&model, size);
        let (channels, down) = (model.channels().into(), usize::from(model.down()));
        let core_size = picture_size(size)?;
        if strips <= 1 {
            let pixels = self.core.decode(codes, core_size)?;
            return Ok(Picture::new(size, channels, pixels));
        }
        // Whole codes, so that no row of them is begun twice.
        let rows = size.height.div_ceil(down).div_ceil(strips) * down;
        let row_bytes = size.width * channels;
        let mut pixels = vec![0; row_bytes * size.height];
        let parts = pixels.par_chunks_mut(rows * row_bytes).enumerate();
        parts.try_for_each(|(i, pixels)| {
            let rows = (i * rows) as u16..(i * rows + pixels.len() / row_bytes) as u16;
            self.core.decode_rows(codes, core_size, rows, pixels)
        })?;
        Ok(Picture::new(size, channels, pixels))
    }

    /// As [`Codec::encode`], with an observer; `E` must be the file's element type.
    ///
    /// # Errors
    /// As [`Codec::encode`], and [`RunError::Dtype`].
    pub fn encode_with<E: HasKernels>(
        &self,
        probe: &mut impl Probe<E>,
        picture: &Picture,
    ) -> Result<Vec<u16>, CodecError> {
        let picture = picture.with_channels(self.model().channels().into());
        let size = picture_size(picture.size())?;
        Ok(self.core.encode_with(probe, &picture.pixels, size)?)
    }

    /// As [`Codec::decode`], by one thread and with an observer; `E` must be the file's element type.
    ///
    /// # Errors
    /// As [`Codec::decode`], and [`RunError::Dtype`].
    pub fn decode_with<E: HasKernels>(
        &self,
        probe: &mut impl Probe<E>,
        codes: &[u16],
        size: Size,
    ) -> Result<Picture, CodecError> {
        let pixels = self.core.decode_with(probe, codes, picture_size(size)?)?;
        Ok(Picture::new(size, self.model().channels().into(), pixels))
    }

    /// The packets of a picture's codes, each of at most `most` bytes; without a number for the picture, with the one
    /// that its codes give it ([`image_number`]).
    ///
    /// # Errors
    /// `most` outside 20..=65535, or a picture that takes too many packets of this size.
    pub fn packets(
        &self,
        codes: &[u16],
        size: Size,
        image: Option<u16>,
        most: usize,
    ) -> Result<Vec<Vec<u8>>, CodecError> {
        let model = self.model();
        let size = picture_size(size)?;
        let image = image.unwrap_or_else(|| image_number(size, codes));
        let picture = CodedPicture { size, image, codes };
        let packets = Packets::new(model.stream(), picture, most)?;
        let mut buffer = vec![0; most];
        let write = |index| Ok(packets.write(index, &mut buffer)?.to_vec());
        (0..packets.count()).map(write).collect()
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

/// Strips that a picture is worth.
fn strips(model: &Model<'_>, size: Size) -> usize {
    let worth = size.height * size.width / STRIP_PIXELS;
    if worth <= 1 || model.decoder().sees_whole_map() {
        return 1;
    }
    worth.min(rayon::current_num_threads())
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
