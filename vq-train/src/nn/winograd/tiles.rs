//! The transforms of tiles, a register of channels at a time.
//!
//! No closures and no library functions in here: they are not compiled for the registers' instruction set.

use super::grid::{Grid, SIDE, View};
use crate::nn::panels::{Factors, PANEL};
use crate::nn::simd::{Lanes, load_some, store_some};
use std::ops::Range;

/// V of some tiles, `[place][tile][phase, channel]`.
///
/// # Safety
/// The CPU has V's instruction set.
#[inline(always)]
pub(super) unsafe fn expand_input<V: Lanes>(
    grid: &Grid,
    view: &View,
    map: &[V::Float],
    zeros: &[V::Float],
    tiles: Range<usize>,
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
                    if let Some(at) =
                        view.place(image, view.step * (i + y) + a, view.step * (j + x) + b)
                    {
                        *from = map[at..at + view.channels].as_ptr();
                    }
                }
            }
            let to = &mut v[t * width + phase * view.channels..];
            // SAFETY: each source has the view's channels, the zeros more; and behind place k of the target, of which `v` has
            // as many as the grid, there is room for them at k planes.
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
/// The CPU has V's instruction set.
#[inline(always)]
pub(super) unsafe fn expand_output<V: Lanes>(
    grid: &Grid,
    view: &View,
    map: &[V::Float],
    zeros: &[V::Float],
    tiles: Range<usize>,
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
                let place = view.place(image, view.step * (i + y), view.step * (j + x));
                if let Some(at) = place.filter(|_| inside) {
                    *from = map[at..at + width].as_ptr();
                }
            }
        }
        let to = d[t * width..].as_mut_ptr();
        // SAFETY: each source has `width` channels, the zeros more; and behind place k of the target, of which `d` has as many
        // as the grid, there is room for them at k planes.
        unsafe {
            if grid.taps == 2 {
                transform::<V, OutputGradient, 3>(&from, width, to, n * width);
            } else {
                transform::<V, OutputGradient, 4>(&from, width, to, n * width);
            }
        }
    }
}

/// Output tiles of M, `[place][tile][output, channel]`.
///
/// # Safety
/// The CPU has V's instruction set; a bias, if there is one, has as many floats as a view has channels.
#[inline(always)]
pub(super) unsafe fn contract_output<V: Lanes>(
    grid: &Grid,
    views: &[View],
    m: &[V::Float],
    tiles: Range<usize>,
    factors: Factors<'_, V::Float>,
    out: &mut [V::Float],
) {
    let channels = views[0].channels;
    let (n, width) = (tiles.len(), views.len() * channels);
    assert!(m.len() >= grid.places() * n * width);
    for (t, tile) in tiles.enumerate() {
        let (image, i, j) = grid.position(tile);
        for (phase, view) in views.iter().enumerate() {
            let mut places = [[None; 2]; 2];
            for (y, row) in places.iter_mut().enumerate() {
                for (x, at) in row.iter_mut().enumerate() {
                    if i + y < grid.rows && j + x < grid.columns {
                        *at = view.place(image, view.step * (i + y), view.step * (j + x));
                    }
                }
            }
            let mut c = 0;
            while c < channels {
                let valid = V::LANES.min(channels - c);
                // SAFETY: `m` has all places of all tiles, of `width` floats each, in which this phase's channels lie; a bias
                // has as many as a view, and so has each place of `out`, which was sliced.
                unsafe {
                    let from = m.as_ptr().add(t * width + phase * channels + c);
                    let sums = if grid.taps == 2 {
                        output::<V, 3>(from, n * width, valid)
                    } else {
                        output::<V, 4>(from, n * width, valid)
                    };
                    for (sums, places) in sums.into_iter().zip(places) {
                        for (mut sum, place) in sums.into_iter().zip(places) {
                            let Some(at) = place else { continue };
                            if !factors.bias.is_empty() {
                                let bias = factors.bias.as_ptr().add(c);
                                let bias = load_some::<V, 1>(bias, valid);
                                sum = sum.add(bias[0]);
                            }
                            if factors.relu {
                                sum = sum.rectify();
                            }
                            let to = out[at..at + channels].as_mut_ptr().add(c);
                            store_some::<V, 1>([sum], to, valid);
                        }
                    }
                }
                c += V::LANES;
            }
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
        // SAFETY: the caller guarantees that the CPU has the instruction set.
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
        // SAFETY: the caller guarantees that the CPU has the instruction set.
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
/// # Safety
/// The CPU has V's instruction set; `channels` floats can be read from each source, and written to `to` and
/// behind it at every multiple of `plane` for N x N places.
#[expect(
    clippy::needless_range_loop,
    reason = "the places of a tile are the formula's indices"
)]
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
        // SAFETY: from channel `c` on `valid` are left of those that the caller guarantees to lie at each source and behind each
        // place of the target; the CPU has the instructions.
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
    // SAFETY: the caller guarantees that the CPU has the instruction set.
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
/// The CPU has V's instruction set; `valid` floats, LANES at most, can be read at N x N multiples of `plane` from `from` on.
#[expect(
    clippy::needless_range_loop,
    reason = "the places of a tile are the formula's indices"
)]
#[inline(always)]
unsafe fn output<V: Lanes, const N: usize>(
    from: *const V::Float,
    plane: usize,
    valid: usize,
) -> [[V; 2]; 2] {
    // SAFETY: place (y, x) is number y * N + x, below N x N; the CPU has the instructions.
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
