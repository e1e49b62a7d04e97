//! Curves at work: near the mathematical ones everywhere, and the same bits on every machine.

use half::f16;
use vq_core::format::{ActivationKind, Dtype, Quant};
use vq_core::{Decoding, Direction, Element, HasKernels, PictureSize, Probe, Source};
use vq_tests::Draft;

const SLOPE: f32 = 0.2;

const KINDS: [ActivationKind; 4] = [
    ActivationKind::Tanh,
    ActivationKind::Sigmoid,
    ActivationKind::Silu,
    ActivationKind::LeakyRelu { slope: SLOPE },
];

/// Numbers that are fed to a graph, one a pixel, row by row.
struct Fed<'a, E> {
    numbers: &'a [E],
    width: usize,
}

impl<E: HasKernels> Source for Fed<'_, E> {
    type Element = E;

    fn fill(&mut self, y: u32, row: &mut [E]) {
        row.copy_from_slice(&self.numbers[y as usize * self.width..][..self.width]);
    }
}

/// What the graph makes of them.
struct Seen<E>(Vec<E>);

impl<E: Element> Probe<E> for Seen<E> {
    fn after(&mut self, value: usize, _: u32, row: &[E]) {
        if value == 1 {
            self.0.extend_from_slice(row);
        }
    }
}

/// A model of one activation, one number a pixel, run on `numbers`, whose count is a multiple of 64.
fn bent<E: HasKernels>(kind: ActivationKind, numbers: &[E]) -> Vec<E> {
    const WIDTH: usize = 64;
    let mut draft = Draft::new(3, E::DTYPE, 1, 1, 1, &[1]);
    let mut graph = draft.start(draft.latent_map());
    draft.activation(&mut graph, kind, Quant::pixel(E::DTYPE));
    draft.decoder = graph.ops;
    let codec = draft.codec();
    let size = PictureSize {
        width: WIDTH as u16,
        height: (numbers.len() / WIDTH) as u16,
    };
    let width = WIDTH;
    let (mut seen, mut row) = (Seen(Vec::new()), [0; WIDTH]);
    let decoded = codec.with_engine(Direction::Decode, size, |engine| {
        let fed = Fed { numbers, width };
        let mut decoding = Decoding::with_source(engine, fed, 0..size.height)?;
        while decoding.next_row_with(&mut seen, &mut row)?.is_some() {}
        Ok(())
    });
    decoded.unwrap();
    assert_eq!(seen.0.len(), numbers.len());
    seen.0
}

/// The curve itself, in double precision.
fn truth(kind: ActivationKind, x: f64) -> f64 {
    match kind {
        ActivationKind::Tanh => x.tanh(),
        ActivationKind::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        ActivationKind::Silu => x / (1.0 + (-x).exp()),
        ActivationKind::LeakyRelu { slope } => x.max(0.0) + f64::from(slope) * x.min(0.0),
    }
}

/// Numbers of both signs in every binary octave from 2^-40 to 2^7.
fn numbers() -> Vec<f32> {
    let octaves = (-40..7).flat_map(|octave| {
        (0..512).map(move |step| (1.0 + step as f32 / 512.0) * 2f32.powi(octave))
    });
    octaves.flat_map(|x| [x, -x]).collect()
}

#[test]
fn singles_are_within_four_units_in_the_last_place() {
    let numbers = numbers();
    for kind in KINDS {
        for (&x, y) in numbers.iter().zip(bent(kind, &numbers)) {
            let y_true = truth(kind, x.into());
            // Below exp(-87) the curve stays at that height.
            let unit = y_true.abs().max(2e-36) * f64::from(f32::EPSILON);
            let error = (f64::from(y) - y_true).abs() / unit;
            let tail = kind != KINDS[3] && x < -80.0;
            assert!(
                error <= 4.0 || tail && y.abs() < 2e-33,
                "{kind:?} {x}: {y}, {y_true}, {error}"
            );
        }
    }
}

