//! The operators of a network as they lie in a file, one postcard message behind the other.

use super::message::op_len;
use crate::error::Fault;
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

    /// Bytes that [`Graph::encode`] needs for these operators.
    pub fn encoded_len(ops: &[Op]) -> usize {
        ops.iter().map(op_len).sum()
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
