//! What integer tiles have in common, whatever multiplies.

use crate::element::{Output, UPPER};
use crate::tensor::Params;
use bytemuck::{Pod, Zeroable};

/// What sums of `L` channels start and end with.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(in crate::kernels) struct Head<const L: usize> {
    /// What the sums start with.
    pub(in crate::kernels) start: [i32; L],
    pub(in crate::kernels) multiplier: [i32; L],
    /// Bits by which the upper word of a product is shifted but for the last one. Negative where the result does not lie
    /// in the upper word.
    pub(in crate::kernels) shift: [i32; L],
}

// SAFETY: zeros are integers.
unsafe impl<const L: usize> Zeroable for Head<L> {}
// SAFETY: it consists of integers, so that every pattern of bits is one, and nothing lies between them.
unsafe impl<const L: usize> Pod for Head<L> {}

impl<const L: usize> super::elements::Head<i8> for Head<L> {
    fn set(
        &mut self,
        lane: usize,
        params: &Params<'_>,
        channel: usize,
        weights: &[[u8; 1]],
        offset: i32,
    ) {
        let weights = weights.as_flattened().iter();
        let sum: i32 = weights.map(|&weight| i32::from(weight as i8)).sum();
        let (multiplier, shift) = params.scale(channel);
        // The sum of all that is added wraps back into its range.
        self.start[lane] = params.bias(channel).wrapping_sub(offset.wrapping_mul(sum));
        self.multiplier[lane] = multiplier;
        self.shift[lane] = i32::from(shift) - i32::from(UPPER) - 1;
    }
    #[inline(always)]
    fn is_quick(&self) -> bool {
        // None is negative.
        self.shift.iter().fold(0, |all, shift| all | shift) >= 0
    }
    fn finish(&self, sums: &[i32], output: Output, out: &mut [i8]) {
        let scales = self.multiplier.iter().zip(&self.shift);
        for ((result, &sum), (&multiplier, &shift)) in out.iter_mut().zip(sums).zip(scales) {
            let shift = (shift + i32::from(UPPER) + 1) as u8;
            *result = output.requantise(i64::from(sum) * i64::from(multiplier), shift);
        }
    }
}
