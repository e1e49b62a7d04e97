//! A link that loses packets, for measurements.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Takes away a share of the packets, rounded to whole ones, chosen by the seed; one always stays.
pub fn drop_packets<P>(packets: &mut Vec<P>, share: f64, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let lost = (packets.len() as f64 * share).round() as usize;
    for _ in 0..lost.min(packets.len().saturating_sub(1)) {
        packets.remove(rng.random_range(0..packets.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loses_the_share_asked_for_and_never_all() {
        for (share, left) in [(0.0, 10), (0.2, 8), (0.95, 1), (1.0, 1)] {
            let mut packets: Vec<u32> = (0..10).collect();
            drop_packets(&mut packets, share, 3);
            assert_eq!(packets.len(), left);
        }
        let lost = |seed| {
            let mut packets: Vec<u32> = (0..10).collect();
            drop_packets(&mut packets, 0.3, seed);
            packets
        };
        assert_eq!(lost(1), lost(1));
        assert!((0..20).any(|seed| lost(seed) != lost(1)));
    }
}
