//! The file as a whole: preamble, message, and the helper that writes both.

use super::graph::Graph;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::lengths::{BYTE, QUANT, bytes_len, count_len, numbers};
use crate::shape::{MAX_STAGES, PictureSize};
use crate::tensor::Quant;
use crc::{CRC_32_ISO_HDLC, Crc};
use serde::{Deserialize, Serialize};

/// The first bytes of a model file.
pub const MAGIC: [u8; 4] = *b"VQM\x1a";

/// The version that this build reads and writes.
pub const VERSION: u16 = 1;

/// Bytes of the preamble: magic, version u16, reserved u16, length u32, CRC-32 of what follows.
pub const PREAMBLE: usize = 16;

/// The blob starts at a multiple of this many bytes from the file's start.
pub const BLOB_ALIGN: usize = 16;

/// The longest name (bytes).
pub const MAX_NAME: usize = 32;

/// The checksum of the container, also used for [`Container::code_id`].
pub static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Everything behind the preamble: one postcard message, whose fields are borrowed from the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container<'a> {
    /// What people call it; at most [`MAX_NAME`] bytes.
    pub name: &'a str,
    /// Identity of the entropy model: [`CRC`] of the codebooks as little-endian f32, stage by stage.
    /// The same for the i8, f16 and f32 exports of one training.
    pub code_id: u32,
    /// Element type of weights and activations.
    pub dtype: Dtype,
    /// Channels of a pixel, 1 or 3.
    pub channels: u8,
    /// Pixels per code, each way.
    pub down: u8,
    /// The picture size that packets need not mention.
    pub native: PictureSize,
    /// Channels of the latent, D.
    pub dim: u16,
    /// Quantisation of the latent; its zero is 0.
    pub latent: Quant,
    /// One for each stage; a latent is the sum of one entry of each.
    pub codebooks: heapless::Vec<Codebook, MAX_STAGES>,
    /// How codes are coded in packets.
    pub entropy: Entropy,
    /// From latents to pixels.
    #[serde(borrow)]
    pub decoder: Graph<'a>,
    /// From pixels to latents.
    #[serde(borrow)]
    pub encoder: Option<Graph<'a>>,
    /// Zeros that align the blob; [`encode`] computes them and ignores what stands here.
    pub pad: &'a [u8],
    /// Tensors, each at a multiple of 4 bytes.
    pub blob: &'a [u8],
}

/// A table of embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Codebook {
    /// Number of entries, K: 1 ..= 65535. Code 65535 means "missing", so it is never an entry.
    pub codes: u16,
    /// Offset in the blob of the entries \[K\]\[D\], of the model's element type.
    pub table: u32,
}

/// How codes are coded in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entropy {
    /// Each code takes as many bits as the largest of its stage needs.
    Fixed,
}

/// Length of the file that [`encode`] writes (bytes).
pub fn encoded_len(container: &Container<'_>) -> usize {
    PREAMBLE + container_len(&padded(container))
}

/// Writes preamble and message into `out`, which has at least [`encoded_len`] bytes, and returns the file.
///
/// Only the layout is its business: whether the model makes sense is for [`crate::Model::parse`] to say.
///
/// # Errors
/// [`FormatError::Buffer`] when `out` is too small.
pub fn encode<'o>(container: &Container<'_>, out: &'o mut [u8]) -> Result<&'o [u8], FormatError> {
    let (needed, given) = (encoded_len(container), out.len());
    let Some(file) = out.get_mut(..needed) else {
        return Err(FormatError::Buffer { needed, given });
    };
    let (preamble, message) = file.split_at_mut(PREAMBLE);
    postcard::to_slice(&padded(container), message).map_err(|_| FormatError::Message)?;
    preamble[..4].copy_from_slice(&MAGIC);
    preamble[4..6].copy_from_slice(&VERSION.to_le_bytes());
    preamble[6..8].fill(0);
    preamble[8..12].copy_from_slice(&(needed as u32).to_le_bytes());
    preamble[12..].copy_from_slice(&CRC.checksum(message).to_le_bytes());
    Ok(file)
}

