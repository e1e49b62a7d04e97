//! Correlations of 2x2 and 3x3 taps with fewer multiplications (Winograd 1980; Lavin and Gray 2016).
//!
//! Two outputs y of r taps g on r + 1 inputs d are A'((G g) . (B' d)): r + 1 products instead of 2 r. In two
//! dimensions a tile of 2x2 outputs takes (r + 1)^2 products, 16 for 36 of a 3x3 kernel and 9 for 16 of a 2x2
//! one. For each of the (r + 1)^2 places in a tile this is one matrix product over the channels:
//!
//! ```text
//! for each block of tiles:
//!     V[place][tile, cin]  = B' d B           of the input
//!     M[place]             = V[place] U[place]        U = G g G', packed once a step
//!     output tiles         = A' M A + bias, rectified
//! ```
//!
//! The taps' gradient is the same product turned round: with D = A dy A', S[place] += V[place]' D[place] over
//! all tiles, and then dg = G' S G.
//!
//! |     | B' d | G g | A' m |
//! |---|---|---|---|
//! | r = 2 | d0 - d1, d1, d2 - d1 | g0, g0 + g1, g1 | m0 + m1, m1 + m2 |
//! | r = 3 | d0 - d2, d1 + d2, d2 - d1, d1 - d3 | g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2 | m0 + m1 + m2, m1 - m2 - m3 |
//!
//! A map that is read `step` positions at a time is step x step maps, its phases, side by side: their channels
//! follow each other in V.

use super::correlation::{Correlation, Segment};
use super::matrix::row_of;
use super::outer::Outer;
use super::panels::{PANEL, panels, panels_len};
use super::simd::{Lanes, Simd, Task, load_some, store_some};
use super::{Scalar, Tape};

/// Values of V and M of a block of tiles: they stay in a core's L2 cache.
const BLOCK: usize = 1 << 17;
/// Tiles of a block at most.
const MOST_TILES: usize = 128;
/// Places of a tile at most, each way.
const SIDE: usize = 4;

/// How positions of a grid lie on the pictures' maps `[images, rows, columns, channels]`: position (i, j)
/// of the grid, in phase (a, b), is row step i + top + a and column step j + left + b. Outside of the map
/// there are zeros, and nothing is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) channels: usize,
    /// Also the number of phases, each way.
    pub(super) step: usize,
    pub(super) top: isize,
    pub(super) left: isize,
}

/// Sizes of a correlation: for each position (i, j) of the grid, taps at (i, j) to (i + r - 1, j + r - 1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) images: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// r, 2 or 3.
    pub(super) taps: usize,
}

/// A correlation of all phases of a map with U, to one phase of another.
#[derive(Debug)]
pub(super) struct Forward<'a, T> {
    pub(super) grid: Grid,
    pub(super) input: View,
    pub(super) map: &'a [T],
    /// As [`pack`] leaves it.
    pub(super) weights: &'a [T],
    pub(super) bias: &'a [T],
    pub(super) relu: bool,
    /// Of its phases only the first is written.
    pub(super) output: View,
    pub(super) out: &'a mut [T],
    /// Of [`Grid::forward_scratch`].
    pub(super) scratch: &'a mut [T],
}

/// S += V' D over all tiles, `[place][phase, channel of the input][channel of the output]`; the other way
/// round, with the output's channels first, if `turned`.
#[derive(Debug)]
pub(super) struct Gradient<'a, T> {
    pub(super) grid: Grid,
    pub(super) input: View,
    pub(super) map: &'a [T],
    pub(super) output: View,
    pub(super) dy: &'a [T],
    pub(super) turned: bool,
    pub(super) sums: &'a mut [T],
    /// Of [`Grid::gradient_scratch`].
    pub(super) scratch: &'a mut [T],
}

impl View {
    /// Channels of all phases.
    fn width(&self) -> usize {
        self.step * self.step * self.channels
    }

