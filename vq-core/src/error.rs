//! What can go wrong: flat, `Copy`, and named for the stage that failed.

use crate::bitstream::PacketError;
use crate::dtype::Dtype;
use core::fmt;

/// Why a `.vqm` file was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// The file ends before its preamble does.
    Truncated,
    /// The file does not start with the magic bytes of a model.
    Magic,
    /// The file has this version, which this build does not read.
    Version(u16),
    /// The reserved field of the preamble is not zero.
    Reserved,
    /// The preamble states another length than the file has (bytes).
    Length {
        /// What the preamble says.
        stated: u32,
        /// What was handed over.
        found: usize,
    },
    /// The CRC-32 of the message does not match the preamble.
    Checksum,
    /// The message is not what postcard writes for a container.
    Message,
    /// Bytes follow the blob.
    Trailing,
    /// The padding is not zeros, or does not align the blob to 16 bytes.
    Padding,
    /// The name is longer than 32 bytes.
    Name,
    /// A picture has 1 or 3 channels, not this many.
    Channels(u8),
    /// The downsampling factor is zero.
    Down,
    /// The native picture size has no pixels, or more codes than a picture may have.
    NativeSize,
    /// The latent's dimension is zero or its quantisation not allowed.
    Latent,
    /// The codebook of this stage is empty, too large or outside the blob; or there is none at all.
    Codebook {
        /// Stage, counted from 0.
        stage: u8,
    },
    /// The decoder's graph is faulty.
    Decoder {
        /// Operator, counted from 0; the operator count for faults of the whole graph.
        op: u16,
        /// What is wrong there.
        fault: Fault,
    },
    /// The encoder's graph is faulty.
    Encoder {
        /// Operator, counted from 0; the operator count for faults of the whole graph.
        op: u16,
        /// What is wrong there.
        fault: Fault,
    },
    /// The buffer to write into is too small (bytes).
    Buffer {
        /// What the file needs.
        needed: usize,
        /// What was handed over.
        given: usize,
    },
}

/// What is wrong with an operator or with the graph around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes are no operator.
    Message,
    /// There are no operators, or more than [`crate::format::MAX_OPS`], or bytes follow the last one.
    Count,
    /// An input names a value that does not exist yet.
    Input,
    /// A value before the last one is used by nobody.
    Unused,
    /// A kernel side, a stride or a factor is zero or too large.
    Kernel,
    /// The padding does not keep `out = in / stride`.
    Padding,
    /// The channels are zero, do not divide, do not chain, or their products exceed the limits.
    Channels,
    /// The map's size does not stay a whole multiple of the code grid, or does not end where it must.
    Density,
    /// A quantisation is not finite and positive, or not the one required there.
    Quant,
    /// Weights are misaligned or outside the blob.
    Weights,
    /// Per-channel parameters are misaligned, outside the blob or out of range.
    Params,
    /// The factors of an addition are out of range.
    Rescale,
    /// The lookup table of an activation is misaligned or outside the blob; or a float model names one.
    Table,
    /// The slope of an activation is not finite.
    Slope,
    /// Groups of a normalisation, or heads of an attention, are zero or do not divide the channels.
    Groups,
    /// What a normalisation adds to the variance is not positive, not finite or subnormal.
    Epsilon,
    /// The operator does not run in the model's element type.
    Dtype,
}

/// Why no plan can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// The picture has no pixels.
    Empty,
    /// The model has no encoder, or vq-core was built without the feature `encoder`.
    NoEncoder,
    /// The model has no decoder.
    NoDecoder,
    /// The plan has not enough room for the graph: nodes, one more than operators.
    TooManyOps {
        /// What the graph needs.
        needed: usize,
        /// What the plan has.
        given: usize,
    },
    /// The memory would be larger than the address space.
    TooLarge,
    /// This build has no arithmetic for the model's element type: see the crate's features.
    Dtype(Dtype),
}

/// Why a planned graph cannot run, or not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError {
    /// The plan is for encoding, not for decoding; or the other way round.
    Direction,
    /// The element type is not the model's.
    Dtype {
        /// The model's.
        model: Dtype,
        /// The one asked for.
        used: Dtype,
    },
    /// The scratch is too small (elements).
    Scratch {
        /// What the plan needs.
        needed: usize,
        /// What was handed over.
        given: usize,
    },
    /// There are not as many codes as the grid has cells, times stages.
    Codes {
        /// What the grid needs.
        needed: usize,
        /// What was handed over.
        given: usize,
    },
    /// The buffer for a row of pixels is too small (bytes).
    Row {
        /// What a row needs.
        needed: usize,
        /// What was handed over.
        given: usize,
    },
    /// The buffer for all pixels has another length than the picture (bytes).
    Pixels {
        /// What the picture needs.
        needed: usize,
        /// What was handed over.
        given: usize,
    },
    /// A patch is empty, or reaches beyond the code grid.
    Patch,
}

