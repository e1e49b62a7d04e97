//! Every quantiser's backward pass against central differences in f64.
//!
//! Choices of codes are not differentiable, so each case writes down its surrogate: the loss whose true
//! gradient the backward pass is, with the choice and all that counts as constant (sg) frozen at the
//! point. A fixed random projection of the values stands for the decoder's loss.

use super::rotation::rotate_back;
use super::sphere::unit;
use super::*;
use crate::config::QuantizerConfig;
use crate::nn::{ParamTable, normal};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// P.
const VECTORS: usize = 16;

struct Case {
    config: QuantizerConfig,
    quantizer: Quantizer,
    p: Vec<f64>,
    z: Vec<f64>,
    probe: Vec<f64>,
}

impl Case {
    fn new(fields: &str) -> Case {
        let config: QuantizerConfig = toml::from_str(fields).unwrap();
        let mut table = ParamTable::default();
        let quantizer = Quantizer::new(&config, &mut table);
        let mut draws = ChaCha8Rng::seed_from_u64(fields.len() as u64);
        let mut p: Vec<f64> = table.init(&mut draws);
        p.iter_mut().for_each(|p| *p += 0.3 * normal(&mut draws));
        let mut numbers = |n| (0..n).map(|_| normal(&mut draws)).collect();
        let len = VECTORS * config.dim;
        let (z, probe) = (numbers(len), numbers(len));
        Case {
            config,
            quantizer,
            p,
            z,
            probe,
        }
    }

    fn forward(&self, p: &[f64], z: &[f64]) -> Quantized<f64> {
        let mut draws = ChaCha8Rng::seed_from_u64(7);
        self.quantizer.of().forward(p, z, Some(&mut draws))
    }

    /// Compares the gradients with those of the surrogate, a function of parameters and vectors whose
    /// value at the point, without the projection's constant, is the quantiser's own loss.
    fn check(&self, surrogate: impl Fn(&[f64], &[f64]) -> f64) {
        let out = self.forward(&self.p, &self.z);
        let mut dz = self.probe.clone();
        let mut grads = vec![0.0; self.p.len()];
        let quantizer = self.quantizer.of();
        quantizer.backward(&self.p, &self.z, &out, &mut dz, &mut grads);
        for (i, &analytic) in dz.iter().enumerate() {
            let at = |x: f64| {
                let mut z = self.z.clone();
                z[i] += x;
                surrogate(&self.p, &z)
            };
            self.assert_close("vectors", i, analytic, &at);
        }
        let mut any = false;
        for (i, &analytic) in grads.iter().enumerate() {
            let at = |x: f64| {
                let mut p = self.p.clone();
                p[i] += x;
                surrogate(&p, &self.z)
            };
            any |= analytic != 0.0;
            self.assert_close("parameters", i, analytic, &at);
        }
        assert_eq!(any, learns(self.config.kind), "gradients of parameters");
    }

    fn assert_close(&self, what: &str, i: usize, analytic: f64, at: &dyn Fn(f64) -> f64) {
        const STEP: f64 = 1e-5;
        let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        let error = (analytic - numeric).abs() / (1e-2 + numeric.abs());
        let config = &self.config;
        assert!(error < 1e-6, "{config:?}: {what} {i}: {analytic} {numeric}");
    }

    fn project(&self, values: &[f64]) -> f64 {
        values.iter().zip(&self.probe).map(|(v, p)| v * p).sum()
    }
}

fn learns(kind: crate::config::QuantizerKind) -> bool {
    use crate::config::QuantizerKind::*;
    matches!(kind, Gradient | SimVq | Gumbel)
}

fn mean_square(a: &[f64], b: &[f64]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
    squares.sum::<f64>() / a.len() as f64
}

