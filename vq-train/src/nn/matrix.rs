//! Products of plain matrices, on the kernels of the convolutions.

use super::Scalar;
use super::correlation::{Correlation, Segment};
use super::outer::Outer;
use super::panels::{pack, panels_len, row_of};

/// A right factor `[rows, columns]`, packed once for any number of products.
#[derive(Debug, Clone)]
pub(crate) struct Right<T> {
    panels: Vec<T>,
    rows: usize,
    columns: usize,
}

impl<T: Scalar> Right<T> {
    /// Packs `[rows, columns]`.
    pub(crate) fn new(values: &[T], columns: usize) -> Self {
        let rows = values.len() / columns;
        Right::packed(values, (rows, columns), 1, columns)
    }

    /// Packs the transpose of `[columns, rows]`.
    pub(crate) fn transposed(values: &[T], rows: usize) -> Self {
        let columns = values.len() / rows;
        Right::packed(values, (rows, columns), rows, 1)
    }

    fn packed(values: &[T], size: (usize, usize), step: usize, row: usize) -> Self {
        let mut panels = vec![T::zero(); panels_len(size.0, size.1)];
        pack(values, size, step, |r| r * row, &mut panels);
        let (rows, columns) = size;
        Right {
            panels,
            rows,
            columns,
        }
    }

    /// out = a B + bias for `a` `[m, rows]` and `out` `[m, columns]`; the bias may be empty.
    pub(crate) fn multiply(&self, a: &[T], bias: &[T], out: &mut [T]) {
        let factor = Factor::new(&self.panels, self.rows, self.columns);
        factor.multiply(a, bias, false, out);
    }
}

/// A right factor `[rows, columns]` that was packed into panels which someone else keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor<'p, T> {
    panels: &'p [T],
    rows: usize,
    columns: usize,
}

impl<'p, T: Scalar> Factor<'p, T> {
    /// Length of the panels.
    pub(super) fn len(rows: usize, columns: usize) -> usize {
        panels_len(rows, columns)
    }

    /// Packs `[rows, columns]`.
    pub(super) fn pack(values: &[T], size: (usize, usize), panels: &mut [T]) {
        pack(values, size, 1, |r| r * size.1, panels);
    }

    /// Packs the transpose, `[rows, columns]`, of `[columns, rows]`.
    pub(super) fn pack_transposed(values: &[T], size: (usize, usize), panels: &mut [T]) {
        pack(values, size, size.0, |r| r, panels);
    }

    /// What was packed.
    pub(super) fn new(panels: &'p [T], rows: usize, columns: usize) -> Self {
        Factor {
            panels,
            rows,
            columns,
        }
    }

    /// out = a B + bias, then ReLU if asked for, for `a` `[m, rows]` and `out` `[m, columns]`; the bias
    /// may be empty.
    pub(super) fn multiply(&self, a: &[T], bias: &[T], relu: bool, out: &mut [T]) {
        let m = a.len() / self.rows;
        if m == 0 {
            return;
        }
        let product = Correlation {
            map: a,
            windows: row_of(m, self.rows),
            segments: &[Segment {
                offset: 0,
                len: self.rows,
            }],
            panels: self.panels,
            columns: self.columns,
            bias,
            relu,
            outputs: row_of(m, self.columns),
        };
        T::run((&product, out));
    }
}

/// out += a' b for `a` `[p, m]`, `b` `[p, n]` and `out` `[m, n]`.
pub(crate) fn add_transposed_product<T: Scalar>(a: &[T], b: &[T], m: usize, out: &mut [T]) {
    let p = a.len() / m;
    if p == 0 {
        return;
    }
    T::run((&Outer::of_matrices(a, b, p), out));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_agree_with_plain_loops() {
        for (m, k, n) in [(1, 1, 1), (5, 7, 3), (9, 40, 33), (70, 3, 65)] {
            let a: Vec<f64> = (0..m * k).map(|i| (i * 7 % 11) as f64 - 5.0).collect();
            let b: Vec<f64> = (0..k * n).map(|i| (i * 5 % 13) as f64 - 6.0).collect();
            let bias: Vec<f64> = (0..n).map(|i| i as f64).collect();
            let plain: Vec<f64> = (0..m * n)
                .map(|i| {
                    let terms = (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]);
                    bias[i % n] + terms.sum::<f64>()
                })
                .collect();
            let mut out = vec![0.0; m * n];
            Right::new(&b, n).multiply(&a, &bias, &mut out);
            assert_eq!(out, plain);
            let bt: Vec<f64> = (0..n * k).map(|i| b[i % k * n + i / k]).collect();
            Right::transposed(&bt, k).multiply(&a, &bias, &mut out);
            assert_eq!(out, plain);
            // a as [p = m, k] and the product's shape as [k, n].
            let c: Vec<f64> = (0..m * n).map(|i| (i % 5) as f64).collect();
            let mut sum = vec![1.0; k * n];
            add_transposed_product(&a, &c, k, &mut sum);
            for (i, &got) in sum.iter().enumerate() {
                let terms = (0..m).map(|p| a[p * k + i / n] * c[p * n + i % n]);
                assert_eq!(got, 1.0 + terms.sum::<f64>());
            }
        }
    }
}
