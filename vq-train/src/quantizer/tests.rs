//! What holds for every quantiser: use of codes, deployment, independence of threads.

use super::*;
use crate::config::QuantizerConfig;
use crate::nn::{ParamTable, normal};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ALL: [&str; 12] = [
    "kind = 'ema'\ncodes = 32\ndim = 4",
    "kind = 'ema'\ncodes = 32\ndim = 4\nstages = 3\nstage_dropout = true",
    "kind = 'ema'\ncodes = 16\ndim = 4\ngroups = 2\nstages = 2",
    "kind = 'ema'\ncodes = 32\ndim = 4\ncosine = true\nrotation = true",
    "kind = 'gradient'\ncodes = 32\ndim = 4\nentropy = { temperature = 0.5 }",
    "kind = 'gradient'\ncodes = 32\ndim = 4\ngroups = 2\ncosine = true",
    "kind = 'gradient'\ncodes = 32\ndim = 4\nstages = 2\nrotation = true",
    "kind = 'simvq'\ncodes = 32\ndim = 4\nentropy = { temperature = 0.5 }",
    "kind = 'ema'\ncodes = [24, 40]\ndim = 4\nstages = 2\nsides = [2, 1]",
    "kind = 'gradient'\ncodes = 16\ndim = 4\nsides = [2]\ngroups = 2\nrotation = true",
    "kind = 'fsq'\ndim = 4\nlevels = [4, 3, 5, 3]",
    "kind = 'gumbel'\ncodes = 32\ndim = 4",
];

struct Case {
    quantizer: Quantizer,
    p: Vec<f32>,
    dim: usize,
}

/// A quantiser whose codes are placed among the vectors.
fn placed(fields: &str, z: &[f32]) -> Case {
    let config: QuantizerConfig = toml::from_str(fields).unwrap();
    let mut table = ParamTable::default();
    let quantizer = Quantizer::new(&config, &mut table);
    let mut draws = ChaCha8Rng::seed_from_u64(1);
    let mut p = table.init(&mut draws);
    quantizer.of().place(&mut p, z, &mut draws);
    Case {
        quantizer,
        p,
        dim: config.dim,
    }
}

/// `count` vectors of `dim` numbers around some of many centres.
fn clustered(count: usize, dim: usize, centres: usize) -> Vec<f32> {
    let mut draws = ChaCha8Rng::seed_from_u64(2);
    let middle: Vec<f64> = (0..centres * dim)
        .map(|_| 3.0 * normal(&mut draws))
        .collect();
    let vector = |_| {
        let at = draws.random_range(0..centres) * dim;
        (0..dim)
            .map(|d| (middle[at + d] + 0.2 * normal(&mut draws)) as f32)
            .collect::<Vec<_>>()
    };
    (0..count).flat_map(vector).collect()
}

/// Some steps of training on the vectors, by plain gradient descent, and what came of the last.
fn train(case: &mut Case, z: &[f32], steps: u64) -> (Quantized<f32>, Vec<f32>) {
    let quantizer = case.quantizer.of();
    let mut last = (Quantized::default(), Vec::new());
    for step in 0..steps {
        let mut draws = ChaCha8Rng::seed_from_u64(step);
        let out = quantizer.forward(&case.p, z, Some(&mut draws));
        let mut dz: Vec<f32> = out
            .values
            .iter()
            .zip(z)
            .map(|(q, z)| 1e-3 * (q - z))
            .collect();
        let mut grads = vec![0.0; case.p.len()];
        quantizer.backward(&case.p, z, &out, &mut dz, &mut grads);
        case.p
            .iter_mut()
            .zip(&grads)
            .for_each(|(p, g)| *p -= 0.1 * g);
        quantizer.update(&mut case.p, z, &out, &mut draws);
        last = (out, dz);
    }
    last
}