    fn len(&self, images: usize) -> usize {
        images * self.rows * self.columns * self.channels
    }

    /// Where a position's channels begin; none outside of the map.
    #[inline(always)]
    fn place(&self, image: usize, (i, a): (usize, usize), (j, b): (usize, usize)) -> Option<usize> {
        let y = usize::try_from((self.step * i + a) as isize + self.top).ok()?;
        let x = usize::try_from((self.step * j + b) as isize + self.left).ok()?;
        let inside = y < self.rows && x < self.columns;
        inside.then(|| ((image * self.rows + y) * self.columns + x) * self.channels)
    }
}

impl Grid {
    fn places(&self) -> usize {
        (self.taps + 1) * (self.taps + 1)
    }

    fn tiles(&self) -> usize {
        self.images * self.rows.div_ceil(2) * self.columns.div_ceil(2)
    }

    /// Tiles of a block, for this many channels in and out.
    fn block(&self, channels: usize) -> usize {
        let fitting = BLOCK / (self.places() * channels);
        (fitting / 8 * 8).clamp(8, MOST_TILES).min(self.tiles())
    }

    /// Image, row and column of a tile's first position.
    fn position(&self, tile: usize) -> (usize, usize, usize) {
        let (rows, columns) = (self.rows.div_ceil(2), self.columns.div_ceil(2));
        let (image, rest) = (tile / (rows * columns), tile % (rows * columns));
        (image, 2 * (rest / columns), 2 * (rest % columns))
    }

    fn scratch(&self, input: View, output: View) -> usize {
        let channels = input.width() + output.channels;
        let zeros = input.channels.max(output.channels) + PANEL;
        self.places() * self.block(channels) * channels + zeros
    }
}

/// Length of U for this many channels in (all phases) and out.
pub(super) fn weights_len(taps: usize, cin: usize, cout: usize) -> usize {
    (taps + 1) * (taps + 1) * panels_len(cin, cout)
}

/// Writes U: for each place the panels of a matrix `[cin, cout]`. `at(ty, tx, row)` is where in `values` the
/// weights of that tap and channel in begin, `step` the distance between channels out.
pub(super) fn pack<T: Scalar>(
    values: &[T],
    taps: usize,
    (cin, cout): (usize, usize),
    step: usize,
    at: impl Fn(usize, usize, usize) -> usize,
    packed: &mut [T],
) {
    let plane = panels_len(cin, cout);
    let places = taps + 1;
    let mut begin = 0;
    for (first, width) in panels(cout) {
        let valid = width.min(cout - first);
        for row in 0..cin {
            let mut tile = [[T::zero(); PANEL]; SIDE * SIDE];
            for (ty, tx) in (0..taps * taps).map(|i| (i / taps, i % taps)) {
                let from = &values[at(ty, tx, row) + first * step..];
                let to = &mut tile[ty * SIDE + tx][..valid];
                if step == 1 {
                    to.copy_from_slice(&from[..valid]);
                } else {
                    let picked = from.iter().step_by(step);
                    to.iter_mut().zip(picked).for_each(|(to, &v)| *to = v);
                }
            }
            expand_weights(&mut tile, taps);
            for (y, x) in (0..places * places).map(|i| (i / places, i % places)) {
                let target = (y * places + x) * plane + begin + row * width;
                packed[target..target + width].copy_from_slice(&tile[y * SIDE + x][..width]);
            }
        }
        begin += cin * width;
    }
}

type Rows<T> = [[T; PANEL]; SIDE * SIDE];

