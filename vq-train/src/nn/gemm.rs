//! Products of plain matrices, by the crate `matrixmultiply`.
//!
//! Each product runs on the calling thread alone, so that its result does not depend on the number of threads. What
//! the kernels of the convolutions multiply faster is in `matrix.rs`.

use matrixmultiply::{dgemm, sgemm};

/// A matrix in a slice: element (i, j) lies at i `row_step` + j `column_step`.
#[derive(Debug, Clone, Copy)]
pub struct Strided<'a, T> {
    pub(super) values: &'a [T],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_step: usize,
    pub(super) column_step: usize,
}

/// A matrix in a slice that is written: element (i, j) lies at i `row_step` + j.
#[derive(Debug)]
pub struct StridedMut<'a, T> {
    pub(super) values: &'a mut [T],
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// At least `columns`.
    pub(super) row_step: usize,
}

impl<'a, T> Strided<'a, T> {
    /// `[rows, columns]`, row by row.
    pub(super) fn dense(values: &'a [T], columns: usize) -> Self {
        Strided {
            values,
            rows: values.len() / columns,
            columns,
            row_step: columns,
            column_step: 1,
        }
    }

    /// The transpose, in the same place.
    pub(super) fn transposed(self) -> Self {
        Strided {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_step: self.column_step,
            column_step: self.row_step,
        }
    }

    /// Whether all elements lie in the slice.
    fn fits(&self) -> bool {
        let last = self.rows.saturating_sub(1) * self.row_step
            + self.columns.saturating_sub(1) * self.column_step;
        self.rows * self.columns == 0 || last < self.values.len()
    }
}

impl<'a, T> StridedMut<'a, T> {
    /// `[rows, columns]`, row by row.
    pub(super) fn dense(values: &'a mut [T], columns: usize) -> Self {
        StridedMut {
            rows: values.len() / columns,
            values,
            columns,
            row_step: columns,
        }
    }

    /// Whether all elements lie in the slice, each in a place of its own.
    fn fits(&self) -> bool {
        let last = self.rows.saturating_sub(1) * self.row_step + self.columns;
        self.columns <= self.row_step
            && (self.rows * self.columns == 0 || last <= self.values.len())
    }
}

/// c = `factor` a b + `kept` c.
///
/// # Panics
/// The sizes do not agree, or a matrix reaches over its slice.
pub(super) fn multiply<T: Gemm>(
    factor: T,
    a: Strided<'_, T>,
    b: Strided<'_, T>,
    kept: T,
    c: StridedMut<'_, T>,
) {
    assert!(
        a.rows == c.rows && a.columns == b.rows && b.columns == c.columns,
        "sizes of a product agree"
    );
    assert!(
        a.fits() && b.fits() && c.fits(),
        "a product reaches over its matrices"
    );
    // SAFETY: all elements lie in their slices, and no two of c in the same place.
    unsafe { T::gemm(factor, &a, &b, kept, c) }
}

/// The float types for which `matrixmultiply` has kernels.
pub trait Gemm: Copy {
    /// c = `factor` a b + `kept` c.
    ///
    /// # Safety
    /// The sizes agree; all elements lie in their slices, and no two of c in the same place.
    #[doc(hidden)]
    unsafe fn gemm(
        factor: Self,
        a: &Strided<'_, Self>,
        b: &Strided<'_, Self>,
        kept: Self,
        c: StridedMut<'_, Self>,
    );
}

macro_rules! gemm {
    ($float:ty, $gemm:ident) => {
        impl Gemm for $float {
            unsafe fn gemm(
                factor: Self,
                a: &Strided<'_, Self>,
                b: &Strided<'_, Self>,
                kept: Self,
                c: StridedMut<'_, Self>,
            ) {
                let (a_at, a_row, a_column) = (a.values.as_ptr(), a.row_step, a.column_step);
                let (b_at, b_row, b_column) = (b.values.as_ptr(), b.row_step, b.column_step);
                // SAFETY: the caller guarantees that the sizes agree and that all elements, at these steps, lie in their
                // slices; those of c are exclusive, and each has a place of its own.
                unsafe {
                    $gemm(
                        a.rows,
                        a.columns,
                        b.columns,
                        factor,
                        a_at,
                        a_row as isize,
                        a_column as isize,
                        b_at,
                        b_row as isize,
                        b_column as isize,
                        kept,
                        c.values.as_mut_ptr(),
                        c.row_step as isize,
                        1,
                    );
                }
            }
        }
    };
}

gemm!(f32, sgemm);
gemm!(f64, dgemm);

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns 1 and 2 of a matrix of four, times the transpose of one, into columns 2 to 4 of one of five.
    #[test]
    fn parts_of_matrices_are_multiplied_where_they_lie() {
        let a: Vec<f64> = (0..12).map(f64::from).collect();
        let b: Vec<f64> = (0..6).map(|i| f64::from(i * i)).collect();
        let part = Strided {
            values: &a[1..],
            rows: 3,
            columns: 2,
            row_step: 4,
            column_step: 1,
        };
        let mut c = [1.0; 15];
        let target = StridedMut {
            values: &mut c[2..],
            rows: 3,
            columns: 3,
            row_step: 5,
        };
        multiply(2.0, part, Strided::dense(&b, 2).transposed(), 3.0, target);
        for (i, &found) in c.iter().enumerate() {
            let (row, column) = (i / 5, i % 5);
            let sum = |n: usize| {
                let terms = (0..2).map(|k| a[row * 4 + 1 + k] * b[n * 2 + k]);
                2.0 * terms.sum::<f64>() + 3.0
            };
            let expected = column.checked_sub(2).map_or(1.0, sum);
            assert_eq!(found, expected, "{row} {column}");
        }
    }

    #[test]
    #[should_panic(expected = "reaches over its matrices")]
    fn a_matrix_that_is_too_small_is_refused() {
        let part = Strided {
            values: &[0.0f32; 5],
            rows: 2,
            columns: 2,
            row_step: 4,
            column_step: 1,
        };
        let mut c = [0.0; 4];
        let target = StridedMut::dense(&mut c, 2);
        multiply(1.0, part, Strided::dense(&[0.0; 4], 2), 0.0, target);
    }
}
