//! LPIPS of two pictures, by the network that training uses too.

use super::assert_comparable;
use crate::data::to_batch;
use crate::loss::Lpips;
use crate::nn::Tape;
use crate::picture::Picture;
use std::slice;

impl Lpips {
    /// The perceptual distance of two pictures, 0 when they are identical; `None` where a side is
    /// shorter than [`Lpips::MIN_SIDE`]. Grey pictures are taken as RGB.
    ///
    /// # Panics
    /// When the pictures differ in size or channels.
    pub fn distance(&self, a: &Picture, b: &Picture) -> Option<f64> {
        assert_comparable(a, b);
        if a.width.min(a.height) < Self::MIN_SIDE {
            return None;
        }
        let [a, b] = [a, b].map(|picture| to_batch(slice::from_ref(picture)));
        Some(self.sum(a.view(), b.view(), &mut Tape::off()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Size;

    #[test]
    fn identical_pictures_have_no_distance_and_small_ones_none_at_all() {
        let network = Lpips::small();
        let filled = |width: usize, height: usize, colour: &[u8]| {
            Picture::filled(Size { width, height }, colour)
        };
        let side = Lpips::MIN_SIDE;
        let [a, b] = [[9, 99, 199], [99, 9, 9]].map(|c| filled(side, side + 9, &c));
        assert_eq!(network.distance(&a, &a), Some(0.0));
        assert_ne!(network.distance(&a, &b), Some(0.0));
        let small = filled(side - 1, side, &[9]);
        assert_eq!(network.distance(&small, &small), None);
        // Grey is the same in one channel and in three.
        let grey = [9u8, 99].map(|v| filled(side, side, &[v]));
        let rgb = grey.clone().map(|p| p.with_channels(3));
        let distances = [&grey, &rgb].map(|[a, b]| network.distance(a, b));
        assert_eq!(distances[0], distances[1]);
    }
}
