//! How elements become the numbers of tiles, and sums become elements again; and how both lie in packed filters.

use super::tile::Tiles;
use crate::element::{Arithmetic, Element, Output};
use crate::kernels::row::ALIGN;
use crate::tensor::Params;
use bytemuck::Pod;

/// How rows of an element type become numbers of the tiles, and how sums become elements.
///
/// # Safety
/// Whoever implements it promises that `Sums` lies in memory as an array of LANES sums of the element type, and that
/// [`Self::finish`] writes no more than its callers guarantee.
pub(in crate::kernels) unsafe trait TilesOf<E: Element>:
    Tiles<Head: Head<E>>
{
    /// What LANES sums are finished with.
    type Scale: Copy;
    /// Whether rows of elements are rows of numbers as they are.
    const AS_IT_IS: bool;

    /// An activation as a number.
    fn activation(x: E) -> Self::Number;
    /// A weight as a number.
    fn weight(weight: E) -> Self::Number;

    /// What the sums are finished with.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn scale(head: &Self::Head) -> Self::Scale;

    /// Stores the first `count` sums as elements.
    ///
    /// # Safety
    /// The processor has the instruction set. `count` is at most LANES, and so many elements are writable at `out`. The
    /// head that `scale` was made of [is quick](Head::is_quick).
    unsafe fn finish(
        sums: Self::Sums,
        scale: Self::Scale,
        output: Output,
        out: *mut E,
        count: usize,
    );
}

/// What a block of packed weights starts with: what its sums start and end with, whatever multiplies.
pub(in crate::kernels) trait Head<E: Arithmetic>: Pod {
    /// A channel's part. `weights` are all of the channel, `offset` is what activations are larger by than elements.
    fn set(
        &mut self,
        lane: usize,
        params: &Params<'_>,
        channel: usize,
        weights: &[E::Stored],
        offset: i32,
    );
    /// Whether vectors can finish the sums.
    fn is_quick(&self) -> bool;
    /// Finishes sums one by one, in every case.
    fn finish(&self, sums: &[E::Sum], output: Output, out: &mut [E]);
}

/// Elements of a type in which `bytes` lie.
pub(in crate::kernels) const fn elements<E>(bytes: usize) -> usize {
    bytes.div_ceil(size_of::<E>())
}

/// Elements that so many packed blocks take; of more than fits any memory, all there can be.
pub(super) fn packed_elements<E>(block_bytes: usize, blocks: usize) -> usize {
    let bytes = block_bytes.saturating_mul(blocks);
    elements::<E>(bytes.checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX))
}

/// A packed block: its head and its weights.
pub(super) fn block_mut<T: Tiles>(block: &mut [u8]) -> (&mut T::Head, &mut [T::Number]) {
    let (head, weights) = block.split_at_mut(size_of::<T::Head>());
    (
        bytemuck::from_bytes_mut(head),
        bytemuck::cast_slice_mut(weights),
    )
}