/// Checks the preamble and reads the message; what the message means is not looked at.
///
/// # Errors
/// The variants of [`FormatError`] from `Truncated` to `Padding`.
pub fn decode(file: &[u8]) -> Result<Container<'_>, FormatError> {
    let (preamble, message) = file
        .split_first_chunk::<PREAMBLE>()
        .ok_or(FormatError::Truncated)?;
    let [
        m0,
        m1,
        m2,
        m3,
        v0,
        v1,
        r0,
        r1,
        l0,
        l1,
        l2,
        l3,
        c0,
        c1,
        c2,
        c3,
    ] = *preamble;
    let stated = u32::from_le_bytes([l0, l1, l2, l3]);
    if [m0, m1, m2, m3] != MAGIC {
        return Err(FormatError::Magic);
    }
    if u16::from_le_bytes([v0, v1]) != VERSION {
        return Err(FormatError::Version(u16::from_le_bytes([v0, v1])));
    }
    if [r0, r1] != [0, 0] {
        return Err(FormatError::Reserved);
    }
    if usize::try_from(stated) != Ok(file.len()) {
        return Err(FormatError::Length {
            stated,
            found: file.len(),
        });
    }
    if CRC.checksum(message) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(FormatError::Checksum);
    }
    message_of(message)
}

fn message_of(message: &[u8]) -> Result<Container<'_>, FormatError> {
    let (container, rest) =
        postcard::take_from_bytes::<Container<'_>>(message).map_err(|_| FormatError::Message)?;
    if !rest.is_empty() {
        return Err(FormatError::Trailing);
    }
    // Postcard takes varints that are longer than need be.
    if container_len(&container) != message.len() {
        return Err(FormatError::Message);
    }
    let blob_at = PREAMBLE + message.len() - container.blob.len();
    let pad = container.pad;
    if !blob_at.is_multiple_of(BLOB_ALIGN) || pad.len() >= BLOB_ALIGN || pad.iter().any(|&b| b != 0)
    {
        return Err(FormatError::Padding);
    }
    Ok(container)
}

/// The same container with the padding that aligns its blob.
fn padded<'a>(container: &Container<'a>) -> Container<'a> {
    const ZEROS: &[u8] = &[0; BLOB_ALIGN];
    let bare = Container {
        pad: &[],
        ..container.clone()
    };
    let blob_at = PREAMBLE + container_len(&bare) - bare.blob.len();
    let pad = blob_at.next_multiple_of(BLOB_ALIGN) - blob_at;
    Container {
        pad: &ZEROS[..pad],
        ..bare
    }
}

/// Bytes of a container's message.
fn container_len(container: &Container<'_>) -> usize {
    let Container {
        name,
        code_id,
        dtype: _,
        channels: _,
        down: _,
        native: PictureSize { width, height },
        dim,
        latent: _,
        ref codebooks,
        entropy: _,
        ref decoder,
        ref encoder,
        pad,
        blob,
    } = *container;
    let codebook = |&Codebook { codes, table }: &Codebook| numbers([codes.into(), table]);
    4 * BYTE
        + QUANT
        + numbers([code_id, width.into(), height.into(), dim.into()])
        + bytes_len(name.as_bytes())
        + count_len(codebooks.len())
        + codebooks.iter().map(codebook).sum::<usize>()
        + decoder.message_len()
        + encoder
            .as_ref()
            .map_or(BYTE, |graph| BYTE + graph.message_len())
        + bytes_len(pad)
        + bytes_len(blob)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lengths::NUMBERS;
    use postcard::experimental::serialized_size;

    #[test]
    fn containers_are_as_long_as_postcard_makes_them() {
        let bytes = [0; 0x4001];
        for (i, number) in NUMBERS.into_iter().enumerate() {
            let graph = Graph {
                count: number as u16,
                ops: &bytes[..[0, 0x7f, 0x80, 0x4000][i % 4]],
            };
            let container = Container {
                name: ["", "name"][i % 2],
                code_id: number,
                dtype: Dtype::F16,
                channels: 0xff,
                down: 0xff,
                native: PictureSize {
                    width: number as u16,
                    height: (number >> 1) as u16,
                },
                dim: (number >> 2) as u16,
                latent: Quant::UNIT,
                codebooks: (0..i % 8)
                    .map(|shift| Codebook {
                        codes: (number >> shift) as u16,
                        table: number >> shift,
                    })
                    .collect(),
                entropy: Entropy::Fixed,
                decoder: graph,
                encoder: [None, Some(graph)][i % 2],
                pad: &bytes[..i],
                blob: &bytes[..[0x80, 0x4001, 1][i % 3]],
            };
            let len = container_len(&container);
            assert_eq!(Ok(len), serialized_size(&container), "{i}");
        }
    }
}
