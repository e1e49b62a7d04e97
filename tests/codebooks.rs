//! Several codebooks: groups of channels and residual stages as plain stages, and the largest tables.

use half::f16;
use vq_core::format::{Dtype, Kernel};
use vq_core::{Backend, Codebooks, HasKernels, Model, NearestCodes, nearest};
use vq_tests::draft::ConvShape;
use vq_tests::reference::Arithmetic;
use vq_tests::{Draft, Random};

/// A model whose stages hold these entries, \[K\]\[dim\] each, and whose decoder is of no interest.
fn file<E: HasKernels>(dim: usize, stages: &[Vec<E>], bytes: impl Fn(E) -> Vec<u8>) -> Vec<u8> {
    let codes: Vec<u16> = stages.iter().map(|s| (s.len() / dim) as u16).collect();
    let mut draft = Draft::new(1, E::DTYPE, 1, 1, dim as u16, &codes);
    for (book, entries) in draft.codebooks.iter().zip(stages) {
        let table: Vec<u8> = entries.iter().flat_map(|&entry| bytes(entry)).collect();
        draft.blob[book.table as usize..][..table.len()].copy_from_slice(&table);
    }
    let mut graph = draft.start(draft.latent_map());
    let kernel = Kernel {
        height: 1,
        width: 1,
    };
    let shape = ConvShape {
        out_channels: 1,
        kernel,
        stride: 1,
    };
    let pixels = draft.pixel_map();
    draft.conv(&mut graph, shape, false, pixels.quant);
    draft.decoder = graph.ops;
    draft.file()
}

/// The encoder's codes of a latent, one for each stage.
fn codes<E: HasKernels>(model: &Model<'_>, latent: &[E]) -> Vec<u16> {
    let backend = Backend::best();
    let mut memory = vec![E::default(); nearest::memory_len(model, backend)];
    let books = NearestCodes::new(model, backend, &mut memory).unwrap();
    let mut found = Vec::new();
    books.quantise(&mut latent.to_vec(), |stage, i, code| {
        assert_eq!((stage, i), (found.len(), 0));
        found.push(code);
    });
    found
}

/// What the decoder makes of codes.
fn sum<E: HasKernels>(model: &Model<'_>, codes: &[u16]) -> Vec<E> {
    let books = Codebooks::<E>::new(model).unwrap();
    let mut latent = vec![E::default(); books.dim()];
    for (stage, &code) in codes.iter().enumerate() {
        books.add(stage, code, &mut latent);
    }
    latent
}

/// Channels, groups and codes of the grouped codebooks here.
const DIM: usize = 6;
const GROUPS: usize = 3;
const WIDTH: usize = DIM / GROUPS;
const CODES: usize = 40;

/// Codebooks of groups as stages: zeros outside of a stage's own channels.
fn grouped<E: Copy + Default>(mut number: impl FnMut() -> E) -> Vec<Vec<E>> {
    let stage = |group: usize| {
        let mut entries = vec![E::default(); CODES * DIM];
        for entry in entries.chunks_mut(DIM) {
            entry[group * WIDTH..][..WIDTH].fill_with(&mut number);
        }
        entries
    };
    (0..GROUPS).map(stage).collect()
}

/// The squared distance of a latent from a code's entry over the group's own channels.
fn group_distance(latent: &[f64], stages: &[Vec<f64>], group: usize, code: usize) -> f64 {
    let own = group * WIDTH..(group + 1) * WIDTH;
    own.map(|d| (latent[d] - stages[group][code * DIM + d]).powi(2))
        .sum()
}

/// The nearest entry of each group by itself, the lowest code of equals.
fn by_group(latent: &[f64], stages: &[Vec<f64>]) -> Vec<u16> {
    let nearest = |group| {
        let distance = |code| group_distance(latent, stages, group, code);
        (0..CODES)
            .min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
            .unwrap() as u16
    };
    (0..GROUPS).map(nearest).collect()
}

fn wide<E: Copy>(numbers: &[E], real: impl Fn(E) -> f64) -> Vec<f64> {
    numbers.iter().map(|&x| real(x)).collect()
}

