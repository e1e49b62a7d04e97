//! What tiles of single precision have in common, whatever multiplies.

use super::elements::Head;
use crate::element::{Output, Real};
use crate::tensor::Params;

/// The biases.
impl<R: Real<Sum = f32>, const L: usize> Head<R> for [f32; L] {
    #[inline(always)]
    fn set(&mut self, lane: usize, params: &Params<'_>, channel: usize, _: &[R::Stored], _: i32) {
        self[lane] = R::bias(params, channel);
    }
    #[inline(always)]
    fn is_quick(&self) -> bool {
        true
    }
    #[inline(always)]
    fn finish(&self, sums: &[f32], output: Output, out: &mut [R]) {
        for (result, &sum) in out.iter_mut().zip(sums) {
            *result = R::rounded(output.rectify(sum));
        }
    }
}
