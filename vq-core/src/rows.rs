//! Rings of rows inside the workspace, and views of them: rows by their number in the map, wherever they are kept.

use crate::element::Arithmetic;
use crate::kernels::MapRows;
use crate::map::Map;
use crate::shape::Pad;
use crate::slices::Parts;

/// Where the rows of a value are kept that are still needed. Row y of the map is in slot (y + pad.top) mod `rows`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ring {
    pub(crate) map: Map,
    /// Columns of the map, without padding.
    pub(crate) width: u32,
    /// Rows of the map, without padding.
    pub(crate) height: u32,
    /// Rows of zeros above and below pass through the ring like others; columns of zeros stand
    /// in every slot.
    pub(crate) pad: Pad,
    /// Where the ring starts in the workspace (elements).
    pub(crate) offset: usize,
    /// Slots.
    pub(crate) rows: u32,
    /// Elements behind the slots, in which the operator that makes the rows keeps what it knows of the
    /// whole map.
    pub(crate) state_len: usize,
}

impl Ring {
    /// Elements of a slot.
    pub(crate) fn row_len(&self) -> usize {
        (self.width as usize + usize::from(self.pad.left) + usize::from(self.pad.right))
            * usize::from(self.map.channels)
    }

    /// Elements of all slots.
    pub(crate) fn slots_len(&self) -> usize {
        self.row_len() * self.rows as usize
    }

    /// Elements of a row of the map, without padding.
    pub(crate) fn inner_len(&self) -> usize {
        self.width as usize * usize::from(self.map.channels)
    }

    /// Whether row y is one of zeros outside the map.
    pub(crate) fn is_padding(&self, y: i32) -> bool {
        y < 0 || y >= self.height as i32
    }

    /// The slot of row y.
    fn slot(&self, y: i32) -> usize {
        ((y + i32::from(self.pad.top)) as u32 % self.rows.max(1)) as usize
    }
}

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
            .part(self.ring.slot(y) * self.ring.row_len(), self.ring.row_len())
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

    /// The whole map, without padding; all its rows must be kept.
    pub(crate) fn whole(self) -> MapRows<'a, E> {
        let channels = usize::from(self.ring.map.channels);
        MapRows {
            slots: self.data,
            slot_len: self.ring.row_len(),
            first: self.ring.slot(0),
            left: usize::from(self.ring.pad.left) * channels,
            row_len: self.ring.inner_len(),
            height: self.ring.height as usize,
            channels,
        }
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
        let start = self.ring.slot(y) * self.ring.row_len() + before;
        let row = slots.part_mut(start, self.ring.inner_len());
        (row, rest)
    }
}