/// Runs grouped codebooks of numbers whose squares add up without rounding: all must be exact.
fn check_groups<E: HasKernels + Arithmetic>(
    mut number: impl FnMut() -> E,
    real: impl Fn(E) -> f64 + Copy,
    bytes: impl Fn(E) -> Vec<u8>,
) {
    for _ in 0..20 {
        let stages = grouped(&mut number);
        let plain: Vec<_> = stages.iter().map(|stage| wide(stage, real)).collect();
        let file = file(DIM, &stages, &bytes);
        let model = Model::parse(&file).unwrap();
        for _ in 0..100 {
            let latent: Vec<E> = (0..DIM).map(|_| number()).collect();
            let found = codes(&model, &latent);
            assert_eq!(found, by_group(&wide(&latent, real), &plain), "{latent:?}");
            let joined: Vec<E> = (0..DIM)
                .map(|d| stages[d / WIDTH][usize::from(found[d / WIDTH]) * DIM + d])
                .collect();
            assert_eq!(sum::<E>(&model, &found), joined);
        }
    }
}

#[test]
fn groups_of_integers_are_exact_even_where_differences_saturate() {
    let mut random = Random::new(5);
    check_groups::<i8>(|| random.bits() as i8, f64::from, |x| vec![x as u8]);
}

#[test]
fn groups_of_floats_are_exact_where_their_squares_are() {
    let mut random = Random::new(6);
    let mut steps = || random.between(-64, 64) as f32 / 32.0;
    check_groups::<f32>(&mut steps, f64::from, |x| x.to_le_bytes().to_vec());
    check_groups::<f16>(
        || f16::from_f32(steps()),
        f64::from,
        |x| x.to_le_bytes().to_vec(),
    );
}

/// Any floats: another code than the group's nearest only where rounding covers the difference.
fn check_near_ties<E: HasKernels + Arithmetic>(
    mut number: impl FnMut() -> E,
    real: impl Fn(E) -> f64 + Copy,
    bytes: impl Fn(E) -> Vec<u8>,
) {
    let mut same = 0;
    for _ in 0..20 {
        let stages = grouped(&mut number);
        let plain: Vec<_> = stages.iter().map(|stage| wide(stage, real)).collect();
        let file = file(DIM, &stages, &bytes);
        let model = Model::parse(&file).unwrap();
        for _ in 0..500 {
            let latent: Vec<E> = (0..DIM).map(|_| number()).collect();
            let (exact, found) = (wide(&latent, real), codes(&model, &latent));
            let best = by_group(&exact, &plain);
            same += usize::from(found == best);
            for group in 0..GROUPS {
                let distance =
                    |codes: &[u16]| group_distance(&exact, &plain, group, codes[group].into());
                let beyond = distance(&found) - distance(&best);
                // Every square is at most 4, and each of the sums is rounded once.
                let rounding = 4.0 * (DIM * DIM) as f64 * f64::from(f32::EPSILON);
                assert!(beyond <= rounding, "group {group}: {beyond}");
            }
        }
    }
    assert!(same > 9_990, "{same} of 10000");
}

#[test]
fn groups_of_any_floats_differ_only_in_near_ties() {
    let mut random = Random::new(7);
    let mut reals = || random.real();
    check_near_ties::<f32>(&mut reals, f64::from, |x| x.to_le_bytes().to_vec());
    check_near_ties::<f16>(
        || f16::from_f32(reals()),
        f64::from,
        |x| x.to_le_bytes().to_vec(),
    );
}

/// The limit of the test above is real: what other channels leave can swallow a small difference.
#[test]
fn a_near_tie_of_floats_falls_to_the_lower_code() {
    let stages = [vec![0.001f32, 0.0, 0.0, 0.0], vec![0.0, 1.0]];
    let file = file(2, &stages, |x| x.to_le_bytes().to_vec());
    let model = Model::parse(&file).unwrap();
    assert_eq!(codes(&model, &[0.0f32, 1.0]), [1, 0]);
    assert_eq!(codes(&model, &[0.0f32, 1e4]), [0, 0]);
}

/// Three stages whose entries add up to at most 127, as the exporter chooses the scale.
const REACH: [i32; 3] = [80, 32, 15];

fn residual_stages(random: &mut Random) -> Vec<Vec<i8>> {
    let entries = |reach: i32, random: &mut Random| {
        (0..CODES * DIM)
            .map(|_| random.between(-reach, reach) as i8)
            .collect()
    };
    REACH.iter().map(|&reach| entries(reach, random)).collect()
}

