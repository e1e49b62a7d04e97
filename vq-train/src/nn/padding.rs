//! Rows and columns of zeros around a map, and how configurations name them.

use super::builder::{BuildError, Builder};
use serde::{Deserialize, Serialize};

/// Rows and columns of zeros around a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// Rows above, and columns to the left.
    pub top_left: usize,
    /// Rows below, and columns to the right.
    pub bottom_right: usize,
}

impl Padding {
    /// No padding.
    pub const NONE: Padding = Padding::even(0);

    /// As many rows and columns on every side.
    pub const fn even(n: usize) -> Padding {
        Padding {
            top_left: n,
            bottom_right: n,
        }
    }

    /// Padding that divides a map's size by exactly `stride`: `kernel - stride` in all, the odd one
    /// below and to the right, as TensorFlow's SAME and VQ-GAN's downsampling have it.
    pub fn same(kernel: usize, stride: usize) -> Padding {
        let total = kernel.saturating_sub(stride);
        Padding {
            top_left: total / 2,
            bottom_right: total - total / 2,
        }
    }

    /// Rows, or columns, of both sides together.
    pub fn total(self) -> usize {
        self.top_left + self.bottom_right
    }
}

/// Rows and columns of zeros around a map, in a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Pad {
    /// As many on every side.
    Even(usize),
    /// Before (above, left) and after (below, right).
    Sides([usize; 2]),
}

impl<L> Builder<'_, L> {
    /// Padding as given, if it makes a map shrink by exactly the stride, otherwise the default.
    pub(super) fn padding(
        &self,
        kernel: usize,
        stride: usize,
        pad: Option<Pad>,
    ) -> Result<Padding, BuildError> {
        let [before, after] = match pad {
            None => return Ok(Padding::same(kernel, stride)),
            Some(Pad::Even(n)) => [n, n],
            Some(Pad::Sides(sides)) => sides,
        };
        let exact = kernel - stride..kernel;
        if !before
            .checked_add(after)
            .is_some_and(|sum| exact.contains(&sum))
        {
            let reason = format!(
                "pad = [{before}, {after}] must add up to {} to {}",
                exact.start,
                kernel - 1
            );
            return Err(self.error(&reason));
        }
        Ok(Padding {
            top_left: before,
            bottom_right: after,
        })
    }
}
