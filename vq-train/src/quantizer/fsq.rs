//! Finite scalar quantisation (Mentzer et al. 2024): no codebook, each channel is rounded to a few levels.
//!
//! With L levels of a channel, h = (L - 1) (1 - 1e-3) / 2, o = 1/2 for even L and 0 for odd, and
//! shift = atanh(o / h):
//!
//! ```text
//! bounded = tanh(z + shift) h - o,   value = round(bounded) / floor(L / 2)
//! dz      = dvalue h (1 - tanh^2(z + shift)) / floor(L / 2)
//! code    = mixed radix of the rounded numbers, the first channel fastest
//! ```
//!
//! Deploys as the table of all products of levels; encoders end with bounded / floor(L / 2), of which
//! the nearest entry is the rounded one.

use super::quantize::{Bridge, Moved, Quantize, Quantized, Stage, Step, TASK, Table};
use crate::nn::Scalar;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// How far the outermost levels are from the ends of tanh's range.
const MARGIN: f64 = 1e-3;

/// The levels of each channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Fsq {
    /// L of each channel, at least 3.
    pub levels: Vec<usize>,
}

/// One channel's bounds.
#[derive(Debug, Clone, Copy)]
struct Bound {
    shift: f64,
    h: f64,
    o: f64,
    /// floor(L / 2): the level of the largest rounded number in size.
    half: f64,
}

impl Bound {
    fn new(levels: usize) -> Bound {
        let h = (levels - 1) as f64 * (1.0 - MARGIN) / 2.0;
        let o = if levels.is_multiple_of(2) { 0.5 } else { 0.0 };
        Bound {
            shift: (o / h).atanh(),
            h,
            o,
            half: (levels / 2) as f64,
        }
    }

    fn rounded<T: Scalar>(&self, z: T) -> T {
        let curve = (z + T::of(self.shift)).tanh();
        (curve * T::of(self.h) - T::of(self.o)).round()
    }

    fn slope<T: Scalar>(&self, z: T) -> T {
        let curve = (z + T::of(self.shift)).tanh();
        T::of(self.h / self.half) * (T::one() - curve * curve)
    }
}

impl Fsq {
    /// K.
    fn codes(&self) -> usize {
        self.levels.iter().product()
    }

    fn bounds(&self) -> Vec<Bound> {
        self.levels
            .iter()
            .map(|&levels| Bound::new(levels))
            .collect()
    }

    /// Rounds one vector in place and returns its code.
    fn round<T: Scalar>(&self, bounds: &[Bound], z: &[T], value: &mut [T]) -> u16 {
        let (mut code, mut step) = (0, 1);
        let channels = bounds.iter().zip(&self.levels).zip(z);
        for (((bound, levels), &z), value) in channels.zip(value) {
            let rounded = bound.rounded(z);
            // Not a number becomes the lowest level's code; its value tells the trainer.
            code += step * (rounded.wide() + bound.half) as usize;
            *value = rounded / T::of(bound.half);
            step *= levels;
        }
        code as u16
    }
}

impl<T: Scalar> Quantize<T> for Fsq {
    fn stages(&self) -> Vec<Stage> {
        vec![Stage {
            codes: self.codes(),
            side: 1,
        }]
    }

    fn forward(&self, _p: &[T], z: &[T], _draws: Option<&mut ChaCha8Rng>) -> Quantized<T> {
        let (bounds, dim) = (self.bounds(), self.levels.len());
        let mut values = vec![T::zero(); z.len()];
        let mut codes = vec![0; z.len() / dim];
        let tasks = values
            .par_chunks_mut(TASK * dim)
            .zip(z.par_chunks(TASK * dim));
        tasks
            .zip(codes.par_chunks_mut(TASK))
            .for_each(|((values, z), codes)| {
                let vectors = values.chunks_exact_mut(dim).zip(z.chunks_exact(dim));
                for ((value, z), code) in vectors.zip(codes) {
                    *code = self.round(&bounds, z, value);
                }
            });
        Quantized {
            codes,
            values,
            ..Quantized::default()
        }
    }

    fn through(&self, _p: &[T], z: &[T], _out: &Quantized<T>, dz: &mut [T], _grads: &mut [T]) {
        let (bounds, dim) = (self.bounds(), self.levels.len());
        let tasks = dz.par_chunks_mut(TASK * dim).zip(z.par_chunks(TASK * dim));
        tasks.for_each(|(dz, z)| {
            for (dz, z) in dz.chunks_exact_mut(dim).zip(z.chunks_exact(dim)) {
                let channels = bounds.iter().zip(z).zip(dz);
                channels.for_each(|((bound, &z), dz)| *dz *= bound.slope(z));
            }
        });
    }

    fn terms(&self, _p: &[T], _z: &[T], _out: &Quantized<T>, _dz: &mut [T], _grads: &mut [T]) {}

    fn wanted(&self) -> usize {
        0
    }

    fn place(&self, _p: &mut [T], _z: &[T], _draws: &mut ChaCha8Rng) {}

    fn update(&self, _: &mut [T], _: &[T], _: &Quantized<T>, _: &mut ChaCha8Rng) -> Moved {
        Moved::default()
    }

    fn tables(&self, _p: &[T]) -> Vec<Table> {
        let codes = self.codes();
        let entry = |code: usize| {
            let mut rest = code;
            self.levels.iter().map(move |&levels| {
                let level = rest % levels;
                rest /= levels;
                level as f32 / (levels / 2) as f32 - 1.0
            })
        };
        let values = (0..codes).flat_map(entry).collect();
        vec![Table {
            codes,
            side: 1,
            values,
        }]
    }

    fn bridge(&self, _p: &[T]) -> Bridge {
        let bounds = self.bounds();
        let numbers =
            |of: fn(&Bound) -> f64| -> Vec<f32> { bounds.iter().map(|b| of(b) as f32).collect() };
        let ones = vec![1.0; bounds.len()];
        Bridge {
            encoder: vec![
                Step::diagonal(&ones, numbers(|b| b.shift)),
                Step::Tanh,
                Step::diagonal(&numbers(|b| b.h / b.half), numbers(|b| -b.o / b.half)),
            ],
            ..Bridge::default()
        }
    }
}