/// The same search with room to spare: the codes, and whether every difference fits a byte.
fn unsaturated(latent: &[i8], stages: &[Vec<i8>]) -> (Vec<u16>, bool) {
    let mut rest: Vec<i32> = latent.iter().map(|&x| x.into()).collect();
    let (mut codes, mut fits) = (Vec::new(), true);
    for stage in stages {
        fits &= rest.iter().all(|&x| i8::try_from(x).is_ok());
        let distance = |entry: &[i8]| -> i32 {
            let pairs = rest.iter().zip(entry);
            pairs.map(|(x, &y)| (x - i32::from(y)).pow(2)).sum()
        };
        let entries = stage.chunks(DIM).enumerate();
        let (code, entry) = entries.min_by_key(|(_, entry)| distance(entry)).unwrap();
        codes.push(code as u16);
        rest.iter_mut()
            .zip(entry)
            .for_each(|(x, &y)| *x -= i32::from(y));
    }
    (codes, fits)
}

#[test]
fn residual_stages_of_integers_saturate_only_beyond_a_byte() {
    let mut random = Random::new(8);
    let (mut inside, mut outside) = (0, 0);
    for _ in 0..20 {
        let stages = residual_stages(&mut random);
        let file = file(DIM, &stages, |x: i8| vec![x as u8]);
        let model = Model::parse(&file).unwrap();
        for _ in 0..200 {
            let latent: Vec<i8> = random.bytes(DIM).iter().map(|&x| x as i8).collect();
            let (expected, fits) = unsaturated(&latent, &stages);
            if fits {
                inside += 1;
                assert_eq!(codes(&model, &latent), expected, "{latent:?}");
            } else {
                outside += 1;
            }
            let any: Vec<u16> = (0..3).map(|_| random.below(CODES) as u16).collect();
            let wide = |d: usize| -> i32 {
                let terms = stages.iter().zip(&any);
                terms
                    .map(|(stage, &code)| i32::from(stage[usize::from(code) * DIM + d]))
                    .sum()
            };
            let found = sum::<i8>(&model, &any);
            assert!((0..DIM).all(|d| i32::from(found[d]) == wide(d)));
        }
    }
    // Both kinds must have been seen for the test to mean something.
    assert!(inside > 500 && outside > 50, "{inside}, {outside}");
}

/// The largest codebook there is, four numbers an entry on a grid, as of a finite scalar quantiser.
fn check_largest<E: HasKernels>(number: impl Fn(u16) -> E, bytes: impl Fn(E) -> Vec<u8>) {
    let digit = |code: u16, d: usize| code >> (4 * d) & 15;
    let entry = |code| (0..4).map(move |d| digit(code, d));
    let table = (0..u16::MAX).flat_map(entry).map(&number).collect();
    let file = file(4, &[table], bytes);
    let model = Model::parse(&file).unwrap();
    assert_eq!(model.stream().stages(), [u16::MAX]);
    let mut random = Random::new(9);
    let ends = [0, 1, u16::MAX - 1];
    let drawn = (0..60).map(|_| random.below(usize::from(u16::MAX)) as u16);
    for code in ends.into_iter().chain(drawn) {
        let latent: Vec<E> = entry(code).map(&number).collect();
        assert_eq!(codes(&model, &latent), [code]);
        assert_eq!(sum::<E>(&model, &[code]), latent);
    }
}

#[test]
fn codebooks_of_65535_codes_work() {
    let real = |level: u16| f32::from(level) / 7.5 - 1.0;
    check_largest::<i8>(|level| (16 * level as i16 - 120) as i8, |x| vec![x as u8]);
    check_largest::<f32>(real, |x| x.to_le_bytes().to_vec());
    check_largest::<f16>(|l| f16::from_f32(real(l)), |x| x.to_le_bytes().to_vec());
}

#[test]
fn one_number_an_entry_is_enough() {
    let table: Vec<f32> = (0..u16::MAX).map(|k| f32::from(k) / 65536.0).collect();
    let file = file(1, std::slice::from_ref(&table), |x| {
        x.to_le_bytes().to_vec()
    });
    let model = Model::parse(&file).unwrap();
    assert_eq!(model.dtype(), Dtype::F32);
    for code in [0, 1, 257, 40_000, u16::MAX - 1] {
        assert_eq!(codes(&model, &[table[usize::from(code)] + 5e-6]), [code]);
    }
}
