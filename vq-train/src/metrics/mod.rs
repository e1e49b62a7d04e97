//! How far a decoded picture is from the original: PSNR, SSIM, MS-SSIM, LPIPS and SSIMULACRA2.
//!
//! All look at the 8-bit samples that a user would see, not at the network's floats. What is
//! measured over a whole set of pictures, and against which rivals, is in [`crate::evaluate`].

mod psnr;
mod ssim;
mod ms_ssim;
mod lpips;
mod ssimulacra2;
mod scores;

pub use crate::loss::{Lpips, LpipsError};
pub use ms_ssim::ms_ssim;
pub use psnr::{PSNR_OF_IDENTICAL, mean_squared_error, psnr};
pub use scores::Scores;
pub use ssim::ssim;
pub use ssimulacra2::ssimulacra2;

use crate::picture::Picture;

fn assert_comparable(a: &Picture, b: &Picture) {
    assert_eq!(
        (a.size(), a.channels),
        (b.size(), b.channels),
        "pictures to be compared"
    );
}
