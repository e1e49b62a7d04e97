//! Dropout (Srivastava et al. 2014): in training each value is dropped with the same chance, and the
//! others grow so that the expectation stays; in use nothing happens.

use super::builder::{BuildError, Builder, Configured};
use super::layer::{Layer, Learnt};
use super::map::flat_mut;
use super::scalar::Scalar;
use super::tape::{Cache, Tape};
use super::weights::Weights;
use ndarray::Array4;
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// Drops values of a map.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dropout {
    /// The chance of a value to be dropped, below 1.
    pub rate: f64,
}

impl<L: From<Dropout>> Configured<L> for Dropout {
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError> {
        builder.share("dropout", self.rate)?;
        builder.push(*self);
        Ok(())
    }
}

impl Layer for Dropout {
    fn kind(&self) -> &'static str {
        "dropout"
    }

    /// In place, any shape. A tape without a generator drops nothing.
    fn forward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        mut x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        if !tape.trains() {
            return x;
        }
        // An empty mask says that all were kept.
        let mut mask = tape.mask();
        if let Some(draws) = tape.draws() {
            let least = (self.rate * f64::from(u32::MAX)) as u32;
            mask.resize_with(x.len(), || draws.random::<u32>() >= least);
            self.drop(&mask, &mut x);
        }
        tape.push(Cache::Mask(mask));
        x
    }

    /// In place, any shape.
    fn backward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        tape: &mut Tape<T>,
        mut dy: Array4<T>,
        _: &mut [T],
    ) -> Array4<T> {
        let mask = tape.pop_mask();
        if !mask.is_empty() {
            self.drop(&mask, &mut dy);
        }
        tape.recycle_mask(mask);
        dy
    }

    fn learnt(&self) -> Learnt {
        Learnt::Nothing
    }
}

impl Dropout {
    /// v / (1 - rate), or 0.
    fn drop<T: Scalar>(&self, kept: &[bool], map: &mut Array4<T>) {
        let factor = T::of(1.0 / (1.0 - self.rate));
        let values = flat_mut(map);
        for (v, &kept) in values.iter_mut().zip(kept) {
            *v = if kept { *v * factor } else { T::zero() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn the_given_share_is_dropped_and_the_mean_stays() {
        let layer = Dropout { rate: 0.3 };
        let ones = || Array4::from_elem((4, 50, 50, 10), 1.0f64);
        let mut tape = Tape::recording();
        tape.seed(ChaCha8Rng::seed_from_u64(1));
        let y = layer.forward(&Weights::none(), ones(), &mut tape);
        let dropped = y.iter().filter(|&&v| v == 0.0).count() as f64 / y.len() as f64;
        assert!((dropped - 0.3).abs() < 0.01, "{dropped}");
        assert!((y.mean().unwrap() - 1.0).abs() < 0.01);
        assert_eq!(
            layer.backward(&Weights::none(), &mut tape, ones(), &mut []),
            y
        );
        let again = layer.forward(&Weights::none(), ones(), &mut tape);
        assert_ne!(again, y, "every pass draws anew");
    }

    #[test]
    fn nothing_is_dropped_in_use_or_without_a_generator() {
        let x = Array4::from_shape_fn((1, 3, 4, 5), |(_, y, x, c)| (y * 20 + x * 5 + c) as f64);
        let layer = Dropout { rate: 0.5 };
        let mut in_use = Tape::off();
        in_use.seed(ChaCha8Rng::seed_from_u64(1));
        assert_eq!(layer.forward(&Weights::none(), x.clone(), &mut in_use), x);
        let mut tape = Tape::recording();
        assert_eq!(layer.forward(&Weights::none(), x.clone(), &mut tape), x);
        assert_eq!(
            layer.backward(&Weights::none(), &mut tape, x.clone(), &mut []),
            x
        );
    }
}
