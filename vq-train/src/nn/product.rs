//! The two matrix products of convolutions, straight from the maps: no window matrix is ever built.
//!
//! [`Correlation`]: out[p, :] = bias + sum over segments, k of map[window(p) + segment + k] W[k, :].
//! Forward passes and input gradients, of convolutions and transposed ones, are all of this form.
//!
//! [`Outer`]: grad[m, n] += sum over p of a[place(p) + m] b[place(p) + n]: weight gradients.
//!
//! In NHWC a row of a window lies in one piece. So one factor is read where it lies, a float at a time
//! and copied to all lanes; the other is a contiguous row of output channels: weights that [`pack`] has
//! put into panels of 32 columns once a step, or the gradient map itself.

use super::simd::Lanes;

/// Columns of a full panel; a rest of at most half as many gets a half panel.
const PANEL: usize = 32;
const HALF: usize = PANEL / 2;
/// Rows of a panel that are worked on at a time: 32 KiB of f32, which stay in L1.
const DEPTH: usize = 256;
/// Positions that a weight gradient is summed over before the next tile has its turn.
const POSITIONS: usize = 256;

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
    fn last(&self) -> usize {
        self.first + (self.rows - 1) * self.row + (self.columns - 1) * self.column
    }

    /// All of them, row by row.
    fn walk(self) -> Walk {
        Walk {
            next: self.first,
            left: self.columns,
            places: self,
        }
    }
}

/// On its way over a grid's places, without a division.
struct Walk {
    places: Places,
    /// The place of the next position.
    next: usize,
    /// Positions left in its row.
    left: usize,
}

