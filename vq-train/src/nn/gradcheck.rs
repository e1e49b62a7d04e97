//! Every layer's backward pass against central differences in f64.
//!
//! The loss is a fixed random projection of the output, so that every output counts. The same
//! runner serves every layer; a new one adds a line.

use super::params::normal;
use super::*;
use ndarray::{Array4, Zip, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Relative error of analytic against numeric gradients of all parameters and all inputs.
fn check(name: &str, table: &ParamTable, layer: &AnyLayer, shape: (usize, usize, usize, usize)) {
    let mut rng = ChaCha8Rng::seed_from_u64(name.len() as u64 + shape.1 as u64);
    let mut p: Vec<f64> = table.init(&mut rng);
    for v in &mut p {
        *v += 0.1 * normal(&mut rng); // zero biases would hide a missing one
    }
    let x = Array4::from_shape_simple_fn(shape, || normal(&mut rng));
    check_at(name, table, layer, p, x);
}

/// As [`check`], at given parameters and input.
fn check_at(name: &str, table: &ParamTable, layer: &AnyLayer, p: Vec<f64>, x: Array4<f64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(p.len() as u64);
    let chain = Chain {
        layers: vec![layer.clone()],
    };
    // Every pass draws the same.
    let tape = || {
        let mut tape = Tape::recording();
        tape.seed(ChaCha8Rng::seed_from_u64(3));
        tape
    };
    let mut panels = Vec::new();
    let w = Weights::new(table, &[&chain], &p, &mut panels);
    let mut recorded = tape();
    let y = layer.forward(&w, x.clone(), &mut recorded);
    let probe = Array4::from_shape_simple_fn(y.dim(), || normal(&mut rng));
    let mut grads = vec![0.0; p.len()];
    let dx = layer.backward(&w, &mut recorded, probe.clone(), &mut grads);
    assert_eq!(dx.dim(), x.dim(), "{name}: dx has the shape of x");
    let mut again = tape();
    layer.forward(&w, x.clone(), &mut again);
    let fixed = layer.backward(&w, &mut again, probe.clone(), &mut []);
    assert_eq!(fixed, dx, "{name}: dx with weights that are held fixed");

    let loss = |p: &[f64], x: &Array4<f64>| {
        let mut panels = Vec::new();
        let w = Weights::new(table, &[&chain], p, &mut panels);
        let y = layer.forward(&w, x.clone(), &mut tape());
        Zip::from(&y)
            .and(&probe)
            .fold(0.0, |sum, &a, &b| sum + a * b)
    };
    let step = 1e-6;
    let learnt = table.entries.iter().filter(|entry| entry.role.learns());
    for i in learnt.flat_map(|entry| entry.range.clone()) {
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

fn padding([top_left, bottom_right]: [usize; 2]) -> Padding {
    Padding {
        top_left,
        bottom_right,
    }
}

fn conv(kernel: usize, stride: usize, pad: [usize; 2], relu: bool) -> ConvSpec {
    ConvSpec {
        in_channels: 3,
        out_channels: 4,
        kernel,
        stride,
        pad: padding(pad),
        relu,
        bias: true,
    }
}

#[test]
fn conv2d_of_any_kernel_stride_and_padding() {
    let cases = [
        conv(3, 1, [1, 1], false),
        conv(3, 1, [1, 1], true),
        conv(1, 1, [0, 0], true),
        conv(4, 2, [1, 1], true),
        conv(3, 2, [0, 1], false),
        conv(3, 2, [1, 0], true),
        conv(5, 1, [2, 2], false),
        conv(2, 2, [0, 0], false),
        conv(3, 2, [2, 2], true),
        ConvSpec {
            bias: false,
            ..conv(3, 1, [1, 1], true)
        },
    ];
    for (i, spec) in cases.into_iter().enumerate() {
        for shape in [(2, 4, 6, 3), (1, 5, 4, 3)] {
            let mut table = ParamTable::default();
            let layer = AnyLayer::Conv2d(Conv2d::new(spec, "c", None, &mut table));
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
            in_channels: 3,
            out_channels: 2,
            kernel,
            stride,
            cut: pad.unwrap_or((kernel - stride) / 2),
            relu,
        };
        let layer = AnyLayer::ConvTranspose2d(ConvTranspose2d::new(spec, "t", &mut table));
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
        in_channels: 17,
        out_channels: 16,
        ..spec
    };
    let cases = [
        conv(3, 1, [1, 1], true),
        conv(3, 1, [0, 2], false),
        conv(2, 1, [0, 1], false),
        conv(4, 2, [1, 1], true),
        conv(6, 2, [2, 2], false),
    ];
    for (i, spec) in cases.into_iter().map(wide).enumerate() {
        for shape in [(2, 4, 2, 17), (1, 3, 5, 17)] {
            let mut table = ParamTable::default();
            let layer = AnyLayer::Conv2d(Conv2d::new(spec, "c", None, &mut table));
            check(&format!("winograd {i}"), &table, &layer, shape);
        }
    }
    for (kernel, stride, pad, out_channels) in [
        (4, 2, None, 17),
        (4, 2, None, 3),
        (3, 1, None, 17),
        (6, 3, None, 16),
        (4, 2, Some(0), 16),
        (4, 2, Some(2), 3),
        (6, 3, Some(0), 16),
    ] {
        let mut table = ParamTable::default();
        let spec = ConvTransposeSpec {
            in_channels: 16,
            out_channels,
            kernel,
            stride,
            cut: pad.unwrap_or((kernel - stride) / 2),
            relu: true,
        };
        let layer = AnyLayer::ConvTranspose2d(ConvTranspose2d::new(spec, "t", &mut table));
        let name = format!("winograd transposed {kernel} {stride} {pad:?} {out_channels}");
        check(&name, &table, &layer, (2, 1, 2, 16));
    }
}

#[test]
fn layers_without_parameters() {
    let none = ParamTable::default();
    check(
        "upsample",
        &none,
        &AnyLayer::Upsample(Upsample { factor: 2 }),
        (2, 3, 2, 3),
    );
    check("relu", &none, &AnyLayer::Relu(Relu), (2, 5, 7, 3));
    check(
        "shuffle",
        &none,
        &AnyLayer::PixelShuffle(PixelShuffle { factor: 2 }),
        (2, 3, 2, 8),
    );
    check(
        "unshuffle",
        &none,
        &AnyLayer::PixelUnshuffle(PixelUnshuffle { factor: 2 }),
        (2, 4, 6, 3),
    );
}

fn pool(kernel: usize, stride: usize, pad: [usize; 2]) -> PoolSpec {
    PoolSpec {
        kernel,
        stride,
        pad: padding(pad),
    }
}

#[test]
fn pooling_of_any_window() {
    let none = ParamTable::default();
    let specs = [
        pool(2, 2, [0, 0]),
        pool(3, 2, [0, 1]),
        pool(3, 2, [0, 0]),
        pool(3, 1, [1, 1]),
    ];
    for spec in specs {
        for shape in [(2, 4, 6, 3), (1, 7, 5, 2)] {
            check(
                "average",
                &none,
                &AnyLayer::AveragePool(AveragePool(spec)),
                shape,
            );
            check("max", &none, &AnyLayer::MaxPool(MaxPool(spec)), shape);
        }
    }
}

#[test]
fn linear_layers() {
    for (relu, bias) in [(false, true), (true, true), (false, false)] {
        let mut table = ParamTable::default();
        let spec = LinearSpec {
            in_channels: 5,
            out_channels: 7,
            relu,
            bias,
        };
        let layer = AnyLayer::Linear(Linear::new(spec, "l", None, &mut table));
        check("linear", &table, &layer, (2, 3, 2, 5));
    }
}

#[test]
fn masked_convolutions_of_any_sight() {
    for sight in [Sight::RowsAbove, Sight::Before, Sight::UpToItself] {
        let mut table = ParamTable::default();
        let spec = ConvSpec {
            in_channels: 4,
            ..conv(3, 1, [1, 1], true)
        };
        let open = RasterMask { sight, groups: 2 }.open(&spec);
        let layer = MaskedConv2d::new(spec, open, "m", None, &mut table);
        check(
            "masked",
            &table,
            &AnyLayer::MaskedConv2d(layer),
            (2, 4, 3, 4),
        );
    }
}

/// What spectral normalisation's vectors settle to while the weights stand still: there, sigma has no
/// slope along them, and holding them constant is exact.
fn settled(table: &ParamTable, layer: &AnyLayer, x: &Array4<f64>) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut p: Vec<f64> = table.init(&mut rng);
    let chain = Chain {
        layers: vec![layer.clone()],
    };
    for _ in 0..500 {
        let mut panels = Vec::new();
        let w = Weights::new(table, &[&chain], &p, &mut panels);
        let mut tape = Tape::recording();
        let mut grads = vec![0.0; p.len()];
        let y = chain.forward(&w, x.clone(), &mut tape);
        chain.backward(&w, &mut tape, y, &mut grads);
        let statistics = table.entries.iter().filter(|entry| !entry.role.learns());
        for entry in statistics {
            p[entry.range.clone()].copy_from_slice(&grads[entry.range.clone()]);
        }
    }
    p
}

#[test]
fn spectral_normalisation_of_convolutions_and_linear_layers() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let x = Array4::from_shape_simple_fn((2, 4, 3, 3), || normal(&mut rng));
    for convolution in [false, true] {
        let mut table = ParamTable::default();
        let layer: AnyLayer = if convolution {
            let spec = conv(3, 1, [1, 1], true);
            let inner = Conv2d::new(spec, "s", None, &mut table);
            SpectralNorm::new(inner, "s", &mut table).into()
        } else {
            let spec = LinearSpec {
                in_channels: 3,
                out_channels: 5,
                relu: false,
                bias: true,
            };
            let inner = Linear::new(spec, "s", None, &mut table);
            SpectralNorm::new(inner, "s", &mut table).into()
        };
        let p = settled(&table, &layer, &x);
        check_at("spectral", &table, &layer, p, x.clone());
    }
}

#[test]
fn residual_block_with_nested_layers() {
    for relu in [false, true] {
        let mut table = ParamTable::default();
        let first = ConvSpec {
            in_channels: 4,
            ..conv(3, 1, [1, 1], true)
        };
        let second = ConvSpec {
            in_channels: 4,
            ..conv(1, 1, [0, 0], false)
        };
        let layers = vec![
            AnyLayer::Relu(Relu),
            AnyLayer::Conv2d(Conv2d::new(first, "a", None, &mut table)),
            AnyLayer::Conv2d(Conv2d::new(second, "b", None, &mut table)),
        ];
        let layer = AnyLayer::Residual(Residual {
            inner: Chain { layers },
            shortcut: None,
            relu,
        });
        check("residual", &table, &layer, (2, 4, 3, 4));
    }
}

#[test]
fn residual_block_that_changes_channels() {
    let mut table = ParamTable::default();
    let inner = Conv2d::new(conv(3, 1, [1, 1], false), "a", None, &mut table);
    let shortcut = Conv2d::new(ConvSpec::pointwise(3, 4), "b", None, &mut table);
    let layer = AnyLayer::Residual(Residual {
        inner: Chain {
            layers: vec![AnyLayer::Conv2d(inner)],
        },
        shortcut: Some(shortcut),
        relu: true,
    });
    check("residual with shortcut", &table, &layer, (2, 3, 4, 3));
}

fn norm(channels: usize, groups: usize, silu: bool) -> GroupNormSpec {
    GroupNormSpec {
        channels,
        groups,
        eps: 1e-6,
        silu,
    }
}

#[test]
fn group_normalisation_of_any_number_of_groups() {
    for (channels, groups, silu) in [(6, 3, false), (6, 2, true), (4, 4, true), (5, 1, true)] {
        let mut table = ParamTable::default();
        let spec = norm(channels, groups, silu);
        let layer = AnyLayer::GroupNorm(GroupNorm::new(spec, "n", &mut table));
        check("groupnorm", &table, &layer, (2, 4, 3, channels));
    }
}

fn batch_norm(channels: usize, table: &mut ParamTable) -> BatchNorm {
    let spec = BatchNormSpec {
        channels,
        momentum: 0.1,
        eps: 1e-5,
    };
    BatchNorm::new(spec, "n", table)
}

#[test]
fn batch_normalisation_by_the_batch() {
    let mut table = ParamTable::default();
    let layer = AnyLayer::BatchNorm(batch_norm(3, &mut table));
    check("batchnorm", &table, &layer, (3, 4, 3, 3));
}

/// The same batch in one chunk, and in several of different sizes.
#[test]
fn chunks_of_a_batch_share_their_statistics() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut table = ParamTable::default();
    let layers = vec![AnyLayer::BatchNorm(batch_norm(3, &mut table))];
    let inner = Chain { layers };
    let chain = Chain {
        layers: vec![AnyLayer::Residual(Residual {
            inner,
            shortcut: None,
            relu: true,
        })],
    };
    let p: Vec<f64> = (0..table.len()).map(|_| normal(&mut rng)).collect();
    let mut panels = Vec::new();
    let w = Weights::new(&table, &[&chain], &p, &mut panels);
    let x = Array4::from_shape_simple_fn((5, 2, 3, 3), || normal(&mut rng));
    let dy = Array4::from_shape_simple_fn(x.dim(), || normal(&mut rng));
    let run = |cuts: &[usize]| {
        let part = |map: &Array4<f64>| -> Vec<Array4<f64>> {
            let ends = cuts.windows(2);
            ends.map(|e| map.slice(s![e[0]..e[1], .., .., ..]).to_owned())
                .collect()
        };
        let mut workers = Vec::new();
        workers.resize_with(cuts.len() - 1, || Worker {
            tape: Tape::recording(),
            grads: vec![0.0; table.len()],
        });
        let y = chain.forward_all(&w, part(&x), &mut workers);
        let dx = chain.backward_all(&w, part(&dy), &mut workers);
        let sum = |i: usize| workers.iter().map(|w| w.grads[i]).sum::<f64>();
        let maps = y.iter().chain(&dx).flatten().copied();
        let grads = (0..table.len()).map(sum);
        maps.chain(grads).collect::<Vec<f64>>()
    };
    let (whole, parts) = (run(&[0, 5]), run(&[0, 2, 3, 5]));
    assert_eq!(whole.len(), 2 * x.len() + table.len());
    // Maps lie picture by picture, however they are cut.
    for (i, (a, b)) in whole.iter().zip(&parts).enumerate() {
        assert!((a - b).abs() < 1e-12, "{i}: {a} {b}");
    }
}