/// A codebook's codes as a function of the parameters, written anew.
fn codes_of(book: &Codebook, p: &[f64]) -> Vec<f64> {
    let codes = match &book.learning {
        Learning::Ema(ema) => p[ema.codebook.clone()].to_vec(),
        Learning::Gradient(gradient) => p[gradient.codebook.clone()].to_vec(),
        Learning::SimVq(sim) => {
            let (c, w) = (&p[sim.fixed.clone()], &p[sim.weight.clone()]);
            let d = sim.dim;
            let number = |i: usize| (0..d).map(|j| c[i / d * d + j] * w[j * d + i % d]).sum();
            (0..c.len()).map(number).collect()
        }
    };
    if book.terms.cosine {
        unit(&codes, book.dim)
    } else {
        codes
    }
}

/// Which parameters the codes do not count as constants in.
fn with_learnt(book: &Codebook, at: &[f64], frozen: &[f64]) -> Vec<f64> {
    let mut p = at.to_vec();
    if let Learning::SimVq(sim) = &book.learning {
        p[sim.fixed.clone()].copy_from_slice(&frozen[sim.fixed.clone()]);
    }
    if let Learning::Ema(_) = &book.learning {
        p.copy_from_slice(frozen);
    }
    p
}

/// A codebook's own terms with what is constant frozen: `u0`, the choice `codes0` and the codes `e0`.
struct Frozen<'a> {
    book: &'a Codebook,
    p0: &'a [f64],
    u0: Vec<f64>,
    codes0: &'a [u16],
}

impl<'a> Frozen<'a> {
    fn new(book: &'a Codebook, p0: &'a [f64], z0: &[f64], codes0: &'a [u16]) -> Self {
        let u0 = Frozen::compared(book, z0);
        Frozen {
            book,
            p0,
            u0,
            codes0,
        }
    }

    fn compared(book: &Codebook, z: &[f64]) -> Vec<f64> {
        if book.terms.cosine {
            unit(z, book.dim)
        } else {
            z.to_vec()
        }
    }

    fn entries(&self, table: &[f64]) -> Vec<f64> {
        let dim = self.book.dim;
        let entry = |&c: &u16| table[usize::from(c) * dim..][..dim].to_vec();
        self.codes0.iter().flat_map(entry).collect()
    }

    fn q0(&self) -> Vec<f64> {
        self.entries(&codes_of(self.book, self.p0))
    }

    fn terms(&self, p: &[f64], z: &[f64]) -> f64 {
        let p = &with_learnt(self.book, p, self.p0);
        let (book, u) = (self.book, Frozen::compared(self.book, z));
        let table = codes_of(book, p);
        let mut loss = book.terms.commitment * mean_square(&u, &self.q0());
        if !matches!(book.learning, Learning::Ema(_)) {
            loss += mean_square(&self.entries(&table), &self.u0);
        }
        if let Some(entropy) = &book.terms.entropy {
            loss += plain_entropy(entropy, &table, &u, book.dim);
        }
        book.terms.share * loss
    }

    /// The values with the gradient that passes: u + sg(q - u), or s R u.
    fn values(&self, z: &[f64]) -> Vec<f64> {
        let u = Frozen::compared(self.book, z);
        let q0 = self.q0();
        if !self.book.terms.rotation {
            return (0..u.len()).map(|i| u[i] + q0[i] - self.u0[i]).collect();
        }
        // s R is linear: its columns are the gradients of the values' numbers, one at a time.
        let dim = self.book.dim;
        let row = |i: usize| -> f64 {
            let vector = i / dim * dim..(i / dim + 1) * dim;
            let mut g = vec![0.0; dim];
            g[i % dim] = 1.0;
            rotate_back(&self.u0[vector.clone()], &q0[vector.clone()], dim, &mut g);
            g.iter().zip(&u[vector]).map(|(a, b)| a * b).sum()
        };
        (0..u.len()).map(row).collect()
    }
}

