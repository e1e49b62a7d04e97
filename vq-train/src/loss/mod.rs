//! All losses, each with its gradient by the reconstructions, and their weighted sum.
//!
//! ```text
//! pixel        sample by sample: MSE, L1, Charbonnier
//! lpips        features of AlexNet
//! ms_ssim      statistics of windows, at several scales
//! adversarial  a discriminator's logits and features
//! total        the sum that a configuration asks for
//! ```
//!
//! The quantiser's own terms lie in [`crate::quantizer`]; the model adds them.

mod interface;
mod pixel;
mod window;
mod lpips;
pub mod ms_ssim;
pub mod adversarial;
mod total;

pub use interface::{AdversarialTerm, Loss, LossAndGradient, Losses};
pub use lpips::{Lpips, LpipsError};
pub use pixel::PixelLoss;
pub use total::{AdversarialPart, LossTerms, TotalLoss, Window, check};
