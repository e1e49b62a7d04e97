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
use super::panels::{PANEL, panel_width, panels_len};
use super::simd::{Lanes, Loop, Simd, Task, load_some, store_some};
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
    /// As [`Packing`] leaves them.
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

/// Writes U: for each place the panels of a matrix `[cin, cout]`.
pub(super) struct Packing<'a, T, F> {
    pub(super) values: &'a [T],
    /// r.
    pub(super) taps: usize,
    pub(super) cin: usize,
    pub(super) cout: usize,
    /// Between channels out.
    pub(super) step: usize,
    /// Of (ty, tx, channel in): where in `values` the weights of that tap and channel in begin.
    pub(super) at: F,
    pub(super) packed: &'a mut [T],
}

/// Adds G' S G to the weights' gradient.
pub(super) struct Unpacking<'a, T, F> {
    /// S, `[place][rows][columns]`.
    pub(super) sums: &'a [T],
    /// r.
    pub(super) taps: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Of (ty, tx, row): where in `grad` that tap's and row's columns lie, one behind the other.
    pub(super) at: F,
    pub(super) grad: &'a mut [T],
}

impl<T: Scalar, F: Fn(usize, usize, usize) -> usize> Loop for Packing<'_, T, F> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        let Packing {
            values,
            taps,
            cin,
            cout,
            step,
            at,
            packed,
        } = self;
        let (plane, places) = (panels_len(cin, cout), taps + 1);
        let (mut begin, mut first) = (0, 0);
        let mut tile = [[[T::zero(); PANEL]; SIDE]; SIDE];
        while first < cout {
            let width = panel_width(cout - first);
            let valid = width.min(cout - first);
            for row in 0..cin {
                for ty in 0..taps {
                    for tx in 0..taps {
                        let from = &values[at(ty, tx, row) + first * step..];
                        let to = &mut tile[ty][tx];
                        if step == 1 {
                            to[..valid].copy_from_slice(&from[..valid]);
                        } else {
                            for n in 0..valid {
                                to[n] = from[n * step];
                            }
                        }
                        to[valid..].fill(T::zero());
                    }
                }
                expand_weights(&mut tile, taps);
                for y in 0..places {
                    for x in 0..places {
                        let target = (y * places + x) * plane + begin + row * width;
                        packed[target..target + width].copy_from_slice(&tile[y][x][..width]);
                    }
                }
            }
            begin += cin * width;
            first += PANEL;
        }
    }
}

impl<T: Scalar, F: Fn(usize, usize, usize) -> usize> Loop for Unpacking<'_, T, F> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        let Unpacking {
            sums,
            taps,
            rows,
            columns,
            at,
            grad,
        } = self;
        let places = taps + 1;
        let mut tile = [[[T::zero(); PANEL]; SIDE]; SIDE];
        for row in 0..rows {
            let mut first = 0;
            while first < columns {
                let valid = PANEL.min(columns - first);
                for y in 0..places {
                    for x in 0..places {
                        let from = ((y * places + x) * rows + row) * columns + first;
                        tile[y][x][..valid].copy_from_slice(&sums[from..from + valid]);
                    }
                }
                contract_weights(&mut tile, taps);
                for ty in 0..taps {
                    for tx in 0..taps {
                        let to = &mut grad[at(ty, tx, row) + first..][..valid];
                        for (to, &v) in to.iter_mut().zip(&tile[ty][tx]) {
                            *to += v;
                        }
                    }
                }
                first += PANEL;
            }
        }
    }
}

/// A tile of weights, 32 channels at a time.
type Tile<T> = [[[T; PANEL]; SIDE]; SIDE];

/// g -> G g G', in place.
#[inline(always)]
fn expand_weights<T: Scalar>(tile: &mut Tile<T>, taps: usize) {
    let half = T::of(0.5);
    let expand = |g0: T, g1: T, g2: T| {
        let outer = g0 + g2;
        [half * (outer + g1), half * (outer - g1)]
    };
    for x in 0..taps {
        for n in 0..PANEL {
            let (g0, g1, g2) = (tile[0][x][n], tile[1][x][n], tile[2][x][n]);
            if taps == 2 {
                tile[1][x][n] = g0 + g1;
                tile[2][x][n] = g1;
            } else {
                [tile[1][x][n], tile[2][x][n]] = expand(g0, g1, g2);
                tile[3][x][n] = g2;
            }
        }
    }
    for line in &mut tile[..=taps] {
        for n in 0..PANEL {
            let (g0, g1, g2) = (line[0][n], line[1][n], line[2][n]);
            if taps == 2 {
                line[1][n] = g0 + g1;
                line[2][n] = g1;
            } else {
                [line[1][n], line[2][n]] = expand(g0, g1, g2);
                line[3][n] = g2;
            }
        }
    }
}

