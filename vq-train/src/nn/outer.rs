//! A matrix product straight from two maps: weight gradients.
//!
//! grad[m, n] += sum over p of a[place(p) + m] b[place(p) + n].

use super::panels::{PANEL, Panel, Places, panels, row_of};
use super::simd::{Lanes, Task, add_product, load, load_some, store_some};

/// Positions that a weight gradient is summed over before the next tile is worked on.
const POSITIONS: usize = 256;

/// grad[m, n] += sum over p of a[place(p) + m] b[place(p) + n].
#[derive(Debug, Clone, Copy)]
pub struct Outer<'a, T> {
    pub(super) a: &'a [T],
    pub(super) a_places: Places,
    pub(super) m: usize,
    pub(super) b: &'a [T],
    pub(super) b_places: Places,
    pub(super) n: usize,
    /// From one row of the gradient to the next.
    pub(super) stride: usize,
}

impl<'a, T> Outer<'a, T> {
    /// Of plain matrices `a` `[p, m]` and `b` `[p, n]`, to `[m, n]`.
    pub(super) fn of_matrices(a: &'a [T], b: &'a [T], p: usize) -> Self {
        let (m, n) = (a.len() / p, b.len() / p);
        Outer {
            a,
            a_places: row_of(p, m),
            m,
            b,
            b_places: row_of(p, n),
            n,
            stride: n,
        }
    }
}

impl<T: Copy + Default> Outer<'_, T> {
    fn fits(&self, grad: &[T]) -> bool {
        self.a_places.rows == self.b_places.rows
            && self.a_places.columns == self.b_places.columns
            && self.a_places.last() + self.m <= self.a.len()
            && self.b_places.last() + self.n <= self.b.len()
            && self.n <= self.stride
            && (self.m - 1) * self.stride + self.n <= grad.len()
    }

    /// Some rows of positions.
    fn rows(&self, first: usize, rows: usize) -> Self {
        let part = |places: Places| Places {
            rows,
            first: places.first + first * places.row,
            ..places
        };
        Outer {
            a_places: part(self.a_places),
            b_places: part(self.b_places),
            ..*self
        }
    }

    /// Some columns of the gradient.
    fn columns(&self, first: usize, n: usize) -> Self {
        let b_places = Places {
            first: self.b_places.first + first,
            ..self.b_places
        };
        Outer {
            b_places,
            n,
            ..*self
        }
    }

    /// The columns from `first` on in a buffer of their own, filled up to `width`.
    fn copied<'b>(&self, first: usize, width: usize, buffer: &'b mut Vec<T>) -> Outer<'b, T>
    where
        Self: 'b,
    {
        buffer.clear();
        let mut walk = self.b_places.walk();
        for p in 0..self.b_places.len() {
            let from = walk.step() + first;
            buffer.extend_from_slice(&self.b[from..from + self.n - first]);
            buffer.resize((p + 1) * width, T::default());
        }
        let b_places = Places {
            first: 0,
            row: self.b_places.columns * width,
            column: width,
            ..self.b_places
        };
        Outer {
            b: buffer,
            b_places,
            n: width,
            ..*self
        }
    }

    /// `columns` of the gradient, in strips of W registers.
    ///
    /// # Safety
    /// The CPU has V's instruction set. All places of a and b lie in their maps with m and n values; n is at least `columns`,
    /// filled up to W registers. From `grad` on there are m rows of `columns` floats, `stride` apart, which nothing else
    /// refers to.
    #[inline(always)]
    unsafe fn panel<V: Lanes<Float = T>, const M: usize, const Q: usize, const W: usize>(
        &self,
        columns: usize,
        grad: *mut T,
    ) {
        let width = W * V::LANES;
        for at in (0..columns).step_by(width) {
            let valid = width.min(columns - at);
            // SAFETY: W registers from column `at` on are columns of b, and `valid` of them are columns of `grad`.
            unsafe {
                self.columns(at, width)
                    .strip::<V, M, Q, W>(valid, grad.add(at))
            };
        }
    }

    /// As many columns as W registers hold, of which `valid` exist in the gradient.
    ///
    /// # Safety
    /// What [`Self::panel`] wants, of `valid` columns; n is W registers of columns.
    #[inline(always)]
    unsafe fn strip<V: Lanes<Float = T>, const M: usize, const Q: usize, const W: usize>(
        &self,
        valid: usize,
        grad: *mut T,
    ) {
        let mut m = 0;
        // SAFETY: tiles take no more rows than are left.
        unsafe {
            while m + M <= self.m {
                self.tile::<V, M, W>(m, valid, grad.add(m * self.stride));
                m += M;
            }
            while m + Q <= self.m {
                self.tile::<V, Q, W>(m, valid, grad.add(m * self.stride));
                m += Q;
            }
            while m < self.m {
                self.tile::<V, 1, W>(m, valid, grad.add(m * self.stride));
                m += 1;
            }
        }
    }

    /// M rows of the gradient from `m0` on, at `grad`.
    ///
    /// # Safety
    /// What [`Self::strip`] wants; m is at least `m0` + M.
    #[inline(always)]
    unsafe fn tile<V: Lanes<Float = T>, const M: usize, const W: usize>(
        &self,
        m0: usize,
        valid: usize,
        grad: *mut T,
    ) {
        // SAFETY: both walks pass the same positions, whose M values of a from `m0` on and W registers of b lie in the maps, as
        // the caller guarantees; `grad` has M rows of `valid` floats.
        unsafe {
            let mut sums = [[V::splat(T::default()); W]; M];
            for (m, sums) in sums.iter_mut().enumerate() {
                *sums = load_some(grad.add(m * self.stride), valid);
            }
            let (mut a_row, mut b_row) = (self.a_places.first + m0, self.b_places.first);
            for _ in 0..self.a_places.rows {
                let (mut a, mut b) = (self.a.as_ptr().add(a_row), self.b.as_ptr().add(b_row));
                for _ in 0..self.a_places.columns {
                    let columns: [V; W] = load(b);
                    for (m, sums) in sums.iter_mut().enumerate() {
                        add_product(sums, *a.add(m), &columns);
                    }
                    a = a.wrapping_add(self.a_places.column);
                    b = b.wrapping_add(self.b_places.column);
                }
                a_row += self.a_places.row;
                b_row += self.b_places.row;
            }
            for (m, sums) in sums.into_iter().enumerate() {
                store_some(sums, grad.add(m * self.stride), valid);
            }
        }
    }
}

