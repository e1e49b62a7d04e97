//! Which vectors chose a code, code by code.
//!
//! Sums over a code's vectors run in the vectors' order, each on one thread: the result does not depend on
//! the number of threads.

use crate::nn::Scalar;
use rayon::prelude::*;

/// Codes of a parallel task.
const CODES: usize = 16;

/// The vectors of each of K codes.
#[derive(Debug)]
pub(super) struct Members {
    /// Indices of vectors, sorted by code and then by index, `[P]`.
    order: Vec<u32>,
    /// Where each code's begin, and the end, `[K + 1]`.
    starts: Vec<usize>,
}

impl Members {
    /// Sorts the vectors by the code that they chose.
    pub(super) fn new(codes: &[u16], k: usize) -> Members {
        let mut starts = vec![0; k + 1];
        for &code in codes {
            starts[usize::from(code) + 1] += 1;
        }
        for i in 0..k {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut order = vec![0; codes.len()];
        for (i, &code) in codes.iter().enumerate() {
            let place = &mut next[usize::from(code)];
            order[*place] = i as u32;
            *place += 1;
        }
        Members { order, starts }
    }

    /// How many chose each code, `[K]`.
    pub(super) fn counts(&self) -> impl Iterator<Item = usize> + '_ {
        self.starts.windows(2).map(|ends| ends[1] - ends[0])
    }

    /// Calls `add(where the vector begins, sum of its code)` for every vector of `[P, dim]`; `sums` are `[K, dim]`.
    pub(super) fn for_each<T: Scalar>(
        &self,
        dim: usize,
        sums: &mut [T],
        add: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let of = |k: usize| &self.order[self.starts[k]..self.starts[k + 1]];
        let sums = sums.par_chunks_mut(dim).enumerate().with_min_len(CODES);
        sums.for_each(|(k, sum)| of(k).iter().for_each(|&i| add(i as usize * dim, sum)));
    }

    /// Adds each code's vectors out of `z` `[P, dim]` to its sum in `sums` `[K, dim]`.
    pub(super) fn add_sums<T: Scalar>(&self, z: &[T], dim: usize, sums: &mut [T]) {
        self.for_each(dim, sums, |i, sum| {
            sum.iter_mut().zip(&z[i..]).for_each(|(s, &x)| *s += x);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_sums_agree_with_a_plain_loop() {
        let codes = [2u16, 0, 2, 2, 3, 0];
        let z: Vec<f64> = (0..12).map(f64::from).collect();
        let members = Members::new(&codes, 5);
        assert_eq!(members.counts().collect::<Vec<_>>(), [2, 0, 3, 1, 0]);
        let mut sums = [0.0; 10];
        members.add_sums(&z, 2, &mut sums);
        assert_eq!(sums, [12.0, 14.0, 0.0, 0.0, 10.0, 13.0, 8.0, 9.0, 0.0, 0.0]);
    }
}
