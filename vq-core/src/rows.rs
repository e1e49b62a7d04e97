//! Views of rings inside the scratch: rows by their number in the map, wherever they are kept.

use crate::element::Arithmetic;
use crate::plan::Ring;
use crate::slices::Parts;

/// The rows of a value that are still kept, for reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a, E> {
    ring: &'a Ring,
    data: &'a [E],
}

impl<'a, E> Rows<'a, E> {
    /// The ring lies in one of the two parts of the scratch.
    pub(crate) fn new(ring: &'a Ring, around: &Around<'a, E>) -> Self {
        let data = match ring.offset.checked_sub(around.after_at) {
            Some(offset) => around.after.part(offset, ring.slots_len()),
            None => around.before.part(ring.offset, ring.slots_len()),
        };
        Self { ring, data }
    }

    pub(crate) fn ring(&self) -> &'a Ring {
        self.ring
    }

    /// Row y from `before` columns of padding before the map's first column, or as many as are kept, to the padding's end.
    pub(crate) fn row(&self, y: i32, before: u8) -> &'a [E] {
        let columns = usize::from(self.ring.pad.left.saturating_sub(before));
        let start = columns * usize::from(self.ring.map.channels);
        self.data
            .part(slot(self.ring, y), self.ring.row_len())
            .behind(start)
    }

    /// How many of `before` columns of padding are not kept.
    pub(crate) fn missing(&self, before: u8) -> usize {
        before.saturating_sub(self.ring.pad.left).into()
    }

    /// What padding consists of.
    pub(crate) fn zero(&self) -> E
    where
        E: Arithmetic,
    {
        E::zero(self.ring.map.quant.zero)
    }

    /// Row y of the map, without padding: w * c elements.
    pub(crate) fn inner_row(&self, y: i32) -> &'a [E] {
        self.row(y, 0).part(0, self.ring.inner_len())
    }

    /// All rows of the map, without padding; they must all be kept.
    pub(crate) fn rows(self) -> impl Iterator<Item = &'a [E]> + Clone
    where
        E: Copy,
    {
        (0..self.ring.height as i32).map(move |y| self.inner_row(y))
    }

    /// All points of the map, c elements each; they must all be kept.
    pub(crate) fn points(self) -> impl Iterator<Item = &'a [E]> + Clone
    where
        E: Copy,
    {
        let channels = usize::from(self.ring.map.channels);
        self.rows().flat_map(move |row| row.chunks_exact(channels))
    }
}

/// The scratch around the ring of the value that is being made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'a, E> {
    before: &'a [E],
    after: &'a [E],
    /// Where the second part starts in the scratch.
    after_at: usize,
}

/// The ring of the value that is being made.
#[derive(Debug)]
pub(crate) struct RowsMut<'a, E> {
    ring: &'a Ring,
    data: &'a mut [E],
}

impl<'a, E> RowsMut<'a, E> {
    /// `scratch` is all of it.
    pub(crate) fn new(ring: &'a Ring, scratch: &'a mut [E]) -> Self {
        Self::split(ring, scratch).0
    }

    /// The ring, and what lies around it.
    pub(crate) fn split(ring: &'a Ring, scratch: &'a mut [E]) -> (Self, Around<'a, E>) {
        let (before, rest) = scratch.parted_mut(ring.offset);
        let (data, after) = rest.parted_mut(ring.slots_len() + ring.state_len);
        let around = Around {
            before,
            after,
            after_at: ring.offset + data.len(),
        };
        (Self { ring, data }, around)
    }

    /// Fills all slots, the padding at their sides included.
    pub(crate) fn clear(&mut self, zero: E)
    where
        E: Clone,
    {
        self.data.part_mut(0, self.ring.slots_len()).fill(zero);
    }

    pub(crate) fn ring(&self) -> &'a Ring {
        self.ring
    }

    /// Row y of the map, without padding: w * c elements.
    pub(crate) fn row(&mut self, y: i32) -> &mut [E] {
        let (ring, data) = (self.ring, &mut *self.data);
        RowsMut { ring, data }.into_row(y)
    }

    /// The same, for as long as the scratch is borrowed.
    pub(crate) fn into_row(self, y: i32) -> &'a mut [E] {
        self.into_row_and_state(y).0
    }

    /// The same, and what the operator that makes the rows keeps of the whole map.
    pub(crate) fn into_row_and_state(self, y: i32) -> (&'a mut [E], &'a mut [E]) {
        let (slots, rest) = self.data.parted_mut(self.ring.slots_len());
        let before = usize::from(self.ring.pad.left) * usize::from(self.ring.map.channels);
        let start = slot(self.ring, y) + before;
        let row = slots.part_mut(start, self.ring.inner_len());
        (row, rest)
    }
}

/// Where row y starts in its ring.
fn slot(ring: &Ring, y: i32) -> usize {
    let index = (y + i32::from(ring.pad.top)) as u32 % ring.rows.max(1);
    index as usize * ring.row_len()
}