fn plain_entropy(settings: &Entropy, table: &[f64], u: &[f64], dim: usize) -> f64 {
    let k = table.len() / dim;
    let h = |p: &[f64]| -> f64 {
        p.iter()
            .map(|&p| if p > 0.0 { -p * p.ln() } else { 0.0 })
            .sum()
    };
    let (mut mean, mut entropies, vectors) = (vec![0.0; k], 0.0, (u.len() / dim) as f64);
    for u in u.chunks_exact(dim) {
        let score = |e: &[f64]| -mean_square(u, e) * dim as f64 / settings.temperature;
        let scores: Vec<f64> = table.chunks_exact(dim).map(score).collect();
        let sum: f64 = scores.iter().map(|s| s.exp()).sum();
        let p: Vec<f64> = scores.iter().map(|s| s.exp() / sum).collect();
        entropies += h(&p) / vectors;
        mean.iter_mut().zip(&p).for_each(|(m, p)| *m += p / vectors);
    }
    settings.weight * (entropies - h(&mean))
}

#[test]
fn codebooks_of_every_kind_with_every_option() {
    for kind in ["ema", "gradient", "simvq"] {
        for options in [
            "",
            "rotation = true",
            "cosine = true",
            "cosine = true\nrotation = true",
            "entropy = { weight = 0.7, temperature = 0.8 }",
            "cosine = true\nentropy = { weight = 0.7, temperature = 0.3 }",
        ] {
            let fields =
                format!("kind = '{kind}'\ncodes = 6\ndim = 3\ncommitment = 0.4\n{options}");
            let case = Case::new(&fields);
            let Quantizer::Codebook(book) = &case.quantizer else {
                panic!("one codebook");
            };
            let out = case.forward(&case.p, &case.z);
            let frozen = Frozen::new(book, &case.p, &case.z, &out.codes);
            assert!(
                (out.loss - frozen.terms(&case.p, &case.z)).abs() < 1e-9,
                "{fields}"
            );
            let values = frozen.values(&case.z);
            assert!(mean_square(&values, &out.values) < 1e-20, "{fields}");
            case.check(|p, z| case.project(&frozen.values(z)) + frozen.terms(p, z));
        }
    }
}

#[test]
fn groups_are_codebooks_of_their_channels() {
    for options in ["kind = 'ema'", "kind = 'gradient'\nrotation = true"] {
        let case = Case::new(&format!("codes = 5\ndim = 6\ngroups = 2\n{options}"));
        let Quantizer::Grouped(grouped) = &case.quantizer else {
            panic!("groups");
        };
        let out = case.forward(&case.p, &case.z);
        let take = |z: &[f64], g: usize| -> Vec<f64> {
            z.chunks_exact(6)
                .flat_map(|v| v[3 * g..3 * g + 3].to_vec())
                .collect()
        };
        let frozen: Vec<_> = (0..2)
            .map(|g| {
                let codes = &out.codes[g * VECTORS..(g + 1) * VECTORS];
                Frozen::new(&grouped.groups[g], &case.p, &take(&case.z, g), codes)
            })
            .collect();
        let loss = |p: &[f64], z: &[f64]| -> f64 {
            let parts = frozen.iter().enumerate();
            parts.map(|(g, f)| f.terms(p, &take(z, g))).sum()
        };
        assert!((out.loss - loss(&case.p, &case.z)).abs() < 1e-9);
        case.check(|p, z| {
            let projected = frozen.iter().enumerate().map(|(g, f)| {
                let values = f.values(&take(z, g));
                let probe = take(&case.probe, g);
                values.iter().zip(probe).map(|(v, p)| v * p).sum::<f64>()
            });
            projected.sum::<f64>() + loss(p, z)
        });
    }
}