/// S -> G' S G, in place.
#[inline(always)]
fn contract_weights<T: Scalar>(tile: &mut Tile<T>, taps: usize) {
    let half = T::of(0.5);
    for x in 0..=taps {
        for n in 0..PANEL {
            let (s0, s1, s2, s3) = (tile[0][x][n], tile[1][x][n], tile[2][x][n], tile[3][x][n]);
            if taps == 2 {
                (tile[0][x][n], tile[1][x][n]) = (s0 + s1, s1 + s2);
            } else {
                let (sum, difference) = (half * (s1 + s2), half * (s1 - s2));
                (tile[0][x][n], tile[1][x][n], tile[2][x][n]) = (s0 + sum, difference, sum + s3);
            }
        }
    }
    for line in &mut tile[..taps] {
        for n in 0..PANEL {
            let (s0, s1, s2, s3) = (line[0][n], line[1][n], line[2][n], line[3][n]);
            if taps == 2 {
                (line[0][n], line[1][n]) = (s0 + s1, s1 + s2);
            } else {
                let (sum, difference) = (half * (s1 + s2), half * (s1 - s2));
                (line[0][n], line[1][n], line[2][n]) = (s0 + sum, difference, sum + s3);
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
                    transform::<V, Input, 3>(&from, view.channels, to.as_mut_ptr(), plane);
                } else {
                    transform::<V, Input, 4>(&from, view.channels, to.as_mut_ptr(), plane);
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
                transform::<V, OutputGradient, 3>(&from, width, to, n * width);
            } else {
                transform::<V, OutputGradient, 4>(&from, width, to, n * width);
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
        let mut places = [[None; 2]; 2];
        for (y, row) in places.iter_mut().enumerate() {
            for (x, at) in row.iter_mut().enumerate() {
                if i + y < grid.rows && j + x < grid.columns {
                    *at = view.place(image, (i + y, 0), (j + x, 0));
                }
            }
        }
        let mut c = 0;
        while c < width {
            let valid = V::LANES.min(width - c);
            // SAFETY: M and the bias were checked, and each place has the view's channels.
            unsafe {
                let from = m.as_ptr().add(t * width + c);
                let sums = if grid.taps == 2 {
                    output::<V, 3>(from, n * width, valid)
                } else {
                    output::<V, 4>(from, n * width, valid)
                };
                for (sums, places) in sums.into_iter().zip(places) {
                    for (mut sum, place) in sums.into_iter().zip(places) {
                        let Some(at) = place else { continue };
                        if !bias.is_empty() {
                            let bias = load_some::<V, 1>(bias.as_ptr().add(c), valid);
                            sum = sum.add(bias[0]);
                        }
                        if relu {
                            sum = sum.rectify();
                        }
                        let to = out[at..at + width].as_mut_ptr().add(c);
                        store_some::<V, 1>([sum], to, valid);
                    }
                }
            }
            c += V::LANES;
        }
    }
}

/// What becomes of a line of N places of a tile.
trait Line {
    /// # Safety
    /// The CPU has V's instruction set.
    unsafe fn of<V: Lanes, const N: usize>(line: [V; N]) -> [V; N];
}

/// B' d.
struct Input;

impl Line for Input {
    #[inline(always)]
    unsafe fn of<V: Lanes, const N: usize>(d: [V; N]) -> [V; N] {
        let mut out = d;
        // SAFETY: as the caller promises.
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
}

/// A dy, of which the first two are given.
struct OutputGradient;

impl Line for OutputGradient {
    #[inline(always)]
    unsafe fn of<V: Lanes, const N: usize>(dy: [V; N]) -> [V; N] {
        let mut out = dy;
        // SAFETY: as the caller promises.
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
}

/// Rows, then columns of a tile of N x N places, a few channels at a time.
///
/// No closures and no library functions here: they are not compiled for V's instruction set.
///
/// # Safety
/// The CPU has V's instruction set; `channels` floats can be read from each source, and written to `to` and
/// behind it at every multiple of `plane` for N x N places.
#[inline(always)]
unsafe fn transform<V: Lanes, L: Line, const N: usize>(
    from: &[[*const V::Float; SIDE]; SIDE],
    channels: usize,
    to: *mut V::Float,
    plane: usize,
) {
    let mut c = 0;
    while c < channels {
        let valid = V::LANES.min(channels - c);
        // SAFETY: as the caller promises.
        unsafe {
            let mut tile = [[V::splat(V::Float::default()); N]; N];
            for y in 0..N {
                for x in 0..N {
                    tile[y][x] = load_some::<V, 1>(from[y][x].add(c), valid)[0];
                }
                tile[y] = L::of(tile[y]);
            }
            for x in 0..N {
                let mut column = [V::splat(V::Float::default()); N];
                for y in 0..N {
                    column[y] = tile[y][x];
                }
                column = L::of(column);
                for y in 0..N {
                    store_some::<V, 1>([column[y]], to.add((y * N + x) * plane + c), valid);
                }
            }
        }
        c += V::LANES;
    }
}

/// A' m.
///
/// # Safety
/// The CPU has V's instruction set.
#[inline(always)]
unsafe fn contract<V: Lanes, const N: usize>(m: [V; N]) -> [V; 2] {
    // SAFETY: as the caller promises.
    unsafe {
        if N == 3 {
            [m[0].add(m[1]), m[1].add(m[2])]
        } else {
            [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3])]
        }
    }
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
        let zero = V::splat(V::Float::default());
        let mut columns = [[zero; N]; 2];
        for y in 0..N {
            let mut m = [zero; N];
            for (x, value) in m.iter_mut().enumerate() {
                *value = load_some::<V, 1>(from.add((y * N + x) * plane), valid)[0];
            }
            let row = contract(m);
            columns[0][y] = row[0];
            columns[1][y] = row[1];
        }
        let (left, right) = (contract(columns[0]), contract(columns[1]));
        [[left[0], right[0]], [left[1], right[1]]]
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
            let packing = Packing {
                values: &weight,
                taps,
                cin: k,
                cout,
                step: 1,
                at,
                packed: &mut weights,
            };
            packing.run_wide();
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
