//! How long postcard's messages are when each of their numbers is as short as can be.
//!
//! Postcard reads longer numbers, too, and its own count takes its serialiser along, into programs that only read: so the
//! lengths are spelt out. What does not vary has a constant; the rest are numbers and what is as long as they say.

use super::{Codebook, Container, Graph};
use crate::curves::ActivationKind;
use crate::ops::{
    Activation, Add, Attention, Conv2d, DepthToSpace, GroupNorm, Op, Relu, SpaceToDepth, UpConv,
};
use crate::shape::PictureSize;
use crate::tensor::Rescale;

/// A byte, a bool, or which variant it is.
const BYTE: usize = 1;
/// Single precision.
const SINGLE: usize = 4;
/// A [`Quant`](crate::tensor::Quant).
const QUANT: usize = SINGLE + BYTE;
/// A [`Kernel`](crate::shape::Kernel).
const KERNEL: usize = 2 * BYTE;
/// A [`Pad`](crate::shape::Pad).
const PAD: usize = 4 * BYTE;

/// Bytes of a container's message.
pub(super) fn container_len(container: &Container<'_>) -> usize {
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
        + graph_len(decoder)
        + encoder
            .as_ref()
            .map_or(BYTE, |graph| BYTE + graph_len(graph))
        + bytes_len(pad)
        + bytes_len(blob)
}

fn graph_len(graph: &Graph<'_>) -> usize {
    number(graph.count.into()) + bytes_len(graph.ops)
}

fn bytes_len(bytes: &[u8]) -> usize {
    count_len(bytes.len()) + bytes.len()
}

fn count_len(count: usize) -> usize {
    // What is too large for 32 bits takes as much as the largest of them, up to 35 bits.
    number(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Bytes of an operator's message.
pub(super) fn op_len(op: &Op) -> usize {
    BYTE + match *op {
        Op::Conv2d(Conv2d {
            input,
            out_channels,
            kernel: _,
            stride: _,
            pad: _,
            relu: _,
            out: _,
            weights,
            params,
        }) => {
            KERNEL
                + PAD
                + 2 * BYTE
                + QUANT
                + numbers([input.into(), out_channels.into(), weights, params])
        }
        Op::UpConv(UpConv {
            input,
            out_channels,
            relu: _,
            out: _,
            weights,
            params,
        }) => BYTE + QUANT + numbers([input.into(), out_channels.into(), weights, params]),
        Op::Add(Add {
            input,
            skip,
            relu: _,
            out: _,
            rescale,
        }) => BYTE + QUANT + numbers([input.into(), skip.into()]) + rescale_len(rescale),
        Op::Relu(Relu { input }) => number(input.into()),
        Op::DepthToSpace(DepthToSpace { input, factor: _ })
        | Op::SpaceToDepth(SpaceToDepth { input, factor: _ }) => BYTE + number(input.into()),
        Op::Activation(Activation {
            input,
            kind,
            out: _,
            table,
        }) => {
            let slope = match kind {
                ActivationKind::LeakyRelu { slope: _ } => SINGLE,
                ActivationKind::Tanh | ActivationKind::Sigmoid | ActivationKind::Silu => 0,
            };
            BYTE + slope + QUANT + numbers([input.into(), table])
        }
        Op::GroupNorm(GroupNorm {
            input,
            groups,
            eps: _,
            silu: _,
            params,
        }) => SINGLE + BYTE + numbers([input.into(), groups.into(), params]),
        Op::Attention(Attention {
            queries,
            keys,
            values,
            heads,
        }) => numbers([queries, keys, values, heads].map(u32::from)),
    }
}

fn rescale_len(rescale: Rescale) -> usize {
    let Rescale {
        input,
        skip,
        shift: _,
    } = rescale;
    // Signed numbers alternate: 0, -1, 1, -2, 2.
    let unsigned = [input, skip].map(|value| (value << 1 ^ value >> 31) as u32);
    BYTE + numbers(unsigned)
}

fn numbers<const N: usize>(values: [u32; N]) -> usize {
    values.iter().map(|&value| number(value)).sum()
}

/// Bytes of a number: seven bits a byte. Not inlined: it is asked in some twenty places.
#[inline(never)]
fn number(value: u32) -> usize {
    let bits = u32::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Dtype;
    use crate::format::Entropy;
    use crate::shape::{Kernel, Pad};
    use crate::tensor::Quant;
    use postcard::experimental::serialized_size;

    /// Numbers around each length; the larger ones are those of 32 bits alone.
    const NUMBERS: [u32; 11] = [
        0,
        1,
        0x7f,
        0x80,
        0x3fff,
        0x4000,
        0x1f_ffff,
        0x20_0000,
        0xfff_ffff,
        0x1000_0000,
        u32::MAX,
    ];

    /// One operator of each kind, and of each form, with these numbers.
    fn ops(small: u16, large: u32) -> [Op; 11] {
        let (input, relu, out) = (small, true, Quant::UNIT);
        let (weights, params, table) = (large, large, large);
        let rescale = |sign: i32| Rescale {
            input: (large >> 1) as i32 * sign,
            skip: (large >> 2) as i32 * -sign,
            shift: 0xff,
        };
        let add = |sign| {
            Op::Add(Add {
                input,
                skip: small,
                relu,
                out,
                rescale: rescale(sign),
            })
        };
        let activation = |kind| {
            Op::Activation(Activation {
                input,
                kind,
                out,
                table,
            })
        };
        [
            Op::Conv2d(Conv2d {
                input,
                out_channels: small,
                kernel: Kernel {
                    height: 0xff,
                    width: 0xff,
                },
                stride: 0xff,
                pad: Pad::NONE,
                relu,
                out,
                weights,
                params,
            }),
            Op::UpConv(UpConv {
                input,
                out_channels: small,
                relu,
                out,
                weights,
                params,
            }),
            add(1),
            add(-1),
            Op::Relu(Relu { input }),
            Op::DepthToSpace(DepthToSpace {
                input,
                factor: 0xff,
            }),
            Op::SpaceToDepth(SpaceToDepth {
                input,
                factor: 0xff,
            }),
            activation(ActivationKind::Silu),
            activation(ActivationKind::LeakyRelu { slope: 0.1 }),
            Op::GroupNorm(GroupNorm {
                input,
                groups: small,
                eps: 1e-6,
                silu: true,
                params,
            }),
            Op::Attention(Attention {
                queries: small,
                keys: small,
                values: small,
                heads: small,
            }),
        ]
    }

    #[test]
    fn operators_are_as_long_as_postcard_makes_them() {
        for number in NUMBERS {
            for op in ops(number as u16, number) {
                assert_eq!(Ok(op_len(&op)), serialized_size(&op), "{op:?}");
            }
        }
    }

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
