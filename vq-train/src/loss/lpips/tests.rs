//! LPIPS's gradient against central differences in f64.

use super::*;
use crate::nn::normal;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn pictures(seed: u64, n: usize, c: usize) -> Array4<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Array4::from_shape_simple_fn((n, 33, 38, c), || 0.5 * normal(&mut rng))
}

#[test]
fn gradient_agrees_with_differences_for_rgb_and_grey() {
    let network = Lpips::small();
    for c in [3, 1] {
        let (x, y) = (pictures(2, 2, c), pictures(3, 2, c));
        let mut tape = Tape::recording();
        let (sum, dy) = network.gradient(x.view(), y.view(), &mut tape);
        let measured = network.sum(x.view(), y.view(), &mut tape);
        assert!((sum - measured).abs() < 1e-12, "{sum} {measured}");
        assert_eq!(dy.dim(), y.dim());
        let at = |i: usize, step: f64| {
            let mut y = y.clone();
            y.as_slice_mut().unwrap()[i] += step;
            network.sum(x.view(), y.view(), &mut Tape::off())
        };
        let largest = dy.iter().fold(0.0f64, |most, v| most.max(v.abs()));
        let step = 1e-6;
        for (i, &analytic) in flat(&dy).iter().enumerate().step_by(13) {
            let numeric = (at(i, step) - at(i, -step)) / (2.0 * step);
            let error = (analytic - numeric).abs() / largest;
            assert!(error < 1e-6, "{c} {i}: {analytic} {numeric} of {largest}");
        }
    }
}

#[test]
fn a_chunk_is_the_sum_of_its_pictures() {
    let network = Lpips::small();
    let (x, y) = (pictures(4, 2, 3), pictures(5, 2, 3));
    let mut tape = Tape::recording();
    let (sum, dy) = network.gradient(x.view(), y.view(), &mut tape);
    let mut parts = 0.0;
    for i in 0..2 {
        let one = |map: &Array4<f64>| map.slice(ndarray::s![i..i + 1, .., .., ..]).to_owned();
        let (part, d) = network.gradient(one(&x).view(), one(&y).view(), &mut tape);
        parts += part;
        let error = (d - one(&dy))
            .iter()
            .fold(0.0f64, |most, v| most.max(v.abs()));
        assert!(error < 1e-12, "{error}");
    }
    assert!((sum - parts).abs() < 1e-12, "{sum} {parts}");
}

#[test]
fn features_of_length_zero_have_a_finite_gradient() {
    // Every ReLU is shut: biases far below zero.
    let bytes = file::tests::file([2; 5], None, |fan_in| if fan_in == 1 { -9.0 } else { 0.01 });
    let network: Lpips<f64> = Lpips::from_safetensors(&bytes).unwrap();
    let mut tape = Tape::recording();
    let (x, y) = (pictures(6, 1, 3), pictures(7, 1, 3));
    let (sum, dy) = network.gradient(x.view(), y.view(), &mut tape);
    assert_eq!(sum, 0.0);
    assert!(dy.iter().all(|&v| v == 0.0));
    let (same, dy) = network.gradient(x.view(), x.view(), &mut tape);
    assert_eq!(same, 0.0);
    assert!(dy.iter().all(|&v| v == 0.0));
}

#[test]
fn identical_pictures_are_a_minimum() {
    let x = pictures(8, 1, 3);
    let (sum, dy) = Lpips::small().gradient(x.view(), x.view(), &mut Tape::recording());
    assert_eq!(sum, 0.0);
    assert!(dy.iter().all(|&v| v == 0.0));
}
