//! A training run: the loop over steps, and the folder it writes into.

mod folder;
mod training;

pub use folder::{CONFIG_NAME, RunFolder};
pub use training::{Observer, Summary, train};
