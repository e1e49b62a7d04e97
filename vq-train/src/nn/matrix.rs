//! Products of plain matrices on the kernels of the convolutions: by weights that are packed once for many products, and
//! of two matrices over their rows. Those within attention, of parts of rows, go through `gemm.rs`.

use super::correlation::{Correlation, Segment};
use super::outer::Outer;
use super::panels::{Factors, Size, pack, row_of};
use super::scalar::Scalar;

/// A right factor, packed once for any number of products.
#[derive(Debug, Clone)]
pub(crate) struct Right<T> {
    panels: Vec<T>,
    size: Size,
}

impl<T: Scalar> Right<T> {
    /// Packs `[rows, columns]`.
    pub(crate) fn new(values: &[T], columns: usize) -> Self {
        let rows = values.len() / columns;
        Right::packed(Size { rows, columns }, |size, panels| {
            pack_right(values, size, panels);
        })
    }

    /// Packs the transpose of `[columns, rows]`.
    pub(crate) fn transposed(values: &[T], rows: usize) -> Self {
        let columns = values.len() / rows;
        Right::packed(Size { rows, columns }, |size, panels| {
            pack_transposed(values, size, panels);
        })
    }

    fn packed(size: Size, pack: impl FnOnce(Size, &mut [T])) -> Self {
        let mut panels = vec![T::zero(); size.panels_len()];
        pack(size, &mut panels);
        Right { panels, size }
    }

    /// out = a B + bias for `a` `[m, rows]` and `out` `[m, columns]`; the bias may be empty.
    pub(crate) fn multiply(&self, a: &[T], bias: &[T], out: &mut [T]) {
        let factors = Factors {
            panels: &self.panels,
            bias,
            relu: false,
        };
        multiply(a, self.size, factors, out);
    }
}

/// Packs a right factor of this size.
pub(super) fn pack_right<T: Scalar>(values: &[T], size: Size, panels: &mut [T]) {
    pack(values, size, 1, |r| r * size.columns, panels);
}

/// Packs the transpose of `[columns, rows]` as a right factor of this size.
pub(super) fn pack_transposed<T: Scalar>(values: &[T], size: Size, panels: &mut [T]) {
    pack(values, size, size.rows, |r| r, panels);
}

/// out = a B + bias, then ReLU if asked for, for `a` `[m, rows]`, a packed B of `size`, and `out` `[m, columns]`.
pub(super) fn multiply<T: Scalar>(a: &[T], size: Size, factors: Factors<'_, T>, out: &mut [T]) {
    let m = a.len() / size.rows;
    if m == 0 {
        return;
    }
    let product = Correlation {
        map: a,
        windows: row_of(m, size.rows),
        segments: &[Segment {
            offset: 0,
            len: size.rows,
        }],
        factors,
        columns: size.columns,
        outputs: row_of(m, size.columns),
    };
    T::run((&product, out));
}

/// out += a' b for `a` `[p, m]`, `b` `[p, n]` and `out` `[m, n]`.
///
/// By the convolutions' own kernel at all sizes. Of its time `matrixmultiply` takes 1.2 to 9 times for m up to 8 and n from
/// 16 on (p = 64 to 4096), where most narrow products lie; but only 0.5 to 0.9 for m = 16 and n up to 8, and less for large
/// ones, too: 0.5 to 0.7 for p = 1024, m = 64, n = 512, 0.4 to 0.9 for p = 4096, m = 256, n up to 64, 0.3 to 0.5 for
/// p = 4096, m = 64, n = 256 (f32, one thread, Intel Xeon with AVX-512, least of 7 or more repeats, four runs on a machine
/// in use, 2026-12-01).
pub(crate) fn add_transposed_product<T: Scalar>(a: &[T], b: &[T], m: usize, out: &mut [T]) {
    if out.is_empty() || a.is_empty() {
        return;
    }
    T::run((&Outer::of_matrices(a, b, a.len() / m), out));
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
