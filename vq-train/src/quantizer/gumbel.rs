//! Codes drawn by their logits, made smooth by Gumbel noise (Jang et al. 2017), in the form that DALL-E and
//! taming-transformers use.
//!
//! ```text
//! logits = z W + b,   y = softmax((logits + noise) / t),   code = argmax y,   value = E[code]
//! loss   = kl * mean over vectors of sum q ln(q K),   q = softmax(logits)
//! ```
//!
//! Backward takes value = sum of y E (straight-through): dy = dvalue E', and E learns as if it had been
//! chosen outright. The temperature t falls geometrically from the first to the last over `steps`. Without
//! training there is no noise: the largest logit wins.
//!
//! Deploys by a search table apart from the decoder's, in one: the search sees [z, 0, 0], entries [w, a, e]
//! with one number a = sqrt(2 (M - b) - |w|^2 - |e|^2), M so large that none is negative. The nearest entry
//! maximises z w - (|w|^2 + a^2 + |e|^2) / 2 = z w + b - M, so it is the argmax; the decoder reads e. In f32
//! that is exact but for rounding, in f16 a few logits that are nearly the largest win, in i8 too many do.

use super::codebook::{looked_up, mean_square};
use super::kmeans::{ITERATIONS, VECTORS_PER_CODE, kmeans};
use super::members::Members;
use super::nearest::{largest, nearest};
use super::quantize::{Bridge, Moved, Quantize, Quantized, Stage, Step, Table};
use crate::nn::lanes::dot;
use crate::nn::softmax::log_softmax;
use crate::nn::{Init, ParamTable, Right, Role, Scalar, add_transposed_product};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::ops::Range;

/// A batch is cut into this many tasks at most, each with its own gradients of W.
const TASKS: usize = 16;
/// Vectors whose logits are looked at together.
const BLOCK: usize = 64;
/// Numbers of noise of one generator.
const DRAWS: usize = 1 << 16;

/// How codes are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GumbelSettings {
    /// K.
    pub codes: usize,
    /// D.
    pub dim: usize,
    /// t at the first step that quantises, and after the last of `steps`.
    pub temperature: [f64; 2],
    /// Steps over which t falls.
    pub steps: u64,
    /// Weight of the divergence from using all codes equally.
    pub kl: f64,
}

/// Where the projection and the codes lie.
#[derive(Debug, Clone)]
pub struct Gumbel {
    /// How codes are drawn.
    pub settings: GumbelSettings,
    /// W, `[D, K]`.
    pub weight: Range<usize>,
    /// b, `[K]`.
    pub bias: Range<usize>,
    /// E, `[K, D]`.
    pub codebook: Range<usize>,
    /// Steps that have quantised, one number.
    pub steps: Range<usize>,
}

impl Gumbel {
    /// Enters `NAME.weight`, `NAME.bias`, `NAME.codebook` and `NAME.steps`.
    pub fn new(settings: GumbelSettings, name: &str, table: &mut ParamTable) -> Gumbel {
        let GumbelSettings { codes, dim, .. } = settings;
        let normal = Init::Normal(1.0 / (dim as f64).sqrt());
        let mut add = |part: &str, shape: &[usize], init, role| {
            table.add(format!("{name}.{part}"), shape, init, role)
        };
        Gumbel {
            settings,
            weight: add("weight", &[dim, codes], normal, Role::Weight),
            bias: add("bias", &[codes], Init::Zero, Role::Bias),
            codebook: add("codebook", &[codes, dim], normal, Role::Bias),
            steps: add("steps", &[1], Init::Zero, Role::State),
        }
    }

    /// t now.
    fn temperature<T: Scalar>(&self, p: &[T]) -> f64 {
        let [first, last] = self.settings.temperature;
        let done = p[self.steps.start].wide() / self.settings.steps as f64;
        first * (last / first).powf(done.min(1.0))
    }