/// g -> G g G', in place.
fn expand_weights<T: Scalar>(tile: &mut Rows<T>, taps: usize) {
    let half = T::of(0.5);
    let mut line = |places: [usize; SIDE]| {
        for n in 0..PANEL {
            let g: [T; SIDE] = places.map(|p| tile[p][n]);
            let out = if taps == 2 {
                [g[0], g[0] + g[1], g[1], T::zero()]
            } else {
                let outer = g[0] + g[2];
                [g[0], half * (outer + g[1]), half * (outer - g[1]), g[2]]
            };
            for (p, v) in places.into_iter().zip(out) {
                tile[p][n] = v;
            }
        }
    };
    (0..taps).for_each(|x| line([0, 1, 2, 3].map(|y| y * SIDE + x)));
    (0..=taps).for_each(|y| line([0, 1, 2, 3].map(|x| y * SIDE + x)));
}

/// S -> G' S G, in place.
fn contract_weights<T: Scalar>(tile: &mut Rows<T>, taps: usize) {
    let half = T::of(0.5);
    let mut line = |places: [usize; SIDE]| {
        for n in 0..PANEL {
            let s: [T; SIDE] = places.map(|p| tile[p][n]);
            let out = if taps == 2 {
                [s[0] + s[1], s[1] + s[2], T::zero(), T::zero()]
            } else {
                let (sum, difference) = (half * (s[1] + s[2]), half * (s[1] - s[2]));
                [s[0] + sum, difference, sum + s[3], T::zero()]
            };
            for (p, v) in places.into_iter().zip(out) {
                tile[p][n] = v;
            }
        }
    };
    (0..=taps).for_each(|x| line([0, 1, 2, 3].map(|y| y * SIDE + x)));
    (0..taps).for_each(|y| line([0, 1, 2, 3].map(|x| y * SIDE + x)));
}

/// Adds G' S G to the weights' gradient. `S` is `[place][rows][columns]`; `at(ty, tx, row)` is where in `grad`
/// that tap's and row's columns lie, one behind the other.
pub(super) fn add_weights<T: Scalar>(
    sums: &[T],
    taps: usize,
    (rows, columns): (usize, usize),
    at: impl Fn(usize, usize, usize) -> usize,
    grad: &mut [T],
) {
    let places = taps + 1;
    for row in 0..rows {
        for first in (0..columns).step_by(PANEL) {
            let valid = PANEL.min(columns - first);
            let mut tile = [[T::zero(); PANEL]; SIDE * SIDE];
            for (y, x) in (0..places * places).map(|i| (i / places, i % places)) {
                let from = ((y * places + x) * rows + row) * columns + first;
                tile[y * SIDE + x][..valid].copy_from_slice(&sums[from..from + valid]);
            }
            contract_weights(&mut tile, taps);
            for (ty, tx) in (0..taps * taps).map(|i| (i / taps, i % taps)) {
                let to = &mut grad[at(ty, tx, row) + first..][..valid];
                let from = &tile[ty * SIDE + tx];
                to.iter_mut().zip(from).for_each(|(to, &v)| *to += v);
            }
        }
    }
}

impl<T: Scalar> Forward<'_, T> {
    /// Runs it with memory of the tape.
    pub(super) fn run(
        grid: Grid,
        (input, map): (View, &[T]),
        weights: &[T],
        (bias, relu): (&[T], bool),
        (output, out): (View, &mut [T]),
        tape: &mut Tape<T>,
    ) {
        let mut scratch = tape.buffer(grid.scratch(input, output));
        let task = Forward {
            grid,
            input,
            map,
            weights,
            bias,
            relu,
            output,
            out,
            scratch: &mut scratch,
        };
        T::run(task);
        tape.recycle_buffer(scratch);
    }
}

impl<T: Scalar> Gradient<'_, T> {
    /// S with memory of the tape, which should get it back.
    pub(super) fn run(
        grid: Grid,
        (input, map): (View, &[T]),
        (output, dy): (View, &[T]),
        turned: bool,
        tape: &mut Tape<T>,
    ) -> Vec<T> {
        let mut scratch = tape.buffer(grid.scratch(input, output));
        let mut sums = tape.buffer(grid.places() * input.width() * output.channels);
        sums.fill(T::zero());
        let task = Gradient {
            grid,
            input,
            map,
            output,
            dy,
            turned,
            sums: &mut sums,
            scratch: &mut scratch,
        };
        T::run(task);
        tape.recycle_buffer(scratch);
        sums
    }
}

