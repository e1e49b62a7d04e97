//! Every layer's backward pass against central differences in f64.
//!
//! The loss is a fixed random projection of the output, so that every output counts. The same
//! runner serves every layer; a new one adds a line.

use super::*;
use ndarray::{Array4, Zip};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Relative error of analytic against numeric gradients of all parameters and all inputs.
fn check(name: &str, table: &ParamTable, layer: &Layer, shape: (usize, usize, usize, usize)) {
    let mut rng = ChaCha8Rng::seed_from_u64(name.len() as u64 + shape.1 as u64);
    let mut p: Vec<f64> = table.init(&mut rng);
    for v in &mut p {
        *v += 0.1 * params::normal(&mut rng); // zero biases would hide a missing one
    }
    let x = Array4::from_shape_simple_fn(shape, || params::normal(&mut rng));
    let chain = Chain {
        layers: vec![layer.clone()],
    };
    let mut tape = Tape::recording();
    let mut panels = Vec::new();
    let w = Weights::new(table, &[&chain], &p, &mut panels);
    let y = layer.forward(&w, x.clone(), &mut tape);
    let probe = Array4::from_shape_simple_fn(y.dim(), || params::normal(&mut rng));
    let mut grads = vec![0.0; p.len()];
    let dx = layer.backward(&w, &mut tape, probe.clone(), &mut grads);
    assert_eq!(dx.dim(), x.dim(), "{name}: dx has the shape of x");

    let loss = |p: &[f64], x: &Array4<f64>| {
        let mut panels = Vec::new();
        let w = Weights::new(table, &[&chain], p, &mut panels);
        let y = layer.forward(&w, x.clone(), &mut Tape::recording());
        Zip::from(&y)
            .and(&probe)
            .fold(0.0, |sum, &a, &b| sum + a * b)
    };
    let step = 1e-6;
    for i in 0..p.len() {
        let (mut up, mut down) = (p.clone(), p.clone());
        up[i] += step;
        down[i] -= step;
        let numeric = (loss(&up, &x) - loss(&down, &x)) / (2.0 * step);
        assert_close(name, "parameter", i, grads[i], numeric);
    }
    let flat = dx.as_slice().unwrap();
    for (i, &analytic) in flat.iter().enumerate() {
        let (mut up, mut down) = (x.clone(), x.clone());
        up.as_slice_mut().unwrap()[i] += step;
        down.as_slice_mut().unwrap()[i] -= step;
        let numeric = (loss(&p, &up) - loss(&p, &down)) / (2.0 * step);
        assert_close(name, "input", i, analytic, numeric);
    }
}

fn assert_close(name: &str, what: &str, i: usize, analytic: f64, numeric: f64) {
    let error = (analytic - numeric).abs() / (1.0 + analytic.abs().max(numeric.abs()));
    assert!(
        error < 1e-7,
        "{name}: {what} {i}: analytic {analytic}, numeric {numeric}"
    );
}

fn conv(kernel: usize, stride: usize, before: usize, after: usize, relu: bool) -> ConvSpec {
    ConvSpec {
        cin: 3,
        cout: 4,
        kernel,
        stride,
        before,
        after,
        relu,
        bias: true,
    }
}

#[test]
fn conv2d_of_any_kernel_stride_and_padding() {
    let cases = [
        conv(3, 1, 1, 1, false),
        conv(3, 1, 1, 1, true),
        conv(1, 1, 0, 0, true),
        conv(4, 2, 1, 1, true),
        conv(3, 2, 0, 1, false),
        conv(3, 2, 1, 0, true),
        conv(5, 1, 2, 2, false),
        conv(2, 2, 0, 0, false),
        conv(3, 2, 2, 2, true),
        ConvSpec {
            bias: false,
            ..conv(3, 1, 1, 1, true)
        },
    ];
    for (i, spec) in cases.into_iter().enumerate() {
        for shape in [(2, 4, 6, 3), (1, 5, 4, 3)] {
            let mut table = ParamTable::default();
            let layer = Layer::Conv2d(Conv2d::new(spec, "c", None, &mut table));
            check(&format!("conv {i}"), &table, &layer, shape);
        }
    }
}

#[test]
fn transposed_convolution_of_any_kernel_and_stride() {
    for (kernel, stride, pad, relu) in [
        (4, 2, None, true),
        (3, 2, None, false),
        (3, 2, Some(1), true),
        (2, 2, None, true),
        (3, 1, None, false),
        (5, 3, None, true),
        (6, 3, Some(3), false),
        (4, 2, Some(0), false),
    ] {
        let mut table = ParamTable::default();
        let spec = ConvTransposeSpec {
            cin: 3,
            cout: 2,
            kernel,
            stride,
            pad,
            relu,
        };
        let layer = Layer::ConvTranspose2d(ConvTranspose2d::new(spec, "t", &mut table));
        check(
            &format!("transposed {kernel} {stride} {pad:?}"),
            &table,
            &layer,
            (2, 3, 4, 3),
        );
    }
}

