//! A matrix product straight from a map: no window matrix is ever built.
//!
//! out[p, :] = bias + sum over segments, k of map[window(p) + segment + k] W[k, :]. Forward passes and input
//! gradients, of convolutions and transposed ones, are all of this form.
//!
//! In NHWC a row of a window lies in one piece. It is read where it lies, a float at a time and copied to
//! all lanes; the other factor is weights that [`pack`](super::panels::pack) has put into panels once a step.

use super::panels::{Factors, PANEL, Panel, Places, Walk, panels, panels_len};
use super::simd::{Lanes, Task, add_product, load, load_some, store_some};

/// Rows of a panel that are worked on at a time: 32 KiB of f32, which stay in L1.
const DEPTH: usize = 256;

/// A piece of every window that lies in one piece: its distance from the window's place, and length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) offset: usize,
    pub(super) len: usize,
}

/// out[p, :] = bias + sum over segments and k of map[window(p) + segment + k] W[k, :].
#[derive(Debug, Clone, Copy)]
pub struct Correlation<'a, T> {
    pub(super) map: &'a [T],
    /// One for each output position.
    pub(super) windows: Places,
    pub(super) segments: &'a [Segment],
    /// W, whose rows are those of the segments, one behind the other, the bias, and ReLU.
    pub(super) factors: Factors<'a, T>,
    /// Output channels.
    pub(super) columns: usize,
    /// Where the outputs go.
    pub(super) outputs: Places,
}

impl<T: Copy + Default> Correlation<'_, T> {
    /// Whether every read and write is inside its slice.
    fn fits(&self, out: &[T]) -> bool {
        let rows: usize = self.segments.iter().map(|s| s.len).sum();
        let reach = self.segments.iter().map(|s| s.offset + s.len).max();
        self.windows.len() == self.outputs.len()
            && self.windows.last() + reach.unwrap_or(0) <= self.map.len()
            && self.outputs.last() + self.columns <= out.len()
            && self.factors.panels.len() == panels_len(rows, self.columns)
            && (self.factors.bias.is_empty() || self.factors.bias.len() == self.columns)
    }

    /// A panel's columns, in strips of W registers.
    ///
    /// # Safety
    /// The CPU has V's instruction set. The product [fits](Self::fits) `out`; `weights` are those of the panel, a row of its
    /// width for each value of a window, and W registers divide that width.
    #[inline(always)]
    unsafe fn panel<V: Lanes<Float = T>, const M: usize, const Q: usize, const W: usize>(
        &self,
        weights: &[T],
        panel: Panel,
        out: &mut [T],
    ) {
        let columns = panel.width.min(self.columns - panel.first);
        for at in (0..columns).step_by(W * V::LANES) {
            let strip = Panel {
                first: panel.first + at,
                ..panel
            };
            // SAFETY: `at` is a multiple of W registers, so that so many floats are left of each row of the weights; the rest
            // is what the caller guarantees.
            unsafe { self.strip::<V, M, Q, W>(&weights[at..], strip, out) };
        }
    }

    /// A panel's columns from `first` on, as many as W registers hold.
    ///
    /// # Safety
    /// The CPU has V's instruction set. The product [fits](Self::fits) `out`; `weights` starts at the strip in a panel's
    /// first row, W registers of floats are there, and so in each row, `width` floats apart, of which there is one for each
    /// value of a window.
    #[inline(always)]
    unsafe fn strip<V: Lanes<Float = T>, const M: usize, const Q: usize, const W: usize>(
        &self,
        weights: &[T],
        Panel { first, width }: Panel,
        out: &mut [T],
    ) {
        let valid = (W * V::LANES).min(self.columns - first);
        let blocks = self.segments.iter().flat_map(|s| {
            (0..s.len).step_by(DEPTH).map(|k| Segment {
                offset: s.offset + k,
                len: DEPTH.min(s.len - k),
            })
        });
        let mut weights = weights.as_ptr();
        let mut blocks = blocks.peekable();
        let mut is_first = true;
        while let Some(block) = blocks.next() {
            let stage = Stage {
                block,
                width,
                first,
                valid,
                is_first,
                relu: self.factors.relu && blocks.peek().is_none(),
            };
            let mut left = self.windows.len();
            let mut walks = (self.windows.walk(), self.outputs.walk());
            // SAFETY: tiles take as many positions as are left. All blocks together have the values of a window, and `weights`
            // moves on by the rows of each.
            unsafe {
                while left >= M {
                    self.tile::<V, M, W>(&stage, &mut walks, weights, out);
                    left -= M;
                }
                while left >= Q {
                    self.tile::<V, Q, W>(&stage, &mut walks, weights, out);
                    left -= Q;
                }
                while left > 0 {
                    self.tile::<V, 1, W>(&stage, &mut walks, weights, out);
                    left -= 1;
                }
                weights = weights.wrapping_add(block.len * width);
            }
            is_first = false;
        }
    }

    /// M positions in W registers of columns.
    ///
    /// # Safety
    /// The CPU has V's instruction set. The product [fits](Self::fits) `out`; each of `walks` has M positions left, the
    /// stage's block lies within a segment, and its `valid` columns from `first` on are columns of the product. W registers
    /// of floats can be read from `weights` on in each of the block's rows, `width` floats apart.
    #[inline(always)]
    unsafe fn tile<V: Lanes<Float = T>, const M: usize, const W: usize>(
        &self,
        stage: &Stage,
        walks: &mut (Walk, Walk),
        weights: *const T,
        out: &mut [T],
    ) {
        let mut rows = [self.map.as_ptr(); M];
        let mut places = [0; M];
        // SAFETY: as the product fits, each window lies within the map as far as segments reach, all columns of each place
        // within `out`, and a bias has as many. Weights are read where the caller guarantees it.
        unsafe {
            for (row, place) in rows.iter_mut().zip(&mut places) {
                *row = row.add(walks.0.step() + stage.block.offset);
                *place = walks.1.step() + stage.first;
            }
            let mut sums = [[V::splat(T::default()); W]; M];
            if !stage.is_first {
                for (sums, &place) in sums.iter_mut().zip(&places) {
                    *sums = load_some(out.as_ptr().add(place), stage.valid);
                }
            } else if !self.factors.bias.is_empty() {
                sums = [load_some(self.factors.bias.as_ptr().add(stage.first), stage.valid); M];
            }
            let mut weights = weights;
            for k in 0..stage.block.len {
                let b: [V; W] = load(weights);
                weights = weights.add(stage.width);
                for (sums, row) in sums.iter_mut().zip(&rows) {
                    add_product(sums, *row.add(k), &b);
                }
            }
            for (mut sums, &place) in sums.into_iter().zip(&places) {
                if stage.relu {
                    sums.iter_mut().for_each(|sum| *sum = sum.rectify());
                }
                store_some(sums, out.as_mut_ptr().add(place), stage.valid);
            }
        }
    }
}

