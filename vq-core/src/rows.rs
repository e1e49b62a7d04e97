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
            data: &scratch[ring.offset..][..ring.row_len() * ring.rows as usize],
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
        let channels = usize::from(self.ring.map.channels);
        let start = slot(self.ring, y) + usize::from(self.ring.pad.left) * channels;
        &mut self.data[start..][..self.ring.width as usize * channels]
    }
}

/// Where row y starts in its ring.
fn slot(ring: &Ring, y: i32) -> usize {
    let index = (y + i32::from(ring.pad.top)) as u32 % ring.rows;
    index as usize * ring.row_len()
}