    fn projection<'p, T: Scalar>(&self, p: &'p [T]) -> Projection<'p, T> {
        Projection {
            weight: Right::new(&p[self.weight.clone()], self.settings.codes),
            bias: &p[self.bias.clone()],
            dim: self.settings.dim,
        }
    }

    /// Vectors of a task; their number does not depend on that of threads.
    fn task(&self, vectors: usize) -> usize {
        vectors.div_ceil(TASKS).next_multiple_of(BLOCK)
    }

    /// Chooses by logits and noise. `soft` `[P, K]` comes with the noise and is left with y.
    pub fn sample<T: Scalar>(&self, p: &[T], z: &[T], mut soft: Vec<T>) -> Quantized<T> {
        let GumbelSettings {
            codes: k, dim, kl, ..
        } = self.settings;
        let inverse = T::of(1.0 / self.temperature(p));
        let projection = self.projection(p);
        let vectors = z.len() / dim;
        let task = self.task(vectors);
        let mut codes = vec![0; vectors];
        let tasks = soft.par_chunks_mut(task * k).zip(z.par_chunks(task * dim));
        let tasks = tasks.zip(codes.par_chunks_mut(task));
        let divergence = |((soft, z), codes): ((&mut [T], &[T]), &mut [u16])| {
            let (mut logits, mut spare, mut sum) = (Vec::new(), vec![T::zero(); k], 0.0);
            let mut entropy = [T::zero()];
            let blocks = soft.chunks_mut(BLOCK * k).zip(z.chunks(BLOCK * dim));
            for ((soft, z), codes) in blocks.zip(codes.chunks_mut(BLOCK)) {
                projection.logits(z, &mut logits);
                let rows = soft.chunks_exact_mut(k).zip(logits.chunks_exact_mut(k));
                for ((y, logits), code) in rows.zip(codes) {
                    let noisy = spare.iter_mut().zip(&*y).zip(&*logits);
                    noisy.for_each(|((s, &noise), &logit)| *s = (logit + noise) * inverse);
                    *code = largest(&spare) as u16;
                    log_softmax(&mut spare, y, &mut entropy);
                    log_softmax(logits, &mut spare, &mut entropy);
                    sum += (k as f64).ln() - entropy[0].wide();
                }
            }
            sum
        };
        let divergences: Vec<f64> = tasks.map(divergence).collect();
        let mean = divergences.into_iter().sum::<f64>() / vectors as f64;
        Quantized {
            values: self.entries(p, &codes),
            codes,
            loss: kl * mean,
            soft,
            ..Quantized::default()
        }
    }

    /// The codes of the largest logits.
    fn choose<T: Scalar>(&self, p: &[T], z: &[T]) -> Vec<u16> {
        let GumbelSettings { codes: k, dim, .. } = self.settings;
        let projection = self.projection(p);
        let mut codes = vec![0; z.len() / dim];
        let tasks = codes.par_chunks_mut(BLOCK).zip(z.par_chunks(BLOCK * dim));
        tasks.for_each_init(Vec::new, |logits, (codes, z)| {
            projection.logits(z, logits);
            let rows = codes.iter_mut().zip(logits.chunks_exact(k));
            rows.for_each(|(code, logits)| *code = largest(logits) as u16);
        });
        codes
    }

    fn entries<T: Scalar>(&self, p: &[T], codes: &[u16]) -> Vec<T> {
        looked_up(&p[self.codebook.clone()], self.settings.dim, codes)
    }

    fn back<'p, T: Scalar>(&self, p: &'p [T], vectors: usize) -> Back<'p, T> {
        let GumbelSettings {
            codes: k, dim, kl, ..
        } = self.settings;
        Back {
            projection: self.projection(p),
            weight_back: Right::transposed(&p[self.weight.clone()], k),
            codebook_back: Right::transposed(&p[self.codebook.clone()], dim),
            inverse: T::of(1.0 / self.temperature(p)),
            kl: T::of(kl / vectors as f64),
        }
    }
}

impl<T: Scalar> Quantize<T> for Gumbel {
    fn stages(&self) -> Vec<Stage> {
        vec![Stage {
            codes: self.settings.codes,
            side: 1,
        }]
    }

    fn forward(&self, p: &[T], z: &[T], draws: Option<&mut ChaCha8Rng>) -> Quantized<T> {
        if let Some(draws) = draws {
            let len = z.len() / self.settings.dim * self.settings.codes;
            return self.sample(p, z, noise(len, draws));
        }
        let codes = self.choose(p, z);
        Quantized {
            values: self.entries(p, &codes),
            codes,
            ..Quantized::default()
        }
    }

    /// The divergence's gradient is added here, too: it passes the same projection.
    fn through(&self, p: &[T], z: &[T], out: &Quantized<T>, dz: &mut [T], grads: &mut [T]) {
        let GumbelSettings { codes: k, dim, .. } = self.settings;
        let members = Members::new(&out.codes, k);
        let entries = &mut grads[self.codebook.clone()];
        members.add_sums(dz, dim, entries);
        let vectors = z.len() / dim;
        let back = self.back(p, vectors);
        let task = self.task(vectors);
        let tasks = dz.par_chunks_mut(task * dim).zip(z.par_chunks(task * dim));
        let tasks = tasks.zip(out.soft.par_chunks(task * k));
        let parts: Vec<_> = tasks.map(|((dz, z), y)| back.task(z, y, dz)).collect();
        for part in parts {
            add(&mut grads[self.weight.clone()], &part.weight);
            add(&mut grads[self.bias.clone()], &part.bias);
        }
    }