/// What a strip's tiles have in common.
struct Stage {
    /// The part of the windows that is summed over.
    block: Segment,
    /// From one row of the panel to the next.
    width: usize,
    /// The strip's first column.
    first: usize,
    /// Columns that there are.
    valid: usize,
    /// Whether sums start here, at the bias.
    is_first: bool,
    relu: bool,
}

/// Rows of a tile are positions.
impl<T: Copy + Default> Task for (&Correlation<'_, T>, &mut [T]) {
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
        let (product, out) = self;
        if product.windows.len() == 0 {
            return;
        }
        assert!(product.fits(out), "a correlation reaches over its maps");
        let mut at = 0;
        let rows: usize = product.segments.iter().map(|s| s.len).sum();
        for panel in panels(product.columns) {
            let weights = &product.factors.panels[at..at + rows * panel.width];
            at += rows * panel.width;
            // SAFETY: the caller guarantees the CPU; the product fits, and the weights are the panel's. W registers are as wide
            // as a panel or a half or a quarter of it, and H registers so of a half panel.
            unsafe {
                if panel.width == PANEL {
                    product.panel::<V, M, Q, W>(weights, panel, out);
                } else {
                    product.panel::<V, M, Q, H>(weights, panel, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::panels::{Size, pack};
    use crate::nn::simd::Simd;
    use crate::nn::simd::testing::{CASES, assert_agrees, numbers};

    #[test]
    fn correlations_agree_with_plain_loops() {
        for (case, [rows, columns, cin, cout]) in CASES.into_iter().enumerate() {
            let width = (columns + 1) * cin;
            let map = numbers((rows + 2) * width, 1);
            let (weight, bias) = (numbers(6 * cin * cout, 2), numbers(cout, 3));
            let mut panels = vec![0.0; panels_len(6 * cin, cout)];
            let size = Size {
                rows: 6 * cin,
                columns: cout,
            };
            pack(&weight, size, 1, |row| row * cout, &mut panels);
            let segments = [0, 1, 2].map(|ky| Segment {
                offset: ky * width,
                len: 2 * cin,
            });
            let places = |first, row, column| Places {
                rows,
                columns,
                first,
                row,
                column,
            };
            // Every second place of the output, as a phase has it.
            let outputs = places(cout, 2 * columns * cout, 2 * cout);
            let product = Correlation {
                map: &map,
                windows: places(0, width, cin),
                segments: &segments,
                factors: Factors {
                    panels: &panels,
                    bias: &bias,
                    relu: true,
                },
                columns: cout,
                outputs,
            };
            let mut plain = vec![9.0; 2 * rows * columns * cout];
            for p in 0..rows * columns {
                let (y, x) = (p / columns, p % columns);
                for n in 0..cout {
                    let mut sum = f64::from(bias[n]);
                    for k in 0..6 * cin {
                        let at = (y + k / (2 * cin)) * width + x * cin + k % (2 * cin);
                        sum += f64::from(map[at]) * f64::from(weight[k * cout + n]);
                    }
                    plain[(2 * p + 1) * cout + n] = sum.max(0.0);
                }
            }
            let start = vec![9.0; plain.len()];
            assert_agrees!(start, plain, case, |out| (&product, &mut out[..]));
        }
    }

    #[test]
    #[should_panic(expected = "reaches over its maps")]
    fn a_map_that_is_too_small_is_refused() {
        let places = Places {
            rows: 2,
            columns: 2,
            first: 0,
            row: 2,
            column: 1,
        };
        let product = Correlation {
            map: &[0.0f32; 3],
            windows: places,
            segments: &[Segment { offset: 0, len: 1 }],
            factors: Factors {
                panels: &[0.0; PANEL / 2],
                bias: &[],
                relu: false,
            },
            columns: 1,
            outputs: places,
        };
        f32::run((&product, &mut [0.0; 4][..]));
    }
}