/// Rows of a tile are rows of the gradient.
impl<T: Copy + Default> Task for (&Outer<'_, T>, &mut [T]) {
    type Float = T;

    #[inline(always)]
    unsafe fn run<
        V: Lanes<Float = T>,
        const M: usize,
        const Q: usize,
        const W: usize,
        const H: usize,
    >(
        self,
    ) {
        let (product, grad) = self;
        if product.a_places.len() == 0 || product.m == 0 || product.n == 0 {
            return;
        }
        assert!(product.fits(grad), "a product reaches over its maps");
        let rows = (POSITIONS / product.a_places.columns).max(1);
        let mut narrow = Vec::new();
        for y in (0..product.a_places.rows).step_by(rows) {
            let part = product.rows(y, rows.min(product.a_places.rows - y));
            for Panel { first, width } in panels(product.n) {
                // Where registers would reach behind the columns, these are copied out first.
                let panel = if first + width > product.n {
                    part.copied(first, width, &mut narrow)
                } else {
                    part.columns(first, width)
                };
                let valid = width.min(product.n - first);
                // SAFETY: the caller guarantees the CPU. The product fits, and some of its rows and columns do, too: a panel's
                // width of columns of b lies in its map, or in the buffer with what fills it up. W registers divide a
                // panel's width, H registers that of a half panel.
                unsafe {
                    let grad = grad.as_mut_ptr().add(first);
                    if width == PANEL {
                        panel.panel::<V, M, Q, W>(valid, grad);
                    } else {
                        panel.panel::<V, M, Q, H>(valid, grad);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::simd::testing::{CASES, assert_agrees, numbers};

    #[test]
    fn outer_products_agree_with_plain_loops_and_add_up() {
        for (case, [rows, columns, m, n]) in CASES.into_iter().enumerate() {
            let positions = rows * columns;
            let (a, b) = (numbers(positions * m, 4), numbers(positions * n, 5));
            let places = |channels| Places {
                rows,
                columns,
                first: 0,
                row: columns * channels,
                column: channels,
            };
            let stride = n + 3;
            let product = Outer {
                a: &a,
                a_places: places(m),
                m,
                b: &b,
                b_places: places(n),
                n,
                stride,
            };
            let mut plain = vec![0.5; m * stride];
            for p in 0..positions {
                for i in 0..m {
                    for j in 0..n {
                        let term = f64::from(a[p * m + i]) * f64::from(b[p * n + j]);
                        plain[i * stride + j] += term;
                    }
                }
            }
            let start = vec![0.5; plain.len()];
            assert_agrees!(start, plain, case, |out| (&product, &mut out[..]));
        }
    }
}
