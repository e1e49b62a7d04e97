//! Views of rings inside the scratch: rows by their number in the map, wherever they are kept.

use crate::plan::Ring;

/// The rows of a value that are still kept, for reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a, E> {
    ring: &'a Ring,
    data: &'a [E],
}

impl<'a, E> Rows<'a, E> {
    /// `scratch` is all of it, or at least up to the ring's end.
    pub(crate) fn new(ring: &'a Ring, scratch: &'a [E]) -> Self {
        Self {
            ring,
            data: &scratch[ring.offset..][..ring.slots_len()],
        }
    }

    pub(crate) fn ring(&self) -> &'a Ring {
        self.ring
    }

    /// Row y from `before` columns of padding before the map's first column to the padding's end.
    pub(crate) fn row(&self, y: i32, before: u8) -> &'a [E] {
        let start = usize::from(self.ring.pad.left - before) * usize::from(self.ring.map.channels);
        &self.data[slot(self.ring, y)..][..self.ring.row_len()][start..]
    }

    /// Row y of the map, without padding: w * c elements.
    pub(crate) fn inner_row(&self, y: i32) -> &'a [E] {
        &self.row(y, 0)[..self.ring.inner_len()]
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

/// The ring of the value that is being made.
#[derive(Debug)]
pub(crate) struct RowsMut<'a, E> {
    ring: &'a Ring,
    data: &'a mut [E],
}

impl<'a, E> RowsMut<'a, E> {
    /// `data` starts where the ring does.
    pub(crate) fn new(ring: &'a Ring, data: &'a mut [E]) -> Self {
        Self { ring, data }
    }

    pub(crate) fn ring(&self) -> &'a Ring {
        self.ring
    }

    /// Row y of the map, without padding: w * c elements.
    pub(crate) fn row(&mut self, y: i32) -> &mut [E] {
        RowsMut::new(self.ring, self.data).into_row(y)
    }

    /// The same, for as long as the scratch is borrowed.
    pub(crate) fn into_row(self, y: i32) -> &'a mut [E] {
        self.into_row_and_state(y).0
    }

    /// The same, and what the operator that makes the rows keeps of the whole map.
    pub(crate) fn into_row_and_state(self, y: i32) -> (&'a mut [E], &'a mut [E]) {
        let (slots, rest) = self.data.split_at_mut(self.ring.slots_len());
        let before = usize::from(self.ring.pad.left) * usize::from(self.ring.map.channels);
        let start = slot(self.ring, y) + before;
        let row = &mut slots[start..][..self.ring.inner_len()];
        (row, &mut rest[..self.ring.state_len])
    }
}

/// Where row y starts in its ring.
fn slot(ring: &Ring, y: i32) -> usize {
    let index = (y + i32::from(ring.pad.top)) as u32 % ring.rows;
    index as usize * ring.row_len()
}