/// Whatever went wrong, from a file to a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The model's file was refused.
    Format(FormatError),
    /// No plan can be made.
    Plan(PlanError),
    /// The model and the data do not fit each other.
    Run(RunError),
    /// A packet was refused.
    Packet(PacketError),
}

impl From<FormatError> for Error {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl From<PacketError> for Error {
    fn from(error: PacketError) -> Self {
        Self::Packet(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(error) => error.fmt(f),
            Self::Plan(error) => error.fmt(f),
            Self::Run(error) => error.fmt(f),
            Self::Packet(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("the picture has no pixels"),
            Self::NoEncoder if cfg!(feature = "encoder") => f.write_str("the model has no encoder"),
            Self::NoEncoder => f.write_str("vq-core was built without its encoder"),
            Self::NoDecoder => f.write_str("the model has no decoder"),
            Self::TooManyOps { needed, given } => {
                write!(
                    f,
                    "the graph has {needed} values, the plan room for {given}"
                )
            }
            Self::TooLarge => f.write_str("the picture is too large for this machine"),
            Self::Dtype(dtype) => write!(
                f,
                "the model holds {dtype:?}, for which vq-core was built without arithmetic"
            ),
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Direction => f.write_str("the plan is for the other direction"),
            Self::Dtype { model, used } => write!(f, "the model holds {model:?}, not {used:?}"),
            Self::Scratch { needed, given } => {
                write!(f, "scratch of {given} elements is too small for {needed}")
            }
            Self::Codes { needed, given } => write!(f, "{given} codes where {needed} are needed"),
            Self::Row { needed, given } => {
                write!(f, "row of {given} bytes is too small for {needed}")
            }
            Self::Pixels { needed, given } => {
                write!(f, "{given} bytes of pixels where {needed} are needed")
            }
            Self::Patch => f.write_str("a patch is empty or reaches beyond the code grid"),
        }
    }
}

impl core::error::Error for PlanError {}

impl core::error::Error for RunError {}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated => f.write_str("model file is truncated"),
            Self::Magic => f.write_str("not a model file (.vqm)"),
            Self::Version(v) => write!(
                f,
                "model file has version {v}, which this build does not read"
            ),
            Self::Reserved => f.write_str("reserved field of the model file is not zero"),
            Self::Length { stated, found } => {
                write!(f, "model file says it has {stated} bytes, but has {found}")
            }
            Self::Checksum => f.write_str("checksum of the model file does not match"),
            Self::Message => f.write_str("model file holds a malformed message"),
            Self::Trailing => f.write_str("bytes follow the weights of the model file"),
            Self::Padding => f.write_str("padding of the model file is wrong"),
            Self::Name => f.write_str("model name is longer than 32 bytes"),
            Self::Channels(c) => write!(f, "model has pictures of {c} channels, not 1 or 3"),
            Self::Down => f.write_str("model has a downsampling factor of zero"),
            Self::NativeSize => f.write_str("model has an empty or too large native picture size"),
            Self::Latent => f.write_str("model has a faulty latent"),
            Self::Codebook { stage } => write!(f, "codebook of stage {stage} is faulty"),
            Self::Decoder { op, fault } => write!(f, "decoder, operator {op}: {fault}"),
            Self::Encoder { op, fault } => write!(f, "encoder, operator {op}: {fault}"),
            Self::Buffer { needed, given } => {
                write!(f, "buffer of {given} bytes is too small for {needed}")
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Message => "malformed",
            Self::Count => "wrong number of operators",
            Self::Input => "names a value that does not exist yet",
            Self::Unused => "a value is used by nobody",
            Self::Kernel => "kernel, stride or factor out of range",
            Self::Padding => "padding does not keep the map's size",
            Self::Channels => "channels do not fit",
            Self::Density => "map size does not fit",
            Self::Quant => "quantisation not allowed here",
            Self::Weights => "weights misaligned or outside the file",
            Self::Params => "channel parameters misaligned, outside the file or out of range",
            Self::Rescale => "factors of the addition out of range",
            Self::Table => "lookup table misaligned, outside the file or not allowed here",
            Self::Slope => "slope of the activation is not finite",
            Self::Groups => "groups or heads do not divide the channels",
            Self::Epsilon => "epsilon of the normalisation out of range",
            Self::Dtype => "does not run in this element type: group normalisation and attention need f16 or f32",
        })
    }
}

impl core::error::Error for FormatError {}
