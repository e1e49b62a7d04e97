//! The order of a map's latents in which those that share a coarse code are neighbours.

use crate::nn::Scalar;
use std::borrow::Cow;

/// Squares of the largest side from above to below and from left to right; within each, the squares of the
/// next side; and so on down to single latents.
#[derive(Debug, Clone, PartialEq)]
pub struct SquareOrder {
    /// For each place its latent's row by row; empty where the two orders are the same.
    places: Vec<usize>,
    dim: usize,
}

impl SquareOrder {
    /// The order of a map of height x width vectors of `dim` numbers. Each side is a multiple of the next, and height
    /// and width are multiples of the first.
    pub fn new(sides: &[usize], [height, width]: [usize; 2], dim: usize) -> SquareOrder {
        let mut places = Vec::new();
        if sides.iter().any(|&side| side > 1) {
            squares(sides, [0, 0], [height, width], &mut |[y, x]| {
                places.push(y * width + x);
            });
        }
        SquareOrder { places, dim }
    }

    /// Vectors of whole maps, from row by row to this order.
    pub fn gathered<T: Scalar>(&self, vectors: Vec<T>) -> Vec<T> {
        if self.places.is_empty() {
            return vectors;
        }
        self.moved(&vectors, |from, to, place, source| {
            to[place].copy_from_slice(from[source]);
        })
    }

    /// Vectors of whole maps, from this order to row by row.
    pub fn scattered<'v, T: Scalar>(&self, vectors: &'v [T]) -> Cow<'v, [T]> {
        if self.places.is_empty() {
            return vectors.into();
        }
        let moved = self.moved(vectors, |from, to, place, source| {
            to[source].copy_from_slice(from[place]);
        });
        moved.into()
    }

    fn moved<T: Scalar>(
        &self,
        vectors: &[T],
        copy: impl Fn(&[&[T]], &mut [&mut [T]], usize, usize),
    ) -> Vec<T> {
        let mut result = vec![T::zero(); vectors.len()];
        let map = self.places.len() * self.dim;
        for (from, to) in vectors.chunks_exact(map).zip(result.chunks_exact_mut(map)) {
            let from: Vec<_> = from.chunks_exact(self.dim).collect();
            let mut to: Vec<_> = to.chunks_exact_mut(self.dim).collect();
            for (place, &source) in self.places.iter().enumerate() {
                copy(&from, &mut to, place, source);
            }
        }
        result
    }
}

/// Visits the latents of an area.
fn squares(
    sides: &[usize],
    first: [usize; 2],
    [height, width]: [usize; 2],
    visit: &mut impl FnMut([usize; 2]),
) {
    let (side, finer) = match sides {
        [] => (1, sides),
        [side, finer @ ..] => (*side, finer),
    };
    for y in (first[0]..first[0] + height).step_by(side) {
        for x in (first[1]..first[1] + width).step_by(side) {
            match side {
                1 => visit([y, x]),
                _ => squares(finer, [y, x], [side, side], visit),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_lie_within_squares() {
        let order = SquareOrder::new(&[4, 2, 1], [4, 8], 1);
        let numbers: Vec<f32> = (0..32).map(|i| i as f32).collect();
        let gathered = order.gathered(numbers.clone());
        let first = [0, 1, 8, 9, 2, 3, 10, 11, 16, 17, 24, 25].map(|i| i as f32);
        assert_eq!(gathered[..12], first);
        assert_eq!(gathered[16..20], [4.0, 5.0, 12.0, 13.0]);
        assert_eq!(order.scattered(&gathered), numbers);
    }

    #[test]
    fn several_maps_are_ordered_each_by_itself() {
        let order = SquareOrder::new(&[2], [2, 4], 2);
        let numbers: Vec<f32> = (0..32).map(|i| i as f32).collect();
        let gathered = order.gathered(numbers.clone());
        assert_eq!(gathered[4..8], [8.0, 9.0, 10.0, 11.0]);
        assert_eq!(gathered[20..24], [24.0, 25.0, 26.0, 27.0]);
        assert_eq!(order.scattered(&gathered), numbers);
    }

    #[test]
    fn single_latents_stay_row_by_row() {
        let order = SquareOrder::new(&[1, 1], [3, 5], 1);
        assert_eq!(order.gathered(vec![1.0f32; 15]), vec![1.0; 15]);
        assert!(order.places.is_empty());
    }
}
