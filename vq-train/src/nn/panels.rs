//! Where products find their factors: grids of positions on maps, and weights in panels.
//!
//! A panel is 32 output channels wide, row by row, so that a row is a few registers. A rest of at most half
//! as many channels gets a half panel; missing ones are zeros.

/// Columns of a full panel; a rest of at most half as many gets a half panel.
pub(super) const PANEL: usize = 32;
pub(super) const HALF: usize = PANEL / 2;

/// What a product multiplies rows by, and what it does to the sums.
#[derive(Debug, Clone, Copy)]
pub struct Factors<'a, T> {
    /// Weights, packed into panels.
    pub(super) panels: &'a [T],
    /// One for each column of the product, or empty.
    pub(super) bias: &'a [T],
    /// ReLU on the sums.
    pub(super) relu: bool,
}

impl<'a, T> Factors<'a, T> {
    /// Weights alone, without bias and ReLU.
    pub(super) fn plain(panels: &'a [T]) -> Self {
        Factors {
            panels,
            bias: &[],
            relu: false,
        }
    }
}

/// Sizes of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Size {
    /// Length of the panels of such a matrix.
    pub(super) fn panels_len(self) -> usize {
        panels_len(self.rows, self.columns)
    }
}

/// Where the positions of a grid lie in a flat map.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Of position (0, 0).
    pub(super) first: usize,
    /// From one row to the next.
    pub(super) row: usize,
    /// From one column to the next.
    pub(super) column: usize,
}

impl Places {
    /// Number of positions.
    pub(super) fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// Of the last position; there must be one.
    pub(super) fn last(&self) -> usize {
        self.first + (self.rows - 1) * self.row + (self.columns - 1) * self.column
    }

    /// All of them, row by row.
    pub(super) fn walk(self) -> Walk {
        Walk {
            next: self.first,
            left: self.columns,
            places: self,
        }
    }
}

/// Positions one behind the other, each of so many values.
pub(super) fn row_of(positions: usize, values: usize) -> Places {
    Places {
        rows: 1,
        columns: positions,
        first: 0,
        row: 0,
        column: values,
    }
}

/// An iteration over a grid's places that needs no division.
pub(super) struct Walk {
    places: Places,
    /// The place of the next position.
    next: usize,
    /// Positions left in its row.
    left: usize,
}

impl Walk {
    /// This position's place; behind the last one, places where nothing lies.
    #[inline(always)]
    pub(super) fn step(&mut self) -> usize {
        let here = self.next;
        self.left -= 1;
        self.next = here + self.places.column;
        if self.left == 0 {
            self.left = self.places.columns;
            let row = (self.places.columns - 1) * self.places.column;
            self.next = here + self.places.row - row;
        }
        here
    }
}

/// Length of the panels of a matrix `[rows, columns]`.
pub(super) fn panels_len(rows: usize, columns: usize) -> usize {
    rows * panels(columns).map(|panel| panel.width).sum::<usize>()
}

/// Width of the first panel of so many columns.
pub(super) fn panel_width(columns: usize) -> usize {
    if columns > HALF { PANEL } else { HALF }
}

/// Some columns of a matrix, side by side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel {
    /// Its first column.
    pub(super) first: usize,
    /// Its columns, those that are missing included.
    pub(super) width: usize,
}

/// The panels of so many columns.
pub(super) fn panels(columns: usize) -> impl Iterator<Item = Panel> {
    (0..columns).step_by(PANEL).map(move |first| Panel {
        first,
        width: panel_width(columns - first),
    })
}

/// Writes a matrix `[rows, columns]` as panels: row by row within each, missing columns as zeros.
///
/// `place` says where row r begins in `values`; `step` is the distance between columns.
pub(super) fn pack<T: Copy + Default>(
    values: &[T],
    Size { rows, columns }: Size,
    step: usize,
    place: impl Fn(usize) -> usize,
    packed: &mut [T],
) {
    let mut rest = packed;
    for Panel { first, width } in panels(columns) {
        let (panel, others) = rest.split_at_mut(rows * width);
        rest = others;
        let valid = width.min(columns - first);
        for (r, row) in panel.chunks_exact_mut(width).enumerate() {
            let from = &values[place(r) + first * step..];
            row[valid..].fill(T::default());
            if step == 1 {
                row[..valid].copy_from_slice(&from[..valid]);
            } else {
                let picked = from.iter().step_by(step);
                row[..valid]
                    .iter_mut()
                    .zip(picked)
                    .for_each(|(to, &v)| *to = v);
            }
        }
    }
}
