//! Additions of integers whose sums fit into words of 32 bits.

use super::{AddRow, scalar};

/// An addition's numbers.
///
/// ```text
/// a[i] = saturate(a[i] * input + b[i] * skip + base >> 20)
/// ```
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Words {
    /// Factor of the first summand.
    pub(super) input: i32,
    /// Factor of the second.
    pub(super) skip: i32,
    /// What the zero points come to, and half a step for rounding.
    pub(super) base: i32,
}

/// Fractional bits of a sum in a word. Exporters write no more.
pub(super) const SHIFT: u8 = 20;

impl Words {
    /// None where words are too short.
    #[inline]
    pub(super) fn new(row: &AddRow<'_, i8>) -> Option<Self> {
        let (scale, rescale) = (&row.scale, &row.scale.rescale);
        let left = SHIFT.checked_sub(rescale.shift)?;
        let half = 1 << (SHIFT - 1);
        let [input, skip] = [rescale.input, rescale.skip].map(|factor| i64::from(factor) << left);
        let most = (input + skip) * 255 + half * 257;
        if most > i32::MAX.into() {
            return None;
        }
        let base = (2 * i64::from(scale.output.zero) + 1) * half
            - i64::from(scale.zero_a) * input
            - i64::from(scale.zero_b) * skip;
        Some(Self {
            input: input as i32,
            skip: skip as i32,
            base: base as i32,
        })
    }
}

/// See [`scalar::add_row`].
///
/// Inlined, so that it becomes vector code of whatever its caller is compiled for.
#[inline(always)]
pub(super) fn add_row(row: &AddRow<'_, i8>, a: &mut [i8]) {
    let Some(Words { input, skip, base }) = Words::new(row) else {
        return scalar::add_row(row, a);
    };
    let low = i32::from(row.scale.output.low());
    for (a, &b) in a.iter_mut().zip(row.b) {
        let sum = i32::from(*a) * input + base + i32::from(b) * skip;
        *a = (sum >> SHIFT).clamp(low, i8::MAX.into()) as i8;
    }
}
