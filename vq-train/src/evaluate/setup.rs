//! What to evaluate, and by what.

use crate::metrics::Lpips;
use crate::rivals::Rival;

/// What to measure.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// The network for LPIPS, or none to leave it out.
    pub lpips: Option<&'a Lpips>,
    /// The models, one at least.
    pub models: &'a [Contestant],
    /// Whom to compare with.
    pub rivals: &'a [Rival],
    /// How many pictures, from the first, to keep for a contact sheet.
    pub samples: usize,
}

/// What has to be known of a model to report on it.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// What it is called in tables and on sheets.
    pub name: String,
    /// The number of codes in each stage's codebook.
    pub codebooks: Vec<usize>,
}
