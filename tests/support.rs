//! What the tests share: a source of random numbers, models made of them, and a plain executor.

#[path = "support/draft.rs"]
pub mod draft;
#[path = "support/random.rs"]
pub mod random;
#[path = "support/reference.rs"]
pub mod reference;
#[path = "support/streamed.rs"]
pub mod streamed;

pub use draft::Draft;
pub use random::Random;