#[test]
fn residual_stages_pass_the_gradient_once_and_add_their_terms() {
    for options in [
        "kind = 'ema'\nstage_dropout = true",
        "kind = 'gradient'",
        "kind = 'simvq'\nrotation = true",
    ] {
        let case = Case::new(&format!("codes = 5\ndim = 3\nstages = 3\n{options}"));
        let Quantizer::Residual(residual) = &case.quantizer else {
            panic!("stages");
        };
        let out = case.forward(&case.p, &case.z);
        let (mut frozen, mut left) = (Vec::new(), case.z.clone());
        for (s, stage) in residual.stages.iter().enumerate() {
            let Quantizer::Codebook(book) = stage else {
                panic!("a codebook a stage");
            };
            let codes = &out.codes[s * VECTORS..(s + 1) * VECTORS];
            let stage = Frozen::new(book, &case.p, &left, codes);
            let before = left.clone();
            left.iter_mut().zip(stage.q0()).for_each(|(r, q)| *r -= q);
            frozen.push((stage, before));
        }
        // What a stage sees is z less a constant.
        let loss = |p: &[f64], z: &[f64]| -> f64 {
            let terms = frozen.iter().map(|(stage, input)| {
                let moved = input.iter().zip(z).zip(&case.z);
                let moved: Vec<f64> = moved.map(|((r, z), z0)| r + z - z0).collect();
                stage.terms(p, &moved)
            });
            terms.sum()
        };
        assert!((out.loss - loss(&case.p, &case.z)).abs() < 1e-9);
        let rotated = residual.rotation.is_some();
        case.check(|p, z| {
            let mut back = case.probe.clone();
            if rotated {
                rotate_back(&case.z, &out.values, 3, &mut back);
            }
            let passed: f64 = back.iter().zip(z).map(|(g, z)| g * z).sum();
            passed + loss(p, z)
        });
    }
}

/// Means of four vectors, `[P / 4, dim]`.
fn means(z: &[f64], dim: usize) -> Vec<f64> {
    let square = |v: &[f64]| -> Vec<f64> {
        let number = |d| (0..4).map(|i| v[i * dim + d]).sum::<f64>() / 4.0;
        (0..dim).map(number).collect()
    };
    z.chunks_exact(4 * dim).flat_map(square).collect()
}

/// Each vector four times.
fn spread(z: &[f64], dim: usize) -> Vec<f64> {
    z.chunks_exact(dim).flat_map(|v| v.repeat(4)).collect()
}

fn inner(stage: &Quantizer) -> &Codebook {
    let Quantizer::Coarse(coarse) = stage else {
        panic!("a coarse stage");
    };
    let Quantizer::Codebook(book) = &*coarse.inner else {
        panic!("a codebook");
    };
    book
}

#[test]
fn coarse_codes_pass_the_gradient_to_their_squares() {
    for options in ["kind = 'ema'", "kind = 'gradient'\nrotation = true"] {
        let case = Case::new(&format!("codes = 5\ndim = 3\nsides = [2]\n{options}"));
        let out = case.forward(&case.p, &case.z);
        assert_eq!(out.codes.len(), VECTORS / 4);
        let book = inner(&case.quantizer);
        let frozen = Frozen::new(book, &case.p, &means(&case.z, 3), &out.codes);
        let terms = |p: &[f64], z: &[f64]| frozen.terms(p, &means(z, 3));
        assert!((out.loss - terms(&case.p, &case.z)).abs() < 1e-9);
        let values = |z: &[f64]| spread(&frozen.values(&means(z, 3)), 3);
        assert!(mean_square(&values(&case.z), &out.values) < 1e-20);
        case.check(|p, z| case.project(&values(z)) + terms(p, z));
    }
}

#[test]
fn fine_codes_are_for_what_the_coarse_have_left() {
    let case = Case::new("kind = 'gradient'\ncodes = [4, 6]\ndim = 3\nstages = 2\nsides = [2, 1]");
    let Quantizer::Residual(residual) = &case.quantizer else {
        panic!("stages");
    };
    let [coarse, Quantizer::Codebook(fine)] = &residual.stages[..] else {
        panic!("a coarse stage and a fine one");
    };
    let out = case.forward(&case.p, &case.z);
    let (coarse_codes, fine_codes) = out.codes.split_at(VECTORS / 4);
    let of_means = Frozen::new(inner(coarse), &case.p, &means(&case.z, 3), coarse_codes);
    let q0 = spread(&of_means.q0(), 3);
    let left = |z: &[f64]| -> Vec<f64> { z.iter().zip(&q0).map(|(z, q)| z - q).collect() };
    let of_rest = Frozen::new(fine, &case.p, &left(&case.z), fine_codes);
    let loss = |p: &[f64], z: &[f64]| of_means.terms(p, &means(z, 3)) + of_rest.terms(p, &left(z));
    assert!((out.loss - loss(&case.p, &case.z)).abs() < 1e-9);
    case.check(|p, z| case.project(z) + loss(p, z));
}