    fn terms(&self, _p: &[T], _z: &[T], _out: &Quantized<T>, _dz: &mut [T], _grads: &mut [T]) {}

    fn wanted(&self) -> usize {
        VECTORS_PER_CODE * self.settings.codes
    }

    /// E by k-means, and logits that are -|z - e|^2 over its mean, up to a constant of z: the nearest code
    /// is the likeliest.
    fn place(&self, p: &mut [T], z: &[T], draws: &mut ChaCha8Rng) {
        let GumbelSettings { codes: k, dim, .. } = self.settings;
        let placed = kmeans(z, dim, k, ITERATIONS, draws);
        let values = looked_up(&placed, dim, &nearest(&placed, dim, z));
        let scale = 1.0 / (dim as f64 * mean_square(z, &values)).max(1e-12);
        for (c, e) in placed.chunks_exact(dim).enumerate() {
            let square: f64 = e.iter().map(|x| x.wide() * x.wide()).sum();
            p[self.bias.start + c] = T::of(-scale * square);
            for (d, &x) in e.iter().enumerate() {
                p[self.weight.start + d * k + c] = T::of(2.0 * scale) * x;
            }
        }
        p[self.codebook.clone()].copy_from_slice(&placed);
        p[self.steps.start] = T::zero();
    }

    fn update(&self, p: &mut [T], _: &[T], _: &Quantized<T>, _: &mut ChaCha8Rng) -> Moved {
        p[self.steps.start] += T::one();
        Moved::default()
    }

    fn tables(&self, p: &[T]) -> Vec<Table> {
        let GumbelSettings { codes: k, dim, .. } = self.settings;
        let wide = |range: Range<usize>| p[range].iter().map(|x| x.wide());
        let weight: Vec<f64> = wide(self.weight.clone()).collect();
        let entries: Vec<f64> = wide(self.codebook.clone()).collect();
        let mut values = Vec::with_capacity(k * (2 * dim + 1));
        let mut short = Vec::with_capacity(k);
        for (c, bias) in wide(self.bias.clone()).enumerate() {
            let w = (0..dim).map(|d| weight[d * k + c]);
            let e = entries[c * dim..][..dim].iter().copied();
            let squares = w.clone().chain(e.clone()).map(|x| x * x);
            short.push(2.0 * bias + squares.sum::<f64>());
            values.extend(w.chain([0.0]).chain(e).map(|x| x as f32));
        }
        // 2 M is the most that any entry needs.
        let most = short.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        for (entry, short) in values.chunks_exact_mut(2 * dim + 1).zip(short) {
            entry[dim] = (most - short).sqrt() as f32;
        }
        vec![Table {
            codes: k,
            side: 1,
            values,
        }]
    }

    fn bridge(&self, _p: &[T]) -> Bridge {
        let dim = self.settings.dim;
        let wide = 2 * dim + 1;
        let ones = |rows: usize, columns: usize, first: usize| -> Vec<f32> {
            let one = |i: usize| i / columns + first == i % columns;
            (0..rows * columns)
                .map(|i| f32::from(u8::from(one(i))))
                .collect()
        };
        let mut widen = ones(dim, dim, 0);
        widen.resize(wide * dim, 0.0);
        let linear = |weight, outputs| Step::Linear {
            weight,
            bias: vec![0.0; outputs],
        };
        Bridge {
            encoder: vec![linear(widen, wide)],
            decoder: vec![linear(ones(dim, wide, dim + 1), dim)],
            precise: true,
        }
    }
}

/// Independent draws from the standard Gumbel distribution.
fn noise<T: Scalar>(len: usize, draws: &mut ChaCha8Rng) -> Vec<T> {
    let mut seed = [0; 32];
    draws.fill_bytes(&mut seed);
    let mut noise = vec![T::zero(); len];
    let tasks = noise.par_chunks_mut(DRAWS).enumerate();
    tasks.for_each(|(i, noise)| {
        let mut draws = ChaCha8Rng::from_seed(seed);
        draws.set_stream(i as u64);
        let mut some = [0.0f32; 256];
        for noise in noise.chunks_mut(some.len()) {
            // Within (0, 1), both ends excluded: 23 bits and a half.
            some.fill_with(|| ((draws.next_u32() >> 9) as f32 + 0.5) / (1u32 << 23) as f32);
            some.iter_mut().for_each(|u| *u = -ln(-ln(*u)));
            let pairs = noise.iter_mut().zip(some);
            pairs.for_each(|(x, g)| *x = T::of(f64::from(g)));
        }
    });
    noise
}