impl<T: Simd + Default> Task for Forward<'_, T> {
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
        let Forward {
            grid,
            input,
            output,
            ..
        } = self;
        let (cin, cout) = (input.width(), output.channels);
        assert!(
            self.map.len() == input.len(grid.images) && self.out.len() == output.len(grid.images),
            "maps have the sizes that their views say"
        );
        assert!(self.weights.len() == weights_len(grid.taps, cin, cout));
        assert!(self.bias.is_empty() || self.bias.len() == cout);
        let block = grid.block(cin + cout);
        let plane = panels_len(cin, cout);
        let (zeros, rest) = self.scratch.split_at_mut(input.channels + PANEL);
        zeros.fill(T::default());
        let (v, rest) = rest.split_at_mut(grid.places() * block * cin);
        let m = &mut rest[..grid.places() * block * cout];
        for first in (0..grid.tiles()).step_by(block) {
            let tiles = first..(first + block).min(grid.tiles());
            let n = tiles.len();
            // SAFETY: as the caller promises; V has room for the block's tiles, the map was checked.
            unsafe { expand_input::<V>(&grid, &input, self.map, zeros, tiles.clone(), v) };
            for place in 0..grid.places() {
                let product = Correlation {
                    map: &v[place * n * cin..(place + 1) * n * cin],
                    windows: row_of(n, cin),
                    segments: &[Segment {
                        offset: 0,
                        len: cin,
                    }],
                    panels: &self.weights[place * plane..(place + 1) * plane],
                    columns: cout,
                    bias: &[],
                    relu: false,
                    outputs: row_of(n, cout),
                };
                let out = &mut m[place * n * cout..(place + 1) * n * cout];
                // SAFETY: as the caller promises.
                unsafe { (&product, out).run::<V, M, Q, W, H>() };
            }
            let finish = (self.bias, self.relu);
            // SAFETY: as the caller promises; M holds the block's tiles, the map was checked.
            unsafe { contract_output::<V>(&grid, &output, m, tiles, finish, self.out) };
        }
    }
}

impl<T: Simd + Default> Task for Gradient<'_, T> {
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
        let Gradient {
            grid,
            input,
            output,
            ..
        } = self;
        let (cin, cout) = (input.width(), output.channels);
        assert!(
            self.map.len() == input.len(grid.images) && self.dy.len() == output.len(grid.images),
            "maps have the sizes that their views say"
        );
        let block = grid.block(cin + cout);
        let (zeros, rest) = self
            .scratch
            .split_at_mut(input.channels.max(output.channels) + PANEL);
        zeros.fill(T::default());
        let (v, rest) = rest.split_at_mut(grid.places() * block * cin);
        let d = &mut rest[..grid.places() * block * cout];
        for first in (0..grid.tiles()).step_by(block) {
            let tiles = first..(first + block).min(grid.tiles());
            let n = tiles.len();
            // SAFETY: as the caller promises; V and D have room for the block's tiles, the maps were checked.
            unsafe {
                expand_input::<V>(&grid, &input, self.map, zeros, tiles.clone(), v);
                expand_output::<V>(&grid, &output, self.dy, zeros, tiles, d);
            }
            let sums = self.sums.chunks_exact_mut(cin * cout);
            let factors = v.chunks_exact(n * cin).zip(d.chunks_exact(n * cout));
            for (sums, (v, d)) in sums.zip(factors) {
                let (a, b, m, k) = if self.turned {
                    (d, v, cout, cin)
                } else {
                    (v, d, cin, cout)
                };
                let product = Outer {
                    a,
                    a_places: row_of(n, m),
                    m,
                    b,
                    b_places: row_of(n, k),
                    n: k,
                    stride: k,
                };
                // SAFETY: as the caller promises.
                unsafe { (&product, sums).run::<V, M, Q, W, H>() };
            }
        }
    }
}