#[test]
fn finite_scalars_pass_the_gradient_through_their_bounds() {
    let case = Case::new("kind = 'fsq'\ndim = 3\nlevels = [8, 5, 3]");
    let bounded = |z: &[f64]| -> Vec<f64> {
        let number = |(i, &z): (usize, &f64)| {
            let levels = [8.0, 5.0, 3.0][i % 3];
            let (h, o) = (
                (levels - 1.0) * 0.4995,
                if i % 3 == 0 { 0.5f64 } else { 0.0 },
            );
            ((z + (o / h).atanh()).tanh() * h - o) / (levels / 2.0).floor()
        };
        z.iter().enumerate().map(number).collect()
    };
    case.check(|_, z| case.project(&bounded(z)));
}

#[test]
fn gumbel_noise_is_a_constant_and_choices_are_soft() {
    let case = Case::new(
        "kind = 'gumbel'\ncodes = 5\ndim = 3\ngumbel = { temperature = [0.9, 0.5], steps = 10, kl = 0.3 }",
    );
    let Quantizer::Gumbel(gumbel) = &case.quantizer else {
        panic!("gumbel");
    };
    let (k, dim) = (5, 3);
    let logits = |p: &[f64], z: &[f64]| -> Vec<f64> {
        let number = |i: usize| -> f64 {
            let (v, c) = (i / k * dim, i % k);
            let dot = (0..dim).map(|d| z[v + d] * p[gumbel.weight.start + d * k + c]);
            dot.sum::<f64>() + p[gumbel.bias.start + c]
        };
        (0..VECTORS * k).map(number).collect()
    };
    let softmax = |x: &[f64]| -> Vec<f64> {
        let rows = x.chunks_exact(k).flat_map(|row| {
            let sum: f64 = row.iter().map(|x| x.exp()).sum();
            row.iter().map(move |x| x.exp() / sum).collect::<Vec<_>>()
        });
        rows.collect()
    };
    let done = case.p[gumbel.steps.start] / 10.0;
    let t = 0.9 * (0.5f64 / 0.9).powf(done.min(1.0));
    let out = case.forward(&case.p, &case.z);
    // The noise is what makes the soft choices what they are, up to a constant of each vector.
    let l0 = logits(&case.p, &case.z);
    let noise: Vec<f64> = out
        .soft
        .iter()
        .zip(&l0)
        .map(|(y, l)| t * y.ln() - l)
        .collect();
    let divergence = |p: &[f64], z: &[f64]| -> f64 {
        let q = softmax(&logits(p, z));
        let terms = q.iter().map(|q| q * (q * k as f64).ln());
        0.3 * terms.sum::<f64>() / VECTORS as f64
    };
    assert!((out.loss - divergence(&case.p, &case.z)).abs() < 1e-9);
    case.check(|p, z| {
        let noisy = logits(p, z)
            .iter()
            .zip(&noise)
            .map(|(l, n)| (l + n) / t)
            .collect::<Vec<_>>();
        let y = softmax(&noisy);
        let value = |i: usize| -> f64 {
            let (v, d) = (i / dim, i % dim);
            let entry = |c: usize, p: &[f64]| p[gumbel.codebook.start + c * dim + d];
            let soft = (0..k).map(|c| (y[v * k + c] - out.soft[v * k + c]) * entry(c, &case.p));
            entry(out.codes[v].into(), p) + soft.sum::<f64>()
        };
        let values: Vec<f64> = (0..VECTORS * dim).map(value).collect();
        case.project(&values) + divergence(p, z)
    });
}