/// ln of a normal number, in a form that loops vectorise, to within 3e-7 of itself or 1e-7.
///
/// x = 2^n m with m in sqrt(1/2) .. sqrt(2), and ln m = 2 (s + s^3 / 3 + s^5 / 5 + ...), s = (m - 1) / (m + 1).
fn ln(x: f32) -> f32 {
    const ROOT_HALF: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();
    let above = x.to_bits().wrapping_sub(ROOT_HALF);
    let n = (above as i32) >> 23;
    let m = f32::from_bits((above & ((1 << 23) - 1)) + ROOT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = 1.0 + square * (1.0 / 3.0 + square * (0.2 + square * (1.0 / 7.0 + square / 9.0)));
    2.0 * s * series + n as f32 * std::f32::consts::LN_2
}

fn add<T: Scalar>(sums: &mut [T], values: &[T]) {
    sums.iter_mut().zip(values).for_each(|(s, &v)| *s += v);
}

/// z W + b.
struct Projection<'p, T> {
    weight: Right<T>,
    bias: &'p [T],
    dim: usize,
}

impl<T: Scalar> Projection<'_, T> {
    fn logits(&self, z: &[T], logits: &mut Vec<T>) {
        logits.resize(z.len() / self.dim * self.bias.len(), T::zero());
        self.weight.multiply(z, self.bias, logits);
    }
}

/// Values that all vectors of a backward pass share.
struct Back<'p, T> {
    projection: Projection<'p, T>,
    /// W', `[K, D]`.
    weight_back: Right<T>,
    /// E', `[D, K]`.
    codebook_back: Right<T>,
    /// 1 / t.
    inverse: T,
    /// kl / P.
    kl: T,
}

/// A task's part of the gradients.
struct Gradients<T> {
    /// Gradients of W, `[D, K]`.
    weight: Vec<T>,
    /// Gradients of b, `[K]`.
    bias: Vec<T>,
}

impl<T: Scalar> Back<'_, T> {
    /// Gradients of some vectors `z`, in the place of those of their values, and of the projection.
    fn task(&self, z: &[T], y: &[T], dz: &mut [T]) -> Gradients<T> {
        let (k, dim) = (self.projection.bias.len(), self.projection.dim);
        let mut sums = Gradients {
            weight: vec![T::zero(); dim * k],
            bias: vec![T::zero(); k],
        };
        let (mut logits, mut dy, mut q) = (Vec::new(), Vec::new(), vec![T::zero(); k]);
        let blocks = z.chunks(BLOCK * dim).zip(y.chunks(BLOCK * k));
        for ((z, y), dz) in blocks.zip(dz.chunks_mut(BLOCK * dim)) {
            self.projection.logits(z, &mut logits);
            dy.resize(logits.len(), T::zero());
            self.codebook_back.multiply(dz, &[], &mut dy);
            let rows = logits.chunks_exact_mut(k).zip(y.chunks_exact(k));
            for ((logits, y), dy) in rows.zip(dy.chunks_exact(k)) {
                self.row(y, dy, logits, &mut q);
                add(&mut sums.bias, logits);
            }
            add_transposed_product(z, &logits, dim, &mut sums.weight);
            self.weight_back.multiply(&logits, &[], dz);
        }
        sums
    }

    /// One vector's gradients of the logits, in the place of the logits.
    ///
    /// Of the choice: y (dy - sum y dy) / t. Of the divergence: kl / P q (ln q - sum q ln q).
    fn row(&self, y: &[T], dy: &[T], logits: &mut [T], q: &mut [T]) {
        let mut entropy = [T::zero()];
        log_softmax(logits, q, &mut entropy);
        let mean = dot(y, dy);
        let both = logits.iter_mut().zip(&*q).zip(y.iter().zip(dy));
        for ((g, &q), (&y, &dy)) in both {
            *g = self.inverse * y * (dy - mean) + self.kl * q * (*g + entropy[0]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_accurate() {
        for i in 1..200_000 {
            for x in [
                i as f32 * 5e-6,
                i as f32 * 1e-4,
                1.0 - i as f32 * 5e-8,
                i as f32 * 1e-12,
            ] {
                let (ours, exact) = (f64::from(ln(x)), f64::from(x).ln());
                let error = (ours - exact).abs();
                assert!(error < 1e-7 + 3e-7 * exact.abs(), "{x}: {ours} {exact}");
            }
            let near = 1.0 - i as f32 * 6e-8;
            let exact = f64::from(near).ln();
            assert!(
                (f64::from(ln(near)) - exact).abs() <= 3e-7 * exact.abs(),
                "{near}"
            );
        }
    }
}