/// V of some tiles, `[place][tile][phase, channel]`.
///
/// # Safety
/// The CPU has V's instruction set; the map has the size that the view says.
#[inline(always)]
unsafe fn expand_input<V: Lanes>(
    grid: &Grid,
    view: &View,
    map: &[V::Float],
    zeros: &[V::Float],
    tiles: std::ops::Range<usize>,
    v: &mut [V::Float],
) {
    let (n, width) = (tiles.len(), view.width());
    assert!(v.len() >= grid.places() * n * width && zeros.len() >= view.channels + PANEL);
    let plane = n * width;
    for (t, tile) in tiles.enumerate() {
        let (image, i, j) = grid.position(tile);
        for (phase, (a, b)) in phases(view.step).enumerate() {
            let mut from = [[zeros.as_ptr(); SIDE]; SIDE];
            for (y, row) in from[..=grid.taps].iter_mut().enumerate() {
                for (x, from) in row[..=grid.taps].iter_mut().enumerate() {
                    if let Some(at) = view.place(image, (i + y, a), (j + x, b)) {
                        *from = map[at..at + view.channels].as_ptr();
                    }
                }
            }
            let to = &mut v[t * width + phase * view.channels..];
            // SAFETY: each source has the view's channels, and behind place k of the target there is room for
            // them at k planes.
            unsafe {
                if grid.taps == 2 {
                    transform::<V, 3>(&from, view.channels, to.as_mut_ptr(), plane, input::<V, 3>);
                } else {
                    transform::<V, 4>(&from, view.channels, to.as_mut_ptr(), plane, input::<V, 4>);
                }
            }
        }
    }
}

/// D of some tiles, `[place][tile][channel]`.
///
/// # Safety
/// The CPU has V's instruction set; the map has the size that the view says.
#[inline(always)]
unsafe fn expand_output<V: Lanes>(
    grid: &Grid,
    view: &View,
    map: &[V::Float],
    zeros: &[V::Float],
    tiles: std::ops::Range<usize>,
    d: &mut [V::Float],
) {
    let (n, width) = (tiles.len(), view.channels);
    assert!(d.len() >= grid.places() * n * width && zeros.len() >= width + PANEL);
    for (t, tile) in tiles.enumerate() {
        let (image, i, j) = grid.position(tile);
        let mut from = [[zeros.as_ptr(); SIDE]; SIDE];
        for (y, row) in from[..2].iter_mut().enumerate() {
            for (x, from) in row[..2].iter_mut().enumerate() {
                let inside = i + y < grid.rows && j + x < grid.columns;
                let place = view.place(image, (i + y, 0), (j + x, 0));
                if let Some(at) = place.filter(|_| inside) {
                    *from = map[at..at + width].as_ptr();
                }
            }
        }
        let to = d[t * width..].as_mut_ptr();
        // SAFETY: as in expand_input.
        unsafe {
            if grid.taps == 2 {
                transform::<V, 3>(&from, width, to, n * width, gradient::<V, 3>);
            } else {
                transform::<V, 4>(&from, width, to, n * width, gradient::<V, 4>);
            }
        }
    }
}