impl Walk {
    /// This position's place; behind the last one, places where nothing lies.
    #[inline(always)]
    fn step(&mut self) -> usize {
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
    /// W as [`pack`] leaves it; its rows are those of the segments, one behind the other.
    pub(super) panels: &'a [T],
    /// Output channels.
    pub(super) columns: usize,
    /// One for each column, or empty.
    pub(super) bias: &'a [T],
    pub(super) relu: bool,
    /// Where the outputs go.
    pub(super) outputs: Places,
}

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

/// Length of the panels of a matrix `[rows, columns]`.
pub(super) fn panels_len(rows: usize, columns: usize) -> usize {
    rows * panels(columns).map(|(_, width)| width).sum::<usize>()
}

/// First column and width of each panel.
fn panels(columns: usize) -> impl Iterator<Item = (usize, usize)> {
    let width = move |first| if columns - first > HALF { PANEL } else { HALF };
    (0..columns)
        .step_by(PANEL)
        .map(move |first| (first, width(first)))
}

/// Writes a matrix `[rows, columns]` as panels: row by row within each, missing columns as zeros.
///
/// `place` says where row r begins in `values`; `step` is the distance between columns.
pub(super) fn pack<T: Copy + Default>(
    values: &[T],
    (rows, columns): (usize, usize),
    step: usize,
    place: impl Fn(usize) -> usize,
    packed: &mut [T],
) {
    let mut rest = packed;
    for (first, width) in panels(columns) {
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

impl<T: Copy + Default> Correlation<'_, T> {
    /// Whether every read and write is inside its slice.
    fn fits(&self, out: &[T]) -> bool {
        let rows: usize = self.segments.iter().map(|s| s.len).sum();
        let reach = self.segments.iter().map(|s| s.offset + s.len).max();
        self.windows.len() == self.outputs.len()
            && self.windows.last() + reach.unwrap_or(0) <= self.map.len()
            && self.outputs.last() + self.columns <= out.len()
            && self.panels.len() == panels_len(rows, self.columns)
            && (self.bias.is_empty() || self.bias.len() == self.columns)
    }

    #[inline(always)]
    unsafe fn panel<V: Lanes<Float = T>, const M: usize, const Q: usize, const W: usize>(
        &self,
        weights: &[T],
        first: usize,
        out: &mut [T],
    ) {
        let width = W * V::LANES;
        let valid = width.min(self.columns - first);
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
                first,
                valid,
                is_first,
                relu: self.relu && blocks.peek().is_none(),
            };
            let mut left = self.windows.len();
            let mut walks = (self.windows.walk(), self.outputs.walk());
            // SAFETY: as the caller promises; `weights` moves on by what each block has.
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
                weights = weights.add(block.len * width);
            }
            is_first = false;
        }
    }

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
        // SAFETY: `fits` has checked all places; the CPU is the caller's promise.
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
            } else if !self.bias.is_empty() {
                sums = [load_some(self.bias.as_ptr().add(stage.first), stage.valid); M];
            }
            let mut weights = weights;
            for k in 0..stage.block.len {
                let b: [V; W] = load(weights);
                weights = weights.add(W * V::LANES);
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

/// What a panel's tiles have in common.
struct Stage {
    /// The part of the windows that is summed over.
    block: Segment,
    /// The panel's first column.
    first: usize,
    /// Columns that there are.
    valid: usize,
    /// Whether sums start here, at the bias.
    is_first: bool,
    relu: bool,
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

    #[inline(always)]
    unsafe fn panel<V: Lanes<Float = T>, const M: usize, const Q: usize, const W: usize>(
        &self,
        valid: usize,
        grad: *mut T,
    ) {
        let mut m = 0;
        // SAFETY: as the caller promises.
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

    #[inline(always)]
    unsafe fn tile<V: Lanes<Float = T>, const M: usize, const W: usize>(
        &self,
        m0: usize,
        valid: usize,
        grad: *mut T,
    ) {
        // SAFETY: `fits` has checked all places; the CPU is the caller's promise.
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

/// sums += x * row.
///
/// # Safety
/// The CPU has V's instruction set.
#[inline(always)]
unsafe fn add_product<V: Lanes, const W: usize>(sums: &mut [V; W], x: V::Float, row: &[V; W]) {
    // SAFETY: as the caller promises.
    unsafe {
        let x = V::splat(x);
        for (sum, &v) in sums.iter_mut().zip(row) {
            *sum = sum.multiply_add(x, v);
        }
    }
}

/// Loads W registers.
///
/// # Safety
/// The CPU has V's instruction set, W registers of floats can be read.
#[inline(always)]
unsafe fn load<V: Lanes, const W: usize>(from: *const V::Float) -> [V; W]
where
    V::Float: Default,
{
    // SAFETY: as the caller promises.
    unsafe {
        let mut registers = [V::splat(V::Float::default()); W];
        for (w, register) in registers.iter_mut().enumerate() {
            *register = V::load(from.add(w * V::LANES));
        }
        registers
    }
}

/// What both products have in common.
trait Product {
    type Float;

    /// Adds up in tiles of M (or Q, or 1) rows by W registers, a panel's width; H registers are half of
    /// one.
    ///
    /// # Safety
    /// The CPU has V's instruction set.
    unsafe fn run<
        V: Lanes<Float = Self::Float>,
        const M: usize,
        const Q: usize,
        const W: usize,
        const H: usize,
    >(
        &self,
        out: &mut [Self::Float],
    );
}

/// Rows of a tile are positions.
impl<T: Copy + Default> Product for Correlation<'_, T> {
    type Float = T;

    #[inline(always)]
    unsafe fn run<
        V: Lanes<Float = T>,
        const M: usize,
        const Q: usize,
        const W: usize,
        const H: usize,
    >(
        &self,
        out: &mut [T],
    ) {
        if self.windows.len() == 0 {
            return;
        }
        assert!(self.fits(out), "a correlation reaches over its maps");
        let mut panel = 0;
        let rows: usize = self.segments.iter().map(|s| s.len).sum();
        for (first, width) in panels(self.columns) {
            let weights = &self.panels[panel..panel + rows * width];
            panel += rows * width;
            // SAFETY: as the caller promises; `fits` has checked the sizes.
            unsafe {
                if width == PANEL {
                    self.panel::<V, M, Q, W>(weights, first, out);
                } else {
                    self.panel::<V, M, Q, H>(weights, first, out);
                }
            }
        }
    }
}

/// Rows of a tile are rows of the gradient.
impl<T: Copy + Default> Product for Outer<'_, T> {
    type Float = T;

    #[inline(always)]
    unsafe fn run<
        V: Lanes<Float = T>,
        const M: usize,
        const Q: usize,
        const W: usize,
        const H: usize,
    >(
        &self,
        grad: &mut [T],
    ) {
        if self.a_places.len() == 0 || self.m == 0 || self.n == 0 {
            return;
        }
        assert!(self.fits(grad), "a product reaches over its maps");
        let rows = (POSITIONS / self.a_places.columns).max(1);
        let mut narrow = Vec::new();
        for y in (0..self.a_places.rows).step_by(rows) {
            let part = self.rows(y, rows.min(self.a_places.rows - y));
            for (first, width) in panels(self.n) {
                // Where registers would reach behind the columns, these are copied out first.
                let panel = if first + width > self.n {
                    part.copied(first, width, &mut narrow)
                } else {
                    part.columns(first, width)
                };
                let valid = width.min(self.n - first);
                // SAFETY: as the caller promises; `fits` has checked the sizes.
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

/// Runs a product of f32 with the best that this CPU has.
fn run_f32(product: &impl Product<Float = f32>, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: just detected; every such CPU has FMA.
            return unsafe { run_avx512(product, out) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: just detected.
            return unsafe { run_avx2(product, out) };
        }
    }
    run_portable(product, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn run_avx512(product: &impl Product<Float = f32>, out: &mut [f32]) {
    // SAFETY: the attribute above.
    unsafe { product.run::<std::arch::x86_64::__m512, 8, 4, 2, 1>(out) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2(product: &impl Product<Float = f32>, out: &mut [f32]) {
    // SAFETY: the attribute above.
    unsafe { product.run::<std::arch::x86_64::__m256, 2, 1, 4, 2>(out) }
}

fn run_portable(product: &impl Product<Float = f32>, out: &mut [f32]) {
    // SAFETY: arrays need no instruction set.
    unsafe { product.run::<[f32; 4], 1, 1, 8, 4>(out) }
}

/// The products on the float types that there are, with what the CPU has.
pub trait Products: Copy + Sized {
    #[doc(hidden)]
    fn correlate(product: &Correlation<'_, Self>, out: &mut [Self]);
    #[doc(hidden)]
    fn add_outer(product: &Outer<'_, Self>, grad: &mut [Self]);
}

impl Products for f32 {
    fn correlate(product: &Correlation<'_, f32>, out: &mut [f32]) {
        run_f32(product, out);
    }

    fn add_outer(product: &Outer<'_, f32>, grad: &mut [f32]) {
        run_f32(product, grad);
    }
}

impl Products for f64 {
    fn correlate(product: &Correlation<'_, f64>, out: &mut [f64]) {
        // SAFETY: arrays need no instruction set.
        unsafe { product.run::<[f64; 2], 1, 1, 16, 8>(out) }
    }

    fn add_outer(product: &Outer<'_, f64>, grad: &mut [f64]) {
        // SAFETY: arrays need no instruction set.
        unsafe { product.run::<[f64; 2], 1, 1, 16, 8>(grad) }
    }
}

/// Loads W registers of which `valid` floats exist; the others are zeros.
///
/// # Safety
/// The CPU has V's instruction set, `valid` floats can be read.
#[inline(always)]
unsafe fn load_some<V: Lanes, const W: usize>(from: *const V::Float, valid: usize) -> [V; W]
where
    V::Float: Default,
{
    let mut copy = [V::Float::default(); PANEL];
    // SAFETY: as the caller promises; the copy has room for a whole panel.
    unsafe {
        if valid < W * V::LANES {
            std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), valid);
            load(copy.as_ptr())
        } else {
            load(from)
        }
    }
}

/// Stores the first `valid` floats of W registers.
///
/// # Safety
/// The CPU has V's instruction set, `valid` floats can be written.
#[inline(always)]
unsafe fn store_some<V: Lanes, const W: usize>(registers: [V; W], to: *mut V::Float, valid: usize)
where
    V::Float: Default,
{
    let mut copy = [V::Float::default(); PANEL];
    // SAFETY: as the caller promises; the copy has room for a whole panel.
    unsafe {
        let partial = valid < W * V::LANES;
        let target = if partial { copy.as_mut_ptr() } else { to };
        for (w, register) in registers.into_iter().enumerate() {
            register.store(target.add(w * V::LANES));
        }
        if partial {
            std::ptr::copy_nonoverlapping(copy.as_ptr(), to, valid);
        }
    }
}

#[cfg(test)]
mod tests {
    //! Every instruction set that this CPU has, against plain loops.
    use super::*;
    use crate::nn::normal;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn numbers(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| normal(&mut rng) as f32).collect()
    }

    type Results = Vec<(&'static str, Vec<f32>)>;

    /// What each instruction set adds to `start`; portable arithmetic first.
    fn results(product: &impl Product<Float = f32>, start: &[f32]) -> Results {
        let mut results = Results::new();
        let mut run = |name, run: &dyn Fn(&mut [f32])| {
            let mut out = start.to_vec();
            run(&mut out);
            results.push((name, out));
        };
        run("portable", &|out| run_portable(product, out));
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: just detected.
                run("avx2", &|out| unsafe { run_avx2(product, out) });
            }
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: just detected.
                run("avx512", &|out| unsafe { run_avx512(product, out) });
            }
        }
        results
    }

    /// The results agree with plain ones, and those of fused arithmetic with each other to the bit.
    fn assert_agree(results: &[(&str, Vec<f32>)], plain: &[f64], case: usize) {
        for (name, result) in results {
            for (i, (&got, &wanted)) in result.iter().zip(plain).enumerate() {
                let error = (f64::from(got) - wanted).abs() / (1.0 + wanted.abs());
                assert!(error < 1e-4, "case {case}, {name}, {i}: {got} {wanted}");
            }
        }
        let fused = &results[1..];
        assert!(fused.iter().all(|(_, result)| *result == fused[0].1));
    }

    /// rows x columns of positions, channels of the map and of the output; windows of 3 rows by 2.
    const CASES: [[usize; 4]; 5] = [
        [1, 1, 1, 1],
        [3, 5, 3, 12],
        [7, 7, 20, 33],
        [2, 13, 8, 64],
        [4, 4, 150, 50],
    ];

    #[test]
    fn correlations_agree_with_plain_loops() {
        for (case, [rows, columns, cin, cout]) in CASES.into_iter().enumerate() {
            let width = (columns + 1) * cin;
            let map = numbers((rows + 2) * width, 1);
            let (weight, bias) = (numbers(6 * cin * cout, 2), numbers(cout, 3));
            let mut panels = vec![0.0; panels_len(6 * cin, cout)];
            pack(&weight, (6 * cin, cout), 1, |row| row * cout, &mut panels);
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
                panels: &panels,
                columns: cout,
                bias: &bias,
                relu: true,
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
            let results = results(&product, &vec![9.0; plain.len()]);
            assert_agree(&results, &plain, case);
        }
    }

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
            let results = results(&product, &vec![0.5; plain.len()]);
            assert_agree(&results, &plain, case);
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
            panels: &[0.0; HALF],
            columns: 1,
            bias: &[],
            relu: false,
            outputs: places,
        };
        f32::correlate(&product, &mut [0.0; 4]);
    }
}
