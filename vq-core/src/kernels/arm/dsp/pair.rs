//! What the instructions are given at once.

use crate::element::Output;
use crate::kernels::arm::channel::Channel;

/// Numbers that are widened together.
pub(super) const GROUP: usize = 4;

/// Points, and channels, whose sums grow side by side.
pub(super) const PAIR: usize = 2;

/// Two channels of some rows under the kernel, laid out.
pub(super) struct Pair<'a> {
    /// In row r point x has `taps` numbers from r * `row` + x * `step` on.
    pub(super) inputs: &'a [i16],
    /// How many rows there are.
    pub(super) rows: usize,
    /// Numbers from a row to the next.
    pub(super) row: usize,
    /// Numbers from a point's window to the next.
    pub(super) step: usize,
    /// Numbers of a window in a row: whole groups.
    pub(super) taps: usize,
    /// Weights of the two channels, interleaved.
    pub(super) weights: &'a [i16],
    /// The two channels; of the last odd one twice the same.
    pub(super) channels: [Channel; PAIR],
    /// Whether sums start with the biases.
    pub(super) is_first: bool,
    /// Whether sums become results.
    pub(super) is_last: bool,
    /// The sums of each point, and of one more where their number is odd; none where they start and end here.
    pub(super) sums: &'a mut [[i32; PAIR]],
    /// How results are stored.
    pub(super) output: Output,
    /// Channels to be written, one or two.
    pub(super) wanted: usize,
    /// Points, at least one.
    pub(super) points: usize,
    /// From a point's results to the next one's.
    pub(super) out_step: usize,
}
