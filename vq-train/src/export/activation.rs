//! Curves in integers: the lookup table, and which part of its input a curve can tell apart.

use super::calibrate::Range;
use vq_core::format::{ActivationKind, Quant};

/// The curve's nearest stored number for each that a byte can store.
pub(super) fn lookup(kind: ActivationKind, from: Quant, out: Quant) -> impl Iterator<Item = u8> {
    (-128..128).map(move |stored| {
        let x = f64::from(from.scale) * f64::from(stored - i32::from(from.zero));
        let y = f64::from(out.zero) + (curve(kind, x) / f64::from(out.scale)).round();
        y.clamp(-128.0, 127.0) as i8 as u8
    })
}

/// The curves as the format defines them.
fn curve(kind: ActivationKind, x: f64) -> f64 {
    match kind {
        ActivationKind::Tanh => x.tanh(),
        ActivationKind::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        ActivationKind::Silu => x / (1.0 + (-x).exp()),
        ActivationKind::LeakyRelu { slope } if x < 0.0 => f64::from(slope) * x,
        ActivationKind::LeakyRelu { .. } => x,
    }
}

/// Where a curve is not within about half a step of 255 of what it tends to.
pub(super) fn steep(kind: ActivationKind) -> Range {
    let (low, high) = match kind {
        ActivationKind::Tanh => (-3.2, 3.2),
        ActivationKind::Sigmoid => (-6.4, 6.4),
        ActivationKind::Silu => (-8.0, f32::INFINITY),
        ActivationKind::LeakyRelu { .. } => return Range::EVERYTHING,
    };
    Range { low, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [ActivationKind; 4] = [
        ActivationKind::Tanh,
        ActivationKind::Sigmoid,
        ActivationKind::Silu,
        ActivationKind::LeakyRelu { slope: 0.2 },
    ];

    #[test]
    fn a_lookup_is_within_half_a_step_of_the_curve() {
        let from = Quant {
            scale: 0.03,
            zero: 20,
        };
        let out = Quant {
            scale: 0.017,
            zero: -60,
        };
        for kind in KINDS {
            let table: Vec<i8> = lookup(kind, from, out).map(|y| y as i8).collect();
            for (stored, &y) in (-128..128).zip(&table) {
                let x = 0.03f32 as f64 * f64::from(stored - 20);
                let y_true = curve(kind, x);
                let back = f64::from(out.scale) * (f64::from(y) + 60.0);
                let cut = y_true.min(f64::from(out.scale) * 187.0);
                assert!((back - cut).abs() <= 0.0086, "{kind:?} {x}: {back}, {cut}");
            }
        }
    }

    #[test]
    fn what_is_cut_off_is_flat() {
        // A step of 255 over the curve's own range.
        for (kind, step) in KINDS.into_iter().zip([2.0 / 255.0, 1.0 / 255.0, 0.01]) {
            let Range { low, high } = steep(kind);
            let change = |from: f32, to: f64| (curve(kind, from.into()) - curve(kind, to)).abs();
            assert!(change(low, -60.0) < step, "{kind:?}");
            assert!(high.is_infinite() || change(high, 60.0) < step, "{kind:?}");
        }
        assert_eq!(steep(KINDS[3]), Range::EVERYTHING);
    }
}