#[test]
fn activations() {
    let none = ParamTable::default();
    for curve in [
        Activation::Silu,
        Activation::LeakyRelu { slope: 0.2 },
        Activation::Tanh,
        Activation::Sigmoid,
    ] {
        let layer = AnyLayer::Activation(curve);
        check(curve.kind(), &none, &layer, (2, 3, 4, 3));
    }
    let layer = AnyLayer::Dropout(Dropout { rate: 0.4 });
    check("dropout", &none, &layer, (2, 3, 4, 3));
}

#[test]
fn attention_of_one_head_and_of_several() {
    for heads in [1, 3] {
        let mut table = ParamTable::default();
        let block = Attention::new(norm(6, 2, false), heads, "a", &mut table);
        let layer = AnyLayer::from(Box::new(block));
        check("attention", &table, &layer, (2, 3, 4, 6));
    }
}

#[test]
fn transposed_convolution_is_the_adjoint_of_convolution() {
    // <conv(x), y> = <x, transposed(y)> with the same weights and no bias, for any x and y.
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut table = ParamTable::default();
    let spec = ConvSpec {
        bias: false,
        ..conv(4, 2, [1, 1], false)
    };
    let forward = Conv2d::new(spec, "c", None, &mut table);
    let w: Vec<f64> = table.init(&mut rng);
    let mut adjoint_table = ParamTable::default();
    let spec = ConvTransposeSpec {
        in_channels: 4,
        out_channels: 3,
        kernel: 4,
        stride: 2,
        cut: 1,
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
    let x = Array4::from_shape_simple_fn((1, 6, 8, 3), || normal(&mut rng));
    let y = Array4::from_shape_simple_fn((1, 3, 4, 4), || normal(&mut rng));
    let run = |layer: AnyLayer, table: &ParamTable, w: &[f64], x: &Array4<f64>| {
        let chain = Chain {
            layers: vec![layer],
        };
        let mut panels = Vec::new();
        let w = Weights::new(table, &[&chain], w, &mut panels);
        chain.forward(&w, x.clone(), &mut Tape::off())
    };
    let left = (run(AnyLayer::Conv2d(forward), &table, &w, &x) * &y).sum();
    let right = (run(AnyLayer::ConvTranspose2d(adjoint), &adjoint_table, &wt, &y) * &x).sum();
    assert!((left - right).abs() < 1e-10, "{left} {right}");
}
