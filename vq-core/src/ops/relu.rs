//! max(x, 0).

use crate::error::Fault;
use crate::format::Relu;
use crate::shape::Map;

impl Relu {
    pub(crate) fn output(&self, input: Map) -> Result<Map, Fault> {
        Ok(input)
    }
}