/// Kernels and channels that are multiplied in Winograd's form, on maps that its tiles do not cover evenly.
#[test]
fn convolutions_in_winograds_form() {
    let wide = |spec: ConvSpec| ConvSpec {
        cin: 9,
        cout: 8,
        ..spec
    };
    let cases = [
        conv(3, 1, 1, 1, true),
        conv(3, 1, 0, 2, false),
        conv(2, 1, 0, 1, false),
        conv(4, 2, 1, 1, true),
        conv(6, 2, 2, 2, false),
    ];
    for (i, spec) in cases.into_iter().map(wide).enumerate() {
        for shape in [(2, 4, 6, 9), (1, 5, 3, 9)] {
            let mut table = ParamTable::default();
            let layer = Layer::Conv2d(Conv2d::new(spec, "c", None, &mut table));
            check(&format!("winograd {i}"), &table, &layer, shape);
        }
    }
    for (kernel, stride, pad) in [
        (4, 2, None),
        (3, 1, None),
        (6, 3, None),
        (4, 2, Some(0)),
        (4, 2, Some(2)),
        (3, 2, Some(1)),
        (6, 3, Some(0)),
    ] {
        let mut table = ParamTable::default();
        let spec = ConvTransposeSpec {
            cin: 8,
            cout: 9,
            kernel,
            stride,
            pad,
            relu: true,
        };
        let layer = Layer::ConvTranspose2d(ConvTranspose2d::new(spec, "t", &mut table));
        let name = format!("winograd transposed {kernel} {stride} {pad:?}");
        check(&name, &table, &layer, (2, 3, 2, 8));
    }
}

#[test]
fn layers_without_parameters() {
    let none = ParamTable::default();
    check(
        "upsample",
        &none,
        &Layer::Upsample(Upsample { factor: 2 }),
        (2, 3, 2, 3),
    );
    check("relu", &none, &Layer::Relu(Relu), (2, 5, 7, 3));
    check(
        "shuffle",
        &none,
        &Layer::PixelShuffle(PixelShuffle { factor: 2 }),
        (2, 3, 2, 8),
    );
    check(
        "unshuffle",
        &none,
        &Layer::PixelUnshuffle(PixelUnshuffle { factor: 2 }),
        (2, 4, 6, 3),
    );
}

#[test]
fn residual_block_with_nested_layers() {
    for relu in [false, true] {
        let mut table = ParamTable::default();
        let first = ConvSpec {
            cin: 4,
            ..conv(3, 1, 1, 1, true)
        };
        let second = ConvSpec {
            cin: 4,
            ..conv(1, 1, 0, 0, false)
        };
        let layers = vec![
            Layer::Relu(Relu),
            Layer::Conv2d(Conv2d::new(first, "a", None, &mut table)),
            Layer::Conv2d(Conv2d::new(second, "b", None, &mut table)),
        ];
        let layer = Layer::Residual(Residual {
            inner: Chain { layers },
            relu,
        });
        check("residual", &table, &layer, (2, 4, 3, 4));
    }
}

#[test]
fn transposed_convolution_is_the_adjoint_of_convolution() {
    // <conv(x), y> = <x, transposed(y)> with the same weights and no bias, for any x and y.
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut table = ParamTable::default();
    let spec = ConvSpec {
        bias: false,
        ..conv(4, 2, 1, 1, false)
    };
    let forward = Conv2d::new(spec, "c", None, &mut table);
    let w: Vec<f64> = table.init(&mut rng);
    let mut adjoint_table = ParamTable::default();
    let spec = ConvTransposeSpec {
        cin: 4,
        cout: 3,
        kernel: 4,
        stride: 2,
        pad: None,
        relu: false,
    };
    let adjoint = ConvTranspose2d::new(spec, "t", &mut adjoint_table);
    let mut wt = vec![0.0; adjoint_table.len()];
    for tap in 0..16 {
        for ci in 0..3 {
            for co in 0..4 {
                wt[(co * 16 + tap) * 3 + ci] = w[(tap * 3 + ci) * 4 + co];
            }
        }
    }
    let x = Array4::from_shape_simple_fn((1, 6, 8, 3), || params::normal(&mut rng));
    let y = Array4::from_shape_simple_fn((1, 3, 4, 4), || params::normal(&mut rng));
    let run = |layer: Layer, table: &ParamTable, w: &[f64], x: &Array4<f64>| {
        let chain = Chain {
            layers: vec![layer],
        };
        let mut panels = Vec::new();
        let w = Weights::new(table, &[&chain], w, &mut panels);
        chain.forward(&w, x.clone(), &mut Tape::off())
    };
    let left = (run(Layer::Conv2d(forward), &table, &w, &x) * &y).sum();
    let right = (run(Layer::ConvTranspose2d(adjoint), &adjoint_table, &wt, &y) * &x).sum();
    assert!((left - right).abs() < 1e-10, "{left} {right}");
}