#[test]
fn placed_and_restarted_codes_are_used() {
    let z = clustered(4096, 4, 100);
    for (fields, restart) in [
        ("ema", 0.0),
        ("ema", 0.2),
        ("gradient", 0.0),
        ("gradient", 0.2),
    ] {
        let kind =
            format!("kind = '{fields}'\ncodes = 64\ndim = 4\nrestart = {restart}\ndecay = 0.9");
        let mut case = placed(&kind, &z);
        if restart > 0.0 {
            // All codes but one are where nothing is: only restarts can bring them back.
            let Quantizer::Codebook(book) = &case.quantizer else {
                panic!("one codebook");
            };
            let codes = match &book.learning {
                Learning::Ema(ema) => {
                    let far: Vec<f32> = (0..256).map(|i| if i < 4 { 0.0 } else { 1e3 }).collect();
                    ema.set(&mut case.p, &far);
                    ema.codebook.clone()
                }
                Learning::Gradient(gradient) => gradient.codebook.clone(),
                Learning::SimVq(_) => panic!("not of this test"),
            };
            case.p[codes][4..].fill(1e3);
        }
        let first = usage(&histogram(
            &case.quantizer.of().forward(&case.p, &z, None).codes,
            &case.quantizer.of::<f32>().stages(),
        ));
        assert!(
            if restart > 0.0 {
                first < 0.05
            } else {
                first > 0.95
            },
            "{first}"
        );
        train(&mut case, &z, 80);
        let codes = case.quantizer.of().forward(&case.p, &z, None).codes;
        let stages = case.quantizer.of::<f32>().stages();
        let used = usage(&histogram(&codes, &stages));
        assert!(used > 0.95, "{fields} {restart}: {used}");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let z = clustered(3000, 4, 40);
    for fields in ALL {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let mut case = placed(fields, &z);
                let (out, dz) = train(&mut case, &z, 3);
                (case.p, out.codes, out.loss.to_bits(), dz)
            })
        };
        let one = run(1);
        assert_eq!(one, run(3), "{fields}");
        assert_eq!(one, run(1), "{fields}");
    }
}

/// What a deployed model does with its latents: steps, then the nearest entry stage by stage.
fn deployed(case: &Case, z: &[f32]) -> (Vec<u16>, Vec<f32>) {
    let quantizer = case.quantizer.of::<f32>();
    let (tables, bridge) = (quantizer.tables(&case.p), quantizer.bridge(&case.p));
    let vectors = z.len() / case.dim;
    let mut rest = through(&bridge.encoder, z.to_vec(), vectors);
    let mut sum = vec![0.0; rest.len()];
    let mut codes = Vec::new();
    for table in &tables {
        let dim = table.values.len() / table.codes;
        assert_eq!(dim * vectors, rest.len());
        let area = table.side * table.side;
        let mean = |square: &[f32]| {
            let number = |d: usize| square.iter().skip(d).step_by(dim).sum::<f32>() / area as f32;
            (0..dim).map(number).collect::<Vec<_>>()
        };
        let means: Vec<f32> = rest.chunks_exact(area * dim).flat_map(mean).collect();
        let found = nearest(&table.values, dim, &means);
        for i in 0..vectors {
            for d in 0..dim {
                let number = table.values[usize::from(found[i / area]) * dim + d];
                sum[i * dim + d] += number;
                rest[i * dim + d] -= number;
            }
        }
        codes.extend(found);
    }
    (codes, through(&bridge.decoder, sum, vectors))
}

fn through(steps: &[Step], z: Vec<f32>, vectors: usize) -> Vec<f32> {
    steps.iter().fold(z, |z, step| match step {
        Step::Tanh => z.iter().map(|x| x.tanh()).collect(),
        Step::Linear { weight, bias } => {
            let inputs = z.len() / vectors;
            let row = |z: &[f32], o: usize| -> f32 {
                let products = weight[o * inputs..][..inputs].iter().zip(z);
                products.map(|(w, x)| w * x).sum::<f32>() + bias[o]
            };
            let outputs = |z| (0..bias.len()).map(move |o| row(z, o)).collect::<Vec<_>>();
            z.chunks_exact(inputs).flat_map(outputs).collect()
        }
    })
}

#[test]
fn every_quantiser_deploys_as_plain_tables() {
    let z = clustered(2000, 4, 40);
    for fields in ALL {
        let mut case = placed(fields, &z);
        train(&mut case, &z, 3);
        let out = case.quantizer.of().forward(&case.p, &z, None);
        let (codes, values) = deployed(&case, &z);
        let same = codes.iter().zip(&out.codes).filter(|(a, b)| a == b).count();
        let share = same as f64 / codes.len() as f64;
        // Rounding decides between codes that are equally near.
        assert!(share > 0.998, "{fields}: {share}");
        let stages = case.quantizer.of::<f32>().stages();
        assert_eq!(codes.len(), out.codes.len(), "{fields}");
        let counted: usize = stages.iter().map(|stage| stage.of(z.len() / 4)).sum();
        assert_eq!(counted, codes.len(), "{fields}");
        if share == 1.0 {
            for (a, b) in values.iter().zip(&out.values) {
                assert!((a - b).abs() < 1e-4, "{fields}: {a} {b}");
            }
        }
    }
}

