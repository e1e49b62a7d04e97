//! The operators of a network as they lie in a file, one postcard message behind the other.

use crate::error::Fault;
use crate::lengths::{bytes_len, number};
use crate::ops::{MAX_OPS, Op};
use serde::{Deserialize, Serialize};

/// Operators of a network in the order in which they can run, each one postcard message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph<'a> {
    /// Number of operators.
    pub count: u16,
    /// The operators' messages, one behind the other.
    #[serde(borrow)]
    pub ops: &'a [u8],
}

impl<'a> Graph<'a> {
    /// The operators, read one after the other; ends behind the first that is malformed.
    ///
    /// Yields as many items as `count` says, then one more error if bytes remain.
    pub fn ops(&self) -> Ops<'a> {
        Ops {
            left: self.count,
            bytes: self.ops,
        }
    }

    /// Bytes of its own message in the container's.
    pub(super) fn message_len(&self) -> usize {
        number(self.count.into()) + bytes_len(self.ops)
    }

    /// Bytes that [`Graph::encode`] needs for these operators.
    pub fn encoded_len(ops: &[Op]) -> usize {
        ops.iter().map(Op::message_len).sum()
    }

    /// Writes the operators into `bytes`, which have at least [`Graph::encoded_len`].
    ///
    /// # Errors
    /// [`Fault::Count`] when there are more than [`MAX_OPS`], [`Fault::Message`] when `bytes` is too short.
    pub fn encode(ops: &[Op], bytes: &'a mut [u8]) -> Result<Self, Fault> {
        if ops.len() > MAX_OPS {
            return Err(Fault::Count);
        }
        let mut used = 0;
        for op in ops {
            used += postcard::to_slice(op, &mut bytes[used..])
                .map_err(|_| Fault::Message)?
                .len();
        }
        Ok(Self {
            count: ops.len() as u16,
            ops: &bytes[..used],
        })
    }
}

/// See [`Graph::ops`].
#[derive(Debug, Clone)]
pub struct Ops<'a> {
    left: u16,
    bytes: &'a [u8],
}

impl Iterator for Ops<'_> {
    type Item = Result<Op, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let rest = core::mem::take(&mut self.bytes);
            return (!rest.is_empty()).then_some(Err(Fault::Count));
        }
        self.left -= 1;
        match postcard::take_from_bytes(self.bytes) {
            Ok((op, rest)) => {
                self.bytes = rest;
                Some(Ok(op))
            }
            Err(_) => {
                *self = Self {
                    left: 0,
                    bytes: &[],
                };
                Some(Err(Fault::Message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curves::ActivationKind;
    use crate::lengths::NUMBERS;
    use crate::ops::{
        Activation, Add, Attention, Conv2d, DepthToSpace, GroupNorm, Relu, SpaceToDepth, UpConv,
    };
    use crate::shape::{Kernel, Pad};
    use crate::tensor::{Quant, Rescale};
    use postcard::experimental::serialized_size;

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
                assert_eq!(Ok(op.message_len()), serialized_size(&op), "{op:?}");
            }
        }
    }
}
