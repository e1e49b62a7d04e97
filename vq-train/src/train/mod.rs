//! A model in training: its state, its steps, and figures about it. The loop over steps is [`crate::run::train`].
//!
//! ```text
//! networks    what a configuration describes, built and checked
//! trainer     the state between two steps
//! step        one optimiser step
//! not_finite  the search for the first NaN or infinity of a step that failed
//! validation  figures over a validation set
//! ```

mod error;
mod networks;
mod report;
mod trainer;
mod not_finite;
mod step;
mod validation;
#[cfg(test)]
mod tests;

pub use error::TrainError;
pub use networks::Networks;
pub use report::{StageUse, StepReport, Validation, ValidationSamples};
pub use trainer::Trainer;
