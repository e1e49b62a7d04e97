//! The order of the codes: complete, coarse to fine, evenly spread, and entered anywhere.

use proptest::prelude::*;
use vq_core::bitstream::{Grid, Scan};

fn order(columns: u16, rows: u16) -> Vec<usize> {
    Scan::Dithered.cells(Grid { columns, rows }, 0).collect()
}

/// How many steps away the nearest of `cells` is from the cell it is farthest from.
fn widest_gap(cells: &[usize], columns: usize, rows: usize) -> usize {
    let distance = |a: usize, b: usize| {
        let across = (a % columns).abs_diff(b % columns);
        across.max((a / columns).abs_diff(b / columns))
    };
    let nearest = |a| cells.iter().map(|&b| distance(a, b)).min().unwrap();
    (0..columns * rows).map(nearest).max().unwrap()
}

#[test]
fn four_by_four_is_bayers_matrix() {
    let mut rank = [0; 16];
    for (position, cell) in order(4, 4).into_iter().enumerate() {
        rank[cell] = position;
    }
    assert_eq!(rank, [0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5]);
}

#[test]
fn a_line_is_halved_and_halved_again() {
    assert_eq!(order(8, 1), [0, 4, 2, 6, 1, 5, 3, 7]);
    assert_eq!(order(1, 6), [0, 4, 2, 1, 5, 3]);
    assert_eq!(order(1, 1), [0]);
    assert_eq!(order(0, 3), []);
}

#[test]
fn the_longest_lines_are_complete() {
    for (columns, rows) in [(65535, 1), (1, 65535), (40000, 3)] {
        let mut cells = order(columns, rows);
        cells.sort_unstable();
        let all = usize::from(columns) * usize::from(rows);
        assert!(cells.into_iter().eq(0..all));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_cell_comes_once(columns in 1u16..70, rows in 1u16..70, start: prop::sample::Index) {
        for scan in [Scan::Raster, Scan::Dithered] {
            let grid = Grid { columns, rows };
            let all: Vec<usize> = scan.cells(grid, 0).collect();
            let mut sorted = all.clone();
            sorted.sort_unstable();
            prop_assert!(sorted.into_iter().eq(0..grid.cells() as usize));
            let start = start.index(all.len() + 1);
            let cells = scan.cells(grid, start as u32);
            prop_assert_eq!(cells.len(), all.len() - start);
            prop_assert!(cells.eq(all[start..].iter().copied()));
        }
    }

    /// The first cells are exactly those whose coordinates are divisible by a power of two.
    #[test]
    fn prefixes_are_lattices(columns in 1u16..70, rows in 1u16..70, shift in 0u32..7) {
        let step = 1 << shift;
        let prefix = usize::from(columns.div_ceil(step)) * usize::from(rows.div_ceil(step));
        for cell in &order(columns, rows)[..prefix] {
            let (column, row) = (cell % usize::from(columns), cell / usize::from(columns));
            prop_assert!(column % usize::from(step) == 0 && row % usize::from(step) == 0);
        }
    }

    /// No cell is as far from the first n as the stride of the finest lattice of n cells or fewer.
    #[test]
    fn any_prefix_is_evenly_spread(columns in 1usize..20, rows in 1usize..20) {
        let cells = order(columns as u16, rows as u16);
        for n in 1..=cells.len() {
            let gap = widest_gap(&cells[..n], columns, rows);
            prop_assert!(gap < stride(columns, rows, n), "{n} of {columns} x {rows}: {gap}");
        }
    }

    /// Whichever packet of two or more is lost, each of its codes keeps a neighbour.
    #[test]
    fn a_lost_packet_leaves_neighbours(columns in 2usize..24, rows in 2usize..24, count in 2usize..9) {
        let cells = order(columns as u16, rows as u16);
        let count = count.min(cells.len());
        for lost in 0..count {
            let start = lost * cells.len() / count;
            let end = (lost + 1) * cells.len() / count;
            let rest = [&cells[..start], &cells[end..]].concat();
            prop_assert!(widest_gap(&rest, columns, rows) <= 1);
        }
    }
}

/// Stride of the finest power-of-two lattice of at most `n` cells.
fn stride(columns: usize, rows: usize, n: usize) -> usize {
    let strides = (0..).map(|shift| 1 << shift);
    let cells = |stride| columns.div_ceil(stride) * rows.div_ceil(stride);
    strides
        .into_iter()
        .find(|&stride| cells(stride) <= n)
        .unwrap()
}