/// Output tiles of M, `[place][tile][channel]`.
///
/// # Safety
/// The CPU has V's instruction set; the map has the size that the view says.
#[inline(always)]
unsafe fn contract_output<V: Lanes>(
    grid: &Grid,
    view: &View,
    m: &[V::Float],
    tiles: std::ops::Range<usize>,
    (bias, relu): (&[V::Float], bool),
    out: &mut [V::Float],
) {
    let (n, width) = (tiles.len(), view.channels);
    assert!(m.len() >= grid.places() * n * width);
    for (t, tile) in tiles.enumerate() {
        let (image, i, j) = grid.position(tile);
        for c in (0..width).step_by(V::LANES) {
            let valid = V::LANES.min(width - c);
            // SAFETY: M and the bias were checked, and each target has the view's channels.
            unsafe {
                let from = m.as_ptr().add(t * width + c);
                let mut sums = if grid.taps == 2 {
                    output::<V, 3>(from, n * width, valid)
                } else {
                    output::<V, 4>(from, n * width, valid)
                };
                if !bias.is_empty() {
                    let [bias] = load_some::<V, 1>(bias.as_ptr().add(c), valid);
                    sums = sums.map(|row| row.map(|sum| sum.add(bias)));
                }
                for (y, row) in sums.into_iter().enumerate() {
                    for (x, sum) in row.into_iter().enumerate() {
                        let inside = i + y < grid.rows && j + x < grid.columns;
                        let place = view.place(image, (i + y, 0), (j + x, 0));
                        if let Some(at) = place.filter(|_| inside) {
                            let sum = if relu { sum.rectify() } else { sum };
                            let to = out[at..at + width].as_mut_ptr().add(c);
                            store_some::<V, 1>([sum], to, valid);
                        }
                    }
                }
            }
        }
    }
}

/// Rows, then columns of a tile of N x N places through `line`, a few channels at a time.
///
/// # Safety
/// The CPU has V's instruction set; `channels` floats can be read from each source, and written to `to` and
/// behind it at every multiple of `plane` for N x N places.
#[inline(always)]
unsafe fn transform<V: Lanes, const N: usize>(
    from: &[[*const V::Float; SIDE]; SIDE],
    channels: usize,
    to: *mut V::Float,
    plane: usize,
    line: impl Fn([V; N]) -> [V; N],
) {
    for c in (0..channels).step_by(V::LANES) {
        let valid = V::LANES.min(channels - c);
        // SAFETY: as the caller promises.
        unsafe {
            let mut tile = [[V::splat(V::Float::default()); N]; N];
            for (row, from) in tile.iter_mut().zip(from) {
                for (value, from) in row.iter_mut().zip(from) {
                    [*value] = load_some::<V, 1>(from.add(c), valid);
                }
            }
            let rows = tile.map(&line);
            for x in 0..N {
                let mut column = [V::splat(V::Float::default()); N];
                for (value, row) in column.iter_mut().zip(&rows) {
                    *value = row[x];
                }
                for (y, value) in line(column).into_iter().enumerate() {
                    store_some::<V, 1>([value], to.add((y * N + x) * plane + c), valid);
                }
            }
        }
    }
}

/// B' d.
#[inline(always)]
fn input<V: Lanes, const N: usize>(d: [V; N]) -> [V; N] {
    let mut out = d;
    // SAFETY: whoever holds registers has their instruction set.
    unsafe {
        if N == 3 {
            out[0] = d[0].sub(d[1]);
            out[2] = d[2].sub(d[1]);
        } else {
            out[0] = d[0].sub(d[2]);
            out[1] = d[1].add(d[2]);
            out[2] = d[2].sub(d[1]);
            out[3] = d[1].sub(d[3]);
        }
    }
    out
}

/// A dy, of which the first two are given.
#[inline(always)]
fn gradient<V: Lanes, const N: usize>(dy: [V; N]) -> [V; N] {
    let mut out = dy;
    // SAFETY: whoever holds registers has their instruction set.
    unsafe {
        out[1] = dy[0].add(dy[1]);
        if N == 3 {
            out[2] = dy[1];
        } else {
            out[2] = dy[0].sub(dy[1]);
            out[3] = V::splat(V::Float::default()).sub(dy[1]);
        }
    }
    out
}

