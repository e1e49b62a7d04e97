//! Missing codes: what stands in for them, checked against the definition written out.

use half::f16;
use proptest::prelude::*;
use vq_core::bitstream::{Grid, MISSING};
use vq_core::conceal::{Cell, RADIUS, conceal, known_stages};

const M: u16 = MISSING;
const THREE: Grid = Grid {
    columns: 3,
    rows: 3,
};
const MIDDLE: Cell = Cell { column: 1, row: 1 };

/// Embedding of one value: the code itself, moved into i8.
fn value(code: u16, _: usize) -> i8 {
    code as i8
}

#[test]
fn edges_count_twice_and_corners_once() {
    let codes = [10, 20, 30, 40, M, 60, 70, 80, 90];
    let mut mean = [0i8];
    assert!(conceal(&codes, THREE, MIDDLE, value, &mut mean));
    // (10 + 30 + 70 + 90 + 2 (20 + 40 + 60 + 80)) / 12
    assert_eq!(mean, [50]);
    let codes = [100, M, M, 1, M, M, M, M, M];
    assert!(conceal(&codes, THREE, MIDDLE, value, &mut mean));
    assert_eq!(mean, [34]);
    let mut mean = [0f32, 0.0];
    let pair = |code: u16, d: usize| f32::from(code) + d as f32;
    assert!(conceal(&codes, THREE, MIDDLE, pair, &mut mean));
    assert_eq!(mean, [34.0, 35.0]);
    let mut mean = [f16::ZERO];
    assert!(conceal(
        &codes,
        THREE,
        MIDDLE,
        |code, _| f16::from_f32(code.into()),
        &mut mean
    ));
    assert_eq!(mean, [f16::from_f32(34.0)]);
}

#[test]
fn ties_go_upwards_and_extremes_do_not_overflow() {
    let mean = |codes: [u16; 9], table: [i8; 2]| {
        let mut mean = [0i8];
        assert!(conceal(
            &codes,
            THREE,
            MIDDLE,
            |code, _| table[usize::from(code)],
            &mut mean
        ));
        mean[0]
    };
    let two = [M, 0, M, 1, M, M, M, M, M];
    assert_eq!(mean(two, [1, 2]), 2);
    assert_eq!(mean(two, [-1, -2]), -1);
    assert_eq!(mean(two, [-1, 0]), 0);
    let all = [0, 0, 0, 0, M, 0, 0, 0, 0];
    assert_eq!(mean(all, [-128, 0]), -128);
    assert_eq!(mean(all, [127, 0]), 127);
}

#[test]
fn only_the_nearest_ring_counts() {
    let grid = Grid {
        columns: 9,
        rows: 1,
    };
    let mut codes = [M; 9];
    codes[0] = 1;
    codes[8] = 9;
    let at = |column| {
        let mut mean = [0i8];
        let found = conceal(&codes, grid, Cell { column, row: 0 }, value, &mut mean);
        found.then_some(mean[0])
    };
    assert_eq!(at(1), Some(1));
    assert_eq!(at(4), Some(5));
    assert_eq!(at(6), Some(9));
}

#[test]
fn nothing_near_leaves_the_embedding() {
    let columns = RADIUS + 2;
    let mut codes = vec![M; usize::from(columns)];
    codes[0] = 5;
    let grid = Grid { columns, rows: 1 };
    let mut mean = [77i8];
    let far = Cell {
        column: RADIUS + 1,
        row: 0,
    };
    assert!(!conceal(&codes, grid, far, value, &mut mean));
    assert_eq!(mean, [77]);
    assert!(conceal(
        &codes,
        grid,
        Cell {
            column: RADIUS,
            row: 0
        },
        value,
        &mut mean
    ));
    assert_eq!(mean, [5]);
}

#[test]
fn stages_count_up_to_the_first_missing_one() {
    let codes = [1, 1, M, M, 2, M, 2, M, 3, 3, 3, M];
    let known: Vec<usize> = (0..4).map(|cell| known_stages(&codes, 4, cell)).collect();
    assert_eq!(known, [3, 1, 0, 0]);
}

/// The definition: every cell of the grid at Chebyshev distance r, the diagonals once.
fn plain(codes: &[u16], grid: Grid, cell: Cell) -> Option<i8> {
    let (columns, rows) = (i64::from(grid.columns), i64::from(grid.rows));
    for r in 1..=i64::from(RADIUS) {
        let (mut sum, mut weights) = (0, 0);
        for place in 0..columns * rows {
            let dx = (place % columns - i64::from(cell.column)).abs();
            let dy = (place / columns - i64::from(cell.row)).abs();
            let code = codes[place as usize];
            if dx.max(dy) == r && code != MISSING {
                let weight = if dx == dy { 1 } else { 2 };
                sum += i64::from(code as i8) * weight;
                weights += weight;
            }
        }
        if weights > 0 {
            return Some((sum as f64 / weights as f64 + 0.5).floor() as i8);
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn as_defined(
        columns in 1u16..24,
        rows in 1u16..24,
        present in prop::collection::vec((any::<prop::sample::Index>(), 0u16..256), 0..40),
    ) {
        let grid = Grid { columns, rows };
        let mut codes = vec![MISSING; grid.cells() as usize];
        for (place, code) in present {
            let place = place.index(codes.len());
            codes[place] = code;
        }
        for place in (0..codes.len()).filter(|&place| codes[place] == MISSING) {
            let (column, row) = (place as u16 % columns, place as u16 / columns);
            let cell = Cell { column, row };
            let mut mean = [0i8];
            let found = conceal(&codes, grid, cell, value, &mut mean);
            prop_assert_eq!(found.then_some(mean[0]), plain(&codes, grid, cell));
        }
    }
}
