//! What the tests share: a source of random numbers, models made of them, a golden one among them, a plain executor,
//! and the check sum of packets.

#[path = "support/draft.rs"]
pub mod draft;
#[path = "support/operators.rs"]
pub mod operators;
#[path = "support/random.rs"]
pub mod random;
#[path = "support/reference.rs"]
pub mod reference;
#[path = "support/seal.rs"]
pub mod seal;

pub use draft::Draft;
pub use random::Random;
pub use seal::seal;