/// A' m A of one tile's channels.
///
/// # Safety
/// The CPU has V's instruction set; `valid` floats can be read at every multiple of `plane`.
#[inline(always)]
unsafe fn output<V: Lanes, const N: usize>(
    from: *const V::Float,
    plane: usize,
    valid: usize,
) -> [[V; 2]; 2] {
    // SAFETY: as the caller promises.
    unsafe {
        let line = |m: [V; N]| {
            if N == 3 {
                [m[0].add(m[1]), m[1].add(m[2])]
            } else {
                [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3])]
            }
        };
        let mut rows = [[V::splat(V::Float::default()); 2]; N];
        for (y, row) in rows.iter_mut().enumerate() {
            let mut m = [V::splat(V::Float::default()); N];
            for (x, value) in m.iter_mut().enumerate() {
                [*value] = load_some::<V, 1>(from.add((y * N + x) * plane), valid);
            }
            *row = line(m);
        }
        let columns = [0, 1].map(|x| line(rows.map(|row| row[x])));
        [0, 1].map(|y| columns.map(|column| column[y]))
    }
}

fn phases(step: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..step * step).map(move |i| (i / step, i % step))
}

#[cfg(test)]
mod tests {
    //! Whole correlations against plain loops; gradients are checked with the layers.
    use super::*;
    use crate::nn::simd::testing::{assert_agrees, numbers};

    /// Images, rows and columns of the map, its channels, channels of the output, taps, phases each way.
    const CASES: [[usize; 7]; 5] = [
        [1, 1, 1, 1, 1, 3, 1],
        [2, 5, 4, 9, 20, 3, 1],
        [3, 8, 6, 40, 33, 3, 1],
        [2, 6, 10, 5, 8, 2, 2],
        [1, 7, 3, 17, 64, 2, 1],
    ];

    #[test]
    fn correlations_agree_with_plain_loops() {
        for (case, [images, rows, columns, cin, cout, taps, step]) in CASES.into_iter().enumerate()
        {
            let input = View {
                rows,
                columns,
                channels: cin,
                step,
                top: -1,
                left: -1,
            };
            let grid = Grid {
                images,
                rows: rows / step,
                columns: columns / step,
                taps,
            };
            let output = View {
                rows: grid.rows,
                columns: grid.columns,
                channels: cout,
                step: 1,
                top: 0,
                left: 0,
            };
            let k = step * step * cin;
            let map = numbers(input.len(images), 1);
            let (weight, bias) = (numbers(taps * taps * k * cout, 2), numbers(cout, 3));
            let at = |ty: usize, tx: usize, row: usize| ((ty * taps + tx) * k + row) * cout;
            let mut weights = vec![0.0; weights_len(taps, k, cout)];
            pack(&weight, taps, (k, cout), 1, at, &mut weights);
            let mut plain = vec![0.0; output.len(images)];
            for (place, sum) in plain.iter_mut().enumerate() {
                let (n, position) = (place % cout, place / cout);
                let (j, rest) = (position % grid.columns, position / grid.columns);
                let (i, image) = (rest % grid.rows, rest / grid.rows);
                let mut total = f64::from(bias[n]);
                for (ty, tx) in (0..taps * taps).map(|t| (t / taps, t % taps)) {
                    for row in 0..k {
                        let (a, b) = (row / cin / step, row / cin % step);
                        if let Some(from) = input.place(image, (i + ty, a), (j + tx, b)) {
                            let x = f64::from(map[from + row % cin]);
                            total += x * f64::from(weight[at(ty, tx, row) + n]);
                        }
                    }
                }
                *sum = total.max(0.0);
            }
            let mut scratch = vec![0.0; grid.scratch(input, output)];
            let start = vec![7.0; plain.len()];
            assert_agrees!(start, plain, case, |out| Forward {
                grid,
                input,
                map: &map,
                weights: &weights,
                bias: &bias,
                relu: true,
                output,
                out: &mut out,
                scratch: &mut scratch,
            });
        }
    }
}
