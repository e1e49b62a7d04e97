//! What is said when names or shapes do not pair up.

use std::fmt;

/// Lines of each kind of fault that are shown.
const SHOWN: usize = 16;

/// All that does not match, so that one look at the message is enough to write a map.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// Ours, without a tensor.
    pub missing: Vec<String>,
    /// Tensors of encoder or decoder that nothing wants.
    pub left_over: Vec<String>,
    /// Ours and the tensor in that place.
    pub other_shape: Vec<String>,
    /// Ours, and what it could be.
    pub ambiguous: Vec<String>,
}

impl Faults {
    pub(super) fn any(&self) -> bool {
        let Faults {
            missing,
            left_over,
            other_shape,
            ambiguous,
        } = self;
        let lists = [missing, left_over, other_shape, ambiguous];
        lists.iter().any(|list| !list.is_empty())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the weights do not match the configuration")?;
        for (what, list) in [
            ("missing", &self.missing),
            ("left over", &self.left_over),
            ("of another shape", &self.other_shape),
            ("ambiguous", &self.ambiguous),
        ] {
            for line in list.iter().take(SHOWN) {
                write!(f, "\n  {what}: {line}")?;
            }
            if list.len() > SHOWN {
                write!(f, "\n  {what}: {} more", list.len() - SHOWN)?;
            }
        }
        write!(
            f,
            "\nchange the configuration, or name what belongs together in a file for --map, one line each: \
             \"encoder.0\" = \"their.module\""
        )
    }
}
