//! Convolution, and its backward pass derived in full.
//!
//! # Forward
//! For one picture x `[h, w, c_in]`, weights W `[k, k, c_in, c_out]`, bias b `[c_out]`, stride s and p rows and
//! columns of zeros above and to the left (`pad.top_left`),
//! ```text
//! y[i, j, o] = b[o] + sum over u, v, c of x[i s + u - p, j s + v - p, c] W[u, v, c, o]
//! ```
//! with 0 <= u, v < k, where x counts as zero outside of the map. Zeros below and to the right (`pad.bottom_right`)
//! only decide how many rows i and columns j there are.
//!
//! # Backward, index by index
//! Given is dy, the loss's derivative by each y. The loss depends on W, b and x through y alone, so the
//! derivative by any of their values is the sum over all y[i, j, o] of dy[i, j, o] times the derivative of
//! y[i, j, o] by that value.
//!
//! b[o] is a term of y[i, j, o] for all i and j, with factor 1:
//! ```text
//! db[o] = sum over i, j of dy[i, j, o]
//! ```
//! W[u, v, c, o] is in each y[i, j, o] once, times the value that its tap reads there; on the padding
//! that is zero:
//! ```text
//! dW[u, v, c, o] = sum over i, j of x[i s + u - p, j s + v - p, c] dy[i, j, o]
//! ```
//! x[a, b, c] is in y[i, j, o] if a tap reads it there, i s + u - p = a and j s + v - p = b, and then times
//! W at this tap. For given i and j there is one such tap at most, u = a + p - i s and v = b + p - j s:
//! ```text
//! dx[a, b, c] = sum over i, j, o of dy[i, j, o] W[a + p - i s, b + p - j s, c, o]
//! ```
//! over those i and j for which both indices are taps, 0 to k - 1. Values of the padding have such a
//! derivative too, which is not computed.
//!
//! The stride lets only every s-th tap reach a given row: with a + p = m s + r and 0 <= r < s, these are
//! u = r + t s for t = 0, 1, .., and they come from i = m - t. The same goes for columns, with b + p =
//! m' s + r' and v = r' + t' s:
//! ```text
//! dx[a, b, c] = sum over t, t', o of dy[m - t, m' - t', o] W[r + t s, r' + t' s, c, o]
//! ```
//! where dy counts as zero outside of its grid. So all a, b of equal remainders r, r' are one correlation
//! of stride 1, of dy with the taps of these remainders in reverse order; s s of them make up dx, each value
//! of which is written once. With stride 1 there is one, of all taps, on dy with k - 1 - p zeros above.
//!
//! # Backward, as matrix products
//! Row (i, j) of X `[oh ow, k k c_in]` is the window that y[i, j] sees, in W's order. With W as
//! `[k k c_in, c_out]` and 1 a column of ones, Y = X W + 1 b'. Small changes of X, W and b change Y by
//! ```text
//! DX W + X DW + 1 Db'        (D is a change)
//! ```
//! and the loss by the inner product of that with G, the gradient of Y. As <G, A B> = <A' G, B> =
//! <G B', A>, this is <G W', DX> + <X' G, DW> + <1' G, Db'>: what stands before each change is its gradient,
//! ```text
//! of W: X' G        of b: column sums of G        of X: G W'
//! ```
//! X is read from x by picking: each of its values is one of x, or zero. Picking is linear, and its
//! transpose adds every value of G W' to the place in x that it was picked from. That is dx as above, with
//! the sum over o in the product and the sum over i, j in the adding up.
//!
//! # What runs
//! Neither X nor G W' is ever in memory. Windows are read where they lie, dx is computed by remainders
//! of rows and columns, and both may go through Winograd's transform: see [`maps`](super::maps). With a
//! fused ReLU, dy is first set to zero where y is not positive. Over a batch, gradients of W and b add up.

use super::affine::Entries;
use super::convolution::{Convolution, Geometry};
use super::layer::Axes;
use super::map::Dim4;
use super::maps::{Channels, Direction, Kernel, WeightSteps, Windows};
use super::padding::Padding;
use super::params::{Init, ParamTable};

/// What a convolution is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSpec {
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Side of the square kernel.
    pub kernel: usize,
    /// Step between windows; the map shrinks by exactly this factor.
    pub stride: usize,
    /// Zeros around the map.
    pub pad: Padding,
    /// ReLU on the output, fused.
    pub relu: bool,
    /// Whether there is a bias.
    pub bias: bool,
}

impl ConvSpec {
    /// A 1x1 convolution with a bias.
    pub fn pointwise(in_channels: usize, out_channels: usize) -> ConvSpec {
        ConvSpec {
            in_channels,
            out_channels,
            kernel: 1,
            stride: 1,
            pad: Padding::NONE,
            relu: false,
            bias: true,
        }
    }
}

impl Geometry for ConvSpec {
    const KIND: &'static str = "conv";
    const AXES: Axes = Axes::Conv;
    const DIRECTION: Direction = Direction::Gather;

    /// The large map is x, the small one y.
    fn kernel(&self) -> Kernel {
        Kernel {
            side: self.kernel,
            stride: self.stride,
            top_left: self.pad.top_left,
            channels: Channels {
                large: self.in_channels,
                small: self.out_channels,
            },
            steps: WeightSteps {
                ky: self.kernel * self.in_channels * self.out_channels,
                kx: self.in_channels * self.out_channels,
                large: self.out_channels,
                small: 1,
            },
        }
    }

    fn windows(&self, (_, h, w, _): Dim4) -> Windows {
        let out = |n: usize| (n + self.pad.total() - self.kernel) / self.stride + 1;
        Windows {
            kernel: self.kernel(),
            h,
            w,
            oh: out(h),
            ow: out(w),
        }
    }
}

/// A convolution with its place in the parameter vector: `[n, h, w, in_channels]` to
/// `[n, h / stride, w / stride, out_channels]`, by W `[kernel, kernel, in_channels, out_channels]`.
pub type Conv2d = Convolution<ConvSpec>;

impl Conv2d {
    /// Enters the parameters `NAME.weight` and `NAME.bias`.
    pub fn new(spec: ConvSpec, name: &str, init: Option<Init>, table: &mut ParamTable) -> Self {
        let ConvSpec {
            in_channels,
            out_channels,
            kernel,
            bias,
            relu,
            ..
        } = spec;
        let fan_in = (kernel * kernel * in_channels) as f64;
        let entries = Entries {
            shape: &[kernel, kernel, in_channels, out_channels],
            init: init.unwrap_or(Init::he(fan_in, relu)),
            bias,
            relu,
            forward: spec.kernel().panels_len(Direction::Gather),
            backward: spec.kernel().panels_len(Direction::Spread),
        };
        Conv2d {
            spec,
            params: entries.enter(name, table),
        }
    }
}