#[test]
fn halves_are_rounded_once() {
    let halves: Vec<f16> = (0..=u16::MAX)
        .map(f16::from_bits)
        .filter(|x| x.is_finite())
        .collect();
    let halves = &halves[..halves.len() / 64 * 64];
    for kind in KINDS {
        for (&x, y) in halves.iter().zip(bent(kind, halves)) {
            let y_true = truth(kind, x.to_f64());
            // Half a unit, and a little for the single before it.
            let unit = y_true.abs().max(2f64.powi(-14)) * 2f64.powi(-10);
            let error = (y.to_f64() - y_true).abs() / unit;
            assert!(error <= 0.502, "{kind:?} {x}: {y}, {y_true}, {error}");
        }
    }
}

#[test]
fn the_ends_are_what_they_should_be() {
    let mut numbers = [0f32; 64];
    numbers[..6].copy_from_slice(&[-0.0, f32::INFINITY, f32::MAX, f32::MIN, f32::NAN, -1e-42]);
    let bits = |kind| bent(kind, &numbers).into_iter().map(f32::to_bits);
    let first = |kind| bits(kind).take(4).map(f32::from_bits).collect::<Vec<_>>();
    assert_eq!(first(KINDS[0]), [-0.0, 1.0, 1.0, -1.0]);
    assert_eq!(first(KINDS[1])[..3], [0.5, 1.0, 1.0]);
    assert!((0.0..2e-38).contains(&first(KINDS[1])[3]));
    assert_eq!(first(KINDS[2])[..3], [-0.0, f32::INFINITY, f32::MAX]);
    assert_eq!(first(KINDS[3])[..3], [0.0, f32::INFINITY, f32::MAX]);
    for kind in KINDS {
        assert!(bent(kind, &numbers)[4].is_nan());
    }
    // The smallest numbers pass through the steepest point unharmed.
    assert_eq!(bent(KINDS[0], &numbers)[5], -1e-42);
}

/// Bits that a change of the arithmetic, or a processor that computes otherwise, would alter.
#[test]
fn singles_are_pinned_to_the_bit() {
    let mut numbers = [0f32; 64];
    numbers[..6].copy_from_slice(&[-3.0, -0.7, -0.01, 0.3, 1.0, 12.5]);
    let bits = |kind| -> Vec<u32> {
        let bent = bent(kind, &numbers);
        bent[..6].iter().map(|y| y.to_bits()).collect()
    };
    assert_eq!(
        bits(KINDS[0]),
        [
            0xbf7e_bbe7,
            0xbf1a_b7d8,
            0xbc23_d5a4,
            0x3e95_26ed,
            0x3f42_f7d7,
            0x3f80_0000
        ]
    );
    assert_eq!(
        bits(KINDS[1]),
        [
            0x3d42_41a2,
            0x3ea9_e34a,
            0x3efe_b853,
            0x3f13_0eaa,
            0x3f3b_26a8,
            0x3f7f_ffc2
        ]
    );
    assert_eq!(
        bits(KINDS[2]),
        [
            0xbe11_b13a,
            0xbe6d_d7ce,
            0xbba3_0554,
            0x3e30_7800,
            0x3f3b_26a8,
            0x4147_ffd0
        ]
    );
    assert_eq!(
        bits(KINDS[3]),
        [
            0xbf19_999a,
            0xbe0f_5c29,
            0xbb03_126f,
            0x3e99_999a,
            0x3f80_0000,
            0x4148_0000
        ]
    );
}

#[test]
fn integers_are_looked_up() {
    let numbers: Vec<i8> = (i8::MIN..=i8::MAX).collect();
    let table = {
        let mut draft = Draft::new(3, Dtype::I8, 1, 1, 1, &[1]);
        let mut graph = draft.start(draft.latent_map());
        draft.activation(&mut graph, KINDS[0], Quant::PIXEL);
        draft.blob[4..].iter().map(|&y| y as i8).collect::<Vec<_>>()
    };
    for kind in KINDS {
        assert_eq!(bent(kind, &numbers), table, "{kind:?} is only a name");
    }
}