#[test]
fn stage_dropout_sums_any_number_of_stages() {
    let z = clustered(64, 4, 40);
    let case = placed(ALL[1], &z);
    let quantizer = case.quantizer.of();
    let whole = quantizer.forward(&case.p, &z, None);
    let mut seen = [false; 3];
    for seed in 0..40 {
        let mut draws = ChaCha8Rng::seed_from_u64(seed);
        let out = quantizer.forward(&case.p, &z, Some(&mut draws));
        assert_eq!(out.codes, whole.codes);
        let mut sum = vec![0.0f32; z.len()];
        for (used, part) in whole.parts.iter().enumerate() {
            sum.iter_mut()
                .zip(&part.out.values)
                .for_each(|(s, v)| *s += v);
            seen[used] |= sum == out.values;
        }
    }
    assert_eq!(seen, [true; 3]);
}

#[test]
fn finite_scalars_have_a_code_for_every_product_of_levels() {
    let fsq = Fsq {
        levels: vec![4, 3, 5],
    };
    let [table] = &Quantize::<f64>::tables(&fsq, &[])[..] else {
        panic!("one stage");
    };
    assert_eq!((table.codes, table.values.len()), (60, 180));
    // Vectors far into each level come back as its entry and its code.
    for (code, entry) in table.values.chunks_exact(3).enumerate() {
        let bridge = |x: f32, levels: f64| {
            let h = (levels - 1.0) * 0.4995;
            let o: f64 = if levels == 4.0 { 0.5 } else { 0.0 };
            ((f64::from(x) * (levels / 2.0).floor() + o) / h)
                .clamp(-0.99, 0.99)
                .atanh()
                - (o / h).atanh()
        };
        let z = [
            bridge(entry[0], 4.0),
            bridge(entry[1], 3.0),
            bridge(entry[2], 5.0),
        ];
        let out = fsq.forward(&[], &z, None);
        assert_eq!(usize::from(out.codes[0]), code);
        let values: Vec<f32> = out.values.iter().map(|&v| v as f32).collect();
        assert_eq!(values, entry);
    }
}

#[test]
fn gumbel_draws_by_the_logits_and_cools_down() {
    let z = clustered(4000, 4, 8);
    let mut case = placed("kind = 'gumbel'\ncodes = 8\ndim = 4", &z);
    let Quantizer::Gumbel(gumbel) = case.quantizer.clone() else {
        panic!("gumbel");
    };
    // The same two-to-one odds for every vector: argmax of logits plus noise is a draw from them.
    case.p[gumbel.weight.clone()].fill(0.0);
    case.p[gumbel.bias.clone()].fill(-30.0);
    case.p[gumbel.bias.start] = 2f32.ln();
    case.p[gumbel.bias.start + 1] = 0.0;
    let mut draws = ChaCha8Rng::seed_from_u64(3);
    let out = gumbel.forward(&case.p, &z, Some(&mut draws));
    let first = out.codes.iter().filter(|&&c| c == 0).count() as f64 / 4000.0;
    assert!((first - 2.0 / 3.0).abs() < 0.03, "{first}");
    assert!(out.codes.iter().all(|&c| c < 2));
    let sure = |p: &[f32]| {
        let mut draws = ChaCha8Rng::seed_from_u64(3);
        let soft = gumbel.forward(p, &z, Some(&mut draws)).soft;
        let rows = soft.chunks_exact(8);
        rows.map(|y| f64::from(y.iter().fold(0.0f32, |a, &b| a.max(b))))
            .sum::<f64>()
            / 4000.0
    };
    let warm = sure(&case.p);
    case.p[gumbel.steps.start] = 20_000.0;
    let cold = sure(&case.p);
    assert!(warm < 0.9 && cold > 0.95, "{warm} {cold}");
}
