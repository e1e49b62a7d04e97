//! Training pictures of one folder or several, and which of them comes when.
//!
//! Of several folders, each has a share of all samples by its weight. The shares hold in every stretch
//! of the run, a batch as well as an epoch, and not on average only: the n-th sample's folder and its
//! number there follow from n by a division. The first of the folders has floor(share * n) of the first n
//! samples; the others part what is left in the same way.

use crate::picture::Picture;
use crate::random::{Purpose, generator};
use rand::RngExt;
use std::sync::Mutex;

/// Shares are counted in parts of this.
const WHOLE: u64 = 1 << 32;

/// The pictures of all folders.
#[derive(Debug)]
pub(super) struct Mix {
    folders: Vec<Folder>,
}

/// The pictures of a folder.
#[derive(Debug)]
struct Folder {
    pictures: Vec<Picture>,
    /// Of the samples that the folders before leave, out of `WHOLE`.
    share: u64,
    /// The last epoch that was asked for, and the order of the pictures in it.
    order: Mutex<Option<(u64, Vec<u32>)>>,
}

impl Mix {
    /// Pictures and weight of each folder; no folder may be empty, no weight zero.
    pub(super) fn new(folders: Vec<(Vec<Picture>, f64)>) -> Mix {
        let mut left: f64 = folders.iter().map(|(_, weight)| weight).sum();
        let last = folders.len() - 1;
        let folder = |(i, (pictures, weight)): (usize, (Vec<Picture>, f64))| {
            let share = (weight / left * WHOLE as f64).round() as u64;
            left -= weight;
            Folder {
                pictures,
                share: if i == last { WHOLE } else { share.min(WHOLE) },
                order: Mutex::new(None),
            }
        };
        Mix {
            folders: folders.into_iter().enumerate().map(folder).collect(),
        }
    }

    /// Number of pictures.
    pub(super) fn len(&self) -> usize {
        self.folders.iter().map(|f| f.pictures.len()).sum()
    }

    /// The picture that a sample is taken from.
    pub(super) fn picture(&self, seed: u64, sample: u64) -> &Picture {
        let (folder, sample) = self.place(sample);
        &self.folders[folder].pictures[self.index(seed, folder, sample)]
    }

    /// The folder of a sample, and how many samples before it were of the same.
    fn place(&self, sample: u64) -> (usize, u64) {
        let mut left = sample;
        for (i, folder) in self.folders.iter().enumerate() {
            // At most `n`, as a share is at most the whole.
            let of_first =
                |n: u64| (u128::from(n) * u128::from(folder.share) / u128::from(WHOLE)) as u64;
            let own = of_first(left);
            if of_first(left + 1) > own {
                return (i, own);
            }
            left -= own;
        }
        unreachable!("the last folder takes all that is left")
    }

    /// Each epoch of a folder passes its every picture once, in an order of its own.
    fn index(&self, seed: u64, folder: usize, sample: u64) -> usize {
        let Folder {
            pictures, order, ..
        } = &self.folders[folder];
        let n = pictures.len() as u64;
        let epoch = sample / n;
        let mut order = order
            .lock()
            .expect("no thread panics while it holds the order");
        if order.as_ref().is_none_or(|(e, _)| *e != epoch) {
            let position = ((folder as u64) << 48) | epoch;
            *order = Some((epoch, shuffled(n as u32, seed, position)));
        }
        let (_, order) = order.as_ref().expect("just set");
        order[(sample % n) as usize] as usize
    }
}

fn shuffled(n: u32, seed: u64, position: u64) -> Vec<u32> {
    let mut rng = generator(seed, Purpose::Order, position);
    let mut order: Vec<u32> = (0..n).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, rng.random_range(0..=i));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Size;

    /// `counts[i]` pictures of shade `i` in folder `i`.
    fn mix(counts: &[usize], weights: &[f64]) -> Mix {
        let size = Size {
            width: 1,
            height: 1,
        };
        let folder = |(i, (&n, &weight))| (vec![Picture::filled(size, &[i as u8]); n], weight);
        Mix::new(counts.iter().zip(weights).enumerate().map(folder).collect())
    }

    #[test]
    fn an_epoch_passes_every_picture_once() {
        let mix = mix(&[7], &[3.0]);
        for epoch in 0..3 {
            let mut seen: Vec<usize> = (0..7).map(|i| mix.index(1, 0, epoch * 7 + i)).collect();
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(shuffled(7, 1, 0), shuffled(7, 1, 1));
        assert_ne!(shuffled(7, 1, 0), shuffled(7, 2, 0));
    }

    #[test]
    fn shares_hold_in_every_stretch() {
        let weights = [5.0, 0.5, 2.5, 2.0];
        let mix = mix(&[3, 1, 4, 1], &weights);
        for first in [0, 37, 1 << 40] {
            let mut seen = [0.0; 4];
            for n in 1..=400 {
                seen[mix.place(first + n - 1).0] += 1.0;
                for (count, weight) in seen.iter().zip(weights) {
                    let due = n as f64 * weight / 10.0;
                    assert!((count - due).abs() < 3.0, "{seen:?} of {n} from {first}");
                }
            }
        }
    }

    #[test]
    fn samples_of_a_folder_are_numbered_without_gaps() {
        let mix = mix(&[1, 1, 1], &[0.7, 0.001, 1.3]);
        let mut next = [0; 3];
        for sample in 0..5000 {
            let (folder, number) = mix.place(sample);
            assert_eq!(number, next[folder], "sample {sample}");
            next[folder] += 1;
        }
        assert!(next.iter().all(|&n| n > 0), "{next:?}");
        assert_eq!(mix.picture(1, 0).pixels, [mix.place(0).0 as u8]);
    }
}
