//! What a quantiser computes around its tables, as the core's operators: 1x1 convolutions and tanh.

use super::graph::{FloatConv, FloatGraph, FloatOp};
use crate::quantizer::Step;
use vq_core::format::{ActivationKind, Pad};

/// Steps as a graph of their own.
pub(super) fn graph(steps: &[Step]) -> FloatGraph {
    let mut graph = FloatGraph::default();
    append(&mut graph, steps);
    graph
}

/// Steps at the end of a graph.
pub(super) fn append(graph: &mut FloatGraph, steps: &[Step]) {
    for step in steps {
        let input = graph.ops.len() as u16;
        match step {
            Step::Tanh => graph.ops.push(FloatOp::Activation {
                input,
                kind: ActivationKind::Tanh,
            }),
            Step::Linear { weight, bias } => match graph.ops.last_mut() {
                Some(FloatOp::Conv(conv)) if !conv.relu => conv.compose(weight, bias),
                _ => graph.ops.push(pointwise(input, weight, bias)),
            },
        }
    }
}

fn pointwise(input: u16, weight: &[f32], bias: &[f32]) -> FloatOp {
    FloatOp::Conv(FloatConv {
        input,
        out_channels: bias.len(),
        kernel: 1,
        stride: 1,
        pad: Pad::NONE,
        relu: false,
        weight: weight.to_vec(),
        bias: bias.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::config::Config;
    use crate::data::Dataset;
    use crate::export::{Options, export};
    use crate::picture::{Picture, Size};
    use crate::train::{Networks, Trainer};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use vq_core::format::Dtype;

    const SIZE: Size = Size {
        width: 16,
        height: 16,
    };

    fn pictures() -> Vec<Picture> {
        let mut random = ChaCha8Rng::seed_from_u64(6);
        let mut picture = || {
            let level: [i32; 3] = std::array::from_fn(|_| random.random_range(30..220));
            let pixels = 0..SIZE.width * SIZE.height * 3;
            let pixel = |i: usize| (level[i % 3] + random.random_range(-30..30)) as u8;
            Picture::new(SIZE, 3, pixels.map(pixel).collect())
        };
        (0..12).map(|_| picture()).collect()
    }

    /// A model that has trained for a few steps.
    fn trained(quantizer: &str) -> Trainer {
        let text = format!(
            r#"
            name = "t"
            data = {{ kind = "photos", size = [16, 16] }}
            quantizer = {{ dim = 4, {quantizer} }}
            train = {{ steps = 8, batch = 4 }}
            [model]
            channels = 3
            encoder = [
              {{ conv = {{ out = 8, kernel = 4, stride = 2, relu = true }} }},
              {{ conv = {{ out = 4 }} }},
            ]
            decoder = [{{ transposed = {{ out = 8, relu = true }} }}, {{ conv = {{ out = 3 }} }}]"#
        );
        let config = Config::parse(&text, "test").unwrap();
        let data = Dataset::from_pictures(&config, pictures(), Vec::new());
        let mut trainer = Trainer::new(Networks::build(config).unwrap(), &data);
        for step in 0..8 {
            trainer.train_step(&data.batch(step, 4), &data).unwrap();
        }
        trainer
    }

    const KINDS: [&str; 7] = [
        "codes = 16",
        "codes = 16, stages = 3, stage_dropout = true",
        "kind = 'gradient', codes = 16, groups = 2, rotation = true",
        "kind = 'gradient', codes = 16, cosine = true, entropy = { temperature = 0.1 }",
        "kind = 'simvq', codes = 64",
        "kind = 'fsq', levels = [8, 5, 4, 3]",
        "kind = 'gumbel', codes = 16",
    ];

    /// The share of codes on which the file and the trainer agree, and the pictures' largest difference.
    fn agreement(trainer: &Trainer, file: Vec<u8>) -> (f64, i32) {
        let codec = Codec::from_bytes(file).unwrap();
        let pictures = pictures();
        let (mut same, mut all, mut worst) = (0, 0, 0);
        for picture in &pictures {
            let (decoded, theirs) = trainer.reconstruct(std::slice::from_ref(picture));
            let ours = codec.encode(picture).unwrap();
            assert_eq!(ours.len(), theirs.len());
            same += ours.iter().zip(&theirs).filter(|(a, b)| a == b).count();
            all += ours.len();
            let back = codec.decode(&theirs, SIZE).unwrap();
            let pairs = back.pixels.iter().zip(&decoded[0].pixels);
            let far = pairs.map(|(&a, &b)| (i32::from(a) - i32::from(b)).abs());
            worst = worst.max(far.max().unwrap());
        }
        (f64::from(same as u32) / f64::from(all as u32), worst)
    }

    #[test]
    fn every_quantiser_deploys_to_the_same_codes_and_pictures() {
        for kind in KINDS {
            let trainer = trained(kind);
            let file = |dtype| {
                let encoder = true;
                export(&trainer, Options { dtype, encoder }, &pictures())
            };
            let drawn = kind.contains("gumbel");
            let (same, worst) = agreement(&trainer, file(Dtype::F32).unwrap());
            assert!(same > 0.998 && worst <= 1, "{kind} in f32: {same} {worst}");
            // Scores that only differ by numbers which cancel are told apart less well.
            let least = if drawn { 0.9 } else { 0.98 };
            let (same, worst) = agreement(&trainer, file(Dtype::F16).unwrap());
            assert!(same > least && worst <= 2, "{kind} in f16: {same} {worst}");
            if drawn {
                let error = file(Dtype::I8).unwrap_err().to_string();
                assert!(error.contains("f16"), "{error}");
                continue;
            }
            let (same, worst) = agreement(&trainer, file(Dtype::I8).unwrap());
            assert!(same > 0.6 && worst <= 16, "{kind} in i8: {same} {worst}");
        }
    }

    #[test]
    fn linear_steps_become_part_of_the_convolution_before() {
        let mut graph = graph(&[Step::Linear {
            weight: vec![1.0, 2.0, 3.0, 4.0],
            bias: vec![5.0, 6.0],
        }]);
        let step = Step::Linear {
            weight: vec![1.0, -1.0],
            bias: vec![0.5],
        };
        append(&mut graph, &[step, Step::Tanh]);
        let [FloatOp::Conv(conv), FloatOp::Activation { input: 1, .. }] = &graph.ops[..] else {
            panic!("{graph:?}");
        };
        assert_eq!(
            (conv.out_channels, &conv.weight[..]),
            (1, &[-2.0, -2.0][..])
        );
        assert_eq!(conv.bias, [-0.5]);
    }
}
