//! Maps with zeros around them.

use crate::nn::{Scalar, Tape};

/// A map with its padding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Padded<'m, T> {
    pub(super) values: &'m [T],
    pub(super) columns: usize,
    pub(super) channels: usize,
}

/// How maps are padded, and the memory for one.
#[derive(Debug)]
pub(super) struct Padding<T> {
    /// Zeros, but for the map that was padded last; empty where there is no padding.
    values: Vec<T>,
    /// Of the padded map.
    columns: usize,
    channels: usize,
    /// Values of a row of the map.
    run: usize,
    /// Where the map's first value goes.
    first: usize,
}

impl<T: Scalar> Padding<T> {
    pub(super) fn new(
        map: (usize, usize),
        size: (usize, usize),
        before: usize,
        channels: usize,
        tape: &mut Tape<T>,
    ) -> Self {
        let len = if map == size {
            0
        } else {
            size.0 * size.1 * channels
        };
        let mut values = tape.buffer(len);
        values.fill(T::zero());
        Padding {
            values,
            columns: size.1,
            channels,
            run: map.1 * channels,
            first: (before * size.1 + before) * channels,
        }
    }

    /// Pads one map, in the place of the former one.
    pub(super) fn pad<'m>(&'m mut self, map: &'m [T]) -> Padded<'m, T> {
        let (columns, channels) = (self.columns, self.channels);
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
            columns,
            channels,
        }
    }

    /// Gives the memory back.
    pub(super) fn recycle(self, tape: &mut Tape<T>) {
        tape.recycle_buffer(self.values);
    }
}
