//! The element types of models. What can be computed with them is in `element`.

use serde::{Deserialize, Serialize};

/// The element type of a model's weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dtype {
    /// 8-bit integers, fixed-point arithmetic.
    I8,
    /// Half-precision storage, single-precision arithmetic.
    F16,
    /// Single precision.
    F32,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}
