//! The random generators of a run: one for each purpose at each position, so that a resumed run needs no generator's
//! state, and no number of threads changes what is drawn.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What the generators of a run are for; each purpose has its own stream at every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The parameters' first values.
    Weights = 1,
    /// The order of the pictures in an epoch.
    Order = 2,
    /// One picture's crop and flip.
    Crop = 3,
    /// k-means and restarted codes.
    Codes = 4,
    /// Dropout, and quantisers that sample.
    Layers = 5,
    /// A discriminator's first values.
    Discriminator = 6,
    /// The window of a picture of which LPIPS is taken.
    Window = 7,
}

/// The generator for one purpose at one position of a run.
pub fn generator(seed: u64, purpose: Purpose, position: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8] = purpose as u8;
    key[16..24].copy_from_slice(&position.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}
