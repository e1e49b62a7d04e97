//! MS-SSIM of two pictures, by the function that is also a loss.

use super::assert_comparable;
use crate::data::to_batch;
use crate::loss::ms_ssim::{self, MIN_SIDE};
use crate::nn::Tape;
use crate::picture::Picture;
use std::slice;

/// Multi-scale structural similarity, at most 1; `None` where a side is shorter than its window of 11.
///
/// In five scales where the sides are 161 at least, in fewer else: see [`crate::loss::ms_ssim`].
///
/// # Panics
/// When the pictures differ in size or channels.
pub fn ms_ssim(a: &Picture, b: &Picture) -> Option<f64> {
    assert_comparable(a, b);
    let [a, b] = [a, b].map(|picture| to_batch(slice::from_ref(picture)));
    let (_, h, w, _) = a.dim();
    (h.min(w) >= MIN_SIDE).then(|| ms_ssim::similarities(a.view(), b.view(), &mut Tape::off())[0])
}
