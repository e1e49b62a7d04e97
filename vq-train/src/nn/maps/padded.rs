//! Maps with zeros around them.

use crate::nn::scalar::Scalar;
use crate::nn::tape::Tape;

/// A padded map `[rows, columns, channels]`: its values, or with () only its shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Padded<V> {
    pub(super) values: V,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) channels: usize,
}

/// Pads maps of one shape, one after the other, in the same memory.
#[derive(Debug)]
pub(super) struct Padder<T> {
    /// Zeros, but for the map that was padded last; empty where there is no padding.
    values: Vec<T>,
    /// What maps are padded to.
    target: Padded<()>,
    /// Values of a row of a map.
    run: usize,
    /// Where a map's first value goes.
    first: usize,
}

impl<T: Scalar> Padder<T> {
    /// For maps of `[rows, columns]`, with so many rows and columns of zeros above and to the left.
    pub(super) fn new(
        [rows, columns]: [usize; 2],
        target: Padded<()>,
        top_left: usize,
        tape: &mut Tape<T>,
    ) -> Self {
        let unchanged = [rows, columns] == [target.rows, target.columns];
        let len = if unchanged {
            0
        } else {
            target.rows * target.columns * target.channels
        };
        let mut values = tape.buffer(len);
        values.fill(T::zero());
        Padder {
            values,
            target,
            run: columns * target.channels,
            first: (top_left * target.columns + top_left) * target.channels,
        }
    }

    /// Pads one map, in the place of the former one.
    pub(super) fn pad<'m>(&'m mut self, map: &'m [T]) -> Padded<&'m [T]> {
        let Padded {
            rows,
            columns,
            channels,
            ..
        } = self.target;
        let values = if self.values.is_empty() {
            map
        } else {
            let targets = self.values[self.first..].chunks_mut(columns * channels);
            for (target, source) in targets.zip(map.chunks_exact(self.run)) {
                target[..self.run].copy_from_slice(source);
            }
            &self.values
        };
        Padded {
            values,
            rows,
            columns,
            channels,
        }
    }

    /// Gives the memory back.
    pub(super) fn recycle(self, tape: &mut Tape<T>) {
        tape.recycle_buffer(self.values);
    }
}
