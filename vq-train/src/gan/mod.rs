//! Adversarial training: a discriminator that learns to tell pictures from reconstructions.
//!
//! ```text
//! discriminator  its layers and passes, and the penalty R1
//! pause          when its learning is paused
//! adversary      a discriminator in training
//! ```
//!
//! In a step, pictures and reconstructions pass the discriminator once ([`Discriminate::pass`]). The same passes give the
//! generator's losses, with their gradients by the reconstructions, and then the discriminator's own gradients
//! ([`Adversary::learn`]). The losses themselves are in [`crate::loss::adversarial`].
//!
//! [`Discriminate::pass`]: crate::loss::adversarial::Discriminate::pass

mod discriminator;
mod pause;
mod adversary;
#[cfg(test)]
mod tests;

pub use adversary::{Adversary, AdversaryReport, AdversaryState};
pub use discriminator::Discriminator;
