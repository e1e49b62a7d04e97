//! Which of two maps is multiplied: the large one, window by window, or the small one, position by position.

use super::windows::{Kernel, Windows};
use crate::nn::map::Dim4;
use crate::nn::panels::Factors;
use crate::nn::scalar::Scalar;
use crate::nn::tape::Tape;

/// The direction of a product between a large map and a small one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::nn) enum Direction {
    /// From the large map to the small one: a convolution.
    Gather,
    /// From the small map to the large one: a transposed convolution.
    Spread,
}

impl Direction {
    /// The direction of the gradient with respect to the input.
    pub(in crate::nn) fn adjoint(self) -> Self {
        match self {
            Direction::Gather => Direction::Spread,
            Direction::Spread => Direction::Gather,
        }
    }
}

impl Kernel {
    /// Length of the panels for [`Windows::multiply`].
    pub(in crate::nn) fn panels_len(&self, direction: Direction) -> usize {
        match direction {
            Direction::Gather => self.gather_len(),
            Direction::Spread => self.spread_len(),
        }
    }

    /// Packs weights for [`Windows::multiply`].
    pub(in crate::nn) fn pack<T: Scalar>(
        &self,
        direction: Direction,
        weight: &[T],
        panels: &mut [T],
    ) {
        match direction {
            Direction::Gather => self.pack_gather(weight, panels),
            Direction::Spread => self.pack_spread(weight, panels),
        }
    }
}

impl Windows {
    /// The shape of n maps that a product in this direction writes.
    pub(in crate::nn) fn output(&self, direction: Direction, n: usize) -> Dim4 {
        let channels = self.kernel.channels;
        match direction {
            Direction::Gather => (n, self.oh, self.ow, channels.small),
            Direction::Spread => (n, self.h, self.w, channels.large),
        }
    }

    /// Maps `from`, times the weights, to maps `to` of the other size.
    pub(in crate::nn) fn multiply<T: Scalar>(
        &self,
        direction: Direction,
        from: &[T],
        factors: Factors<'_, T>,
        to: &mut [T],
        tape: &mut Tape<T>,
    ) {
        match direction {
            Direction::Gather => self.gather(from, factors, to, tape),
            Direction::Spread => self.spread(from, factors, to, tape),
        }
    }
}
