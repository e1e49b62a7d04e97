//! Lowering: float operators to the container's, with tensors of the element type in the blob.

use super::activation;
use super::calibrate::Range;
use super::graph::{FloatConv, FloatGraph, FloatNorm, FloatOp, FloatUpConv};
use vq_core::f16;
use vq_core::format::{
    Activation, Add, Attention, Conv2d, DepthToSpace, Dtype, GroupNorm, Kernel, Op, Quant, Relu,
    Rescale, SpaceToDepth, UpConv,
};

/// The blob being written: tensors at multiples of 4 bytes.
#[derive(Debug, Default)]
pub(super) struct Blob {
    pub(super) bytes: Vec<u8>,
}

impl Blob {
    pub(super) fn add(&mut self, tensor: impl IntoIterator<Item = u8>) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let offset = self.bytes.len() as u32;
        self.bytes.extend(tensor);
        offset
    }

    fn add_floats(&mut self, values: &[f32]) -> u32 {
        self.add(values.iter().flat_map(|v| v.to_le_bytes()))
    }
}

/// Numbers as f16 bytes, saturated instead of infinite.
pub(super) fn half_bytes(values: &[f32]) -> impl Iterator<Item = u8> + '_ {
    let limit = f16::MAX.to_f32();
    values
        .iter()
        .flat_map(move |v| f16::from_f32(v.clamp(-limit, limit)).to_le_bytes())
}

/// How the values of a graph are stored: the ends are given, the others follow from their ranges.
pub(super) fn quants(
    graph: &FloatGraph,
    dtype: Dtype,
    ranges: Option<&[Range]>,
    (input, output): (Quant, Quant),
) -> Vec<Quant> {
    let mut quants = vec![input];
    for (i, op) in graph.ops.iter().enumerate() {
        let quant = match (kept_from(op), dtype, ranges) {
            (Some(from), ..) => quants[usize::from(from)],
            (None, Dtype::I8, Some(ranges)) => {
                asymmetric(told_apart(graph, i as u16 + 1, ranges[i + 1]))
            }
            _ => Quant::UNIT,
        };
        quants.push(quant);
    }
    // The last value's quantisation is given, and so are those that reach it unchanged.
    let mut value = graph.ops.len();
    while value > 0 {
        quants[value] = output;
        match kept_from(&graph.ops[value - 1]) {
            Some(from) => value = usize::from(from),
            None => break,
        }
    }
    quants
}

/// The value whose quantisation an operator keeps.
fn kept_from(op: &FloatOp) -> Option<u16> {
    match op {
        FloatOp::Relu { input }
        | FloatOp::DepthToSpace { input, .. }
        | FloatOp::SpaceToDepth { input, .. } => Some(*input),
        FloatOp::Conv(_)
        | FloatOp::UpConv(_)
        | FloatOp::Add { .. }
        | FloatOp::Activation { .. }
        | FloatOp::GroupNorm(_)
        | FloatOp::Attention { .. } => None,
    }
}

/// What the readers of a value can tell apart of its range. A curve is all but flat at its ends, and the
/// stored numbers are better spent where it is steep.
fn told_apart(graph: &FloatGraph, value: u16, range: Range) -> Range {
    let readers = graph.ops.iter().filter(|op| op.reads(value));
    let steep = readers.map(|op| match op {
        FloatOp::Activation { kind, .. } => activation::steep(*kind),
        _ => Range::EVERYTHING,
    });
    let seen = steep.reduce(|a, b| Range {
        low: a.low.min(b.low),
        high: a.high.max(b.high),
    });
    let seen = seen.unwrap_or(Range::EVERYTHING);
    Range {
        low: range.low.max(seen.low),
        high: range.high.min(seen.high),
    }
}

fn asymmetric(range: Range) -> Quant {
    let scale = (range.high - range.low) / 255.0;
    let zero = (-128.0 - range.low / scale).round().clamp(-128.0, 127.0) as i8;
    Quant { scale, zero }
}

/// The operators of a graph whose values are stored as `quants` say.
pub(super) fn graph(
    graph: &FloatGraph,
    dtype: Dtype,
    quants: &[Quant],
    blob: &mut Blob,
) -> Vec<Op> {
    let lower = |(i, op): (usize, &FloatOp)| {
        let out = quants[i + 1];
        let quant = |value: u16| quants[usize::from(value)];
        match op {
            FloatOp::Conv(c) => conv(c, dtype, quant(c.input), out, blob),
            FloatOp::UpConv(c) => upconv(c, dtype, quant(c.input), out, blob),
            &FloatOp::Add { input, skip, relu } => {
                let rescale = match dtype {
                    Dtype::I8 => rescale(quant(input), quant(skip), out),
                    Dtype::F16 | Dtype::F32 => Rescale::NONE,
                };
                Op::Add(Add {
                    input,
                    skip,
                    relu,
                    out,
                    rescale,
                })
            }
            &FloatOp::Relu { input } => Op::Relu(Relu { input }),
            &FloatOp::DepthToSpace { input, factor } => {
                Op::DepthToSpace(DepthToSpace { input, factor })
            }
            &FloatOp::SpaceToDepth { input, factor } => {
                Op::SpaceToDepth(SpaceToDepth { input, factor })
            }
            &FloatOp::Activation { input, kind } => {
                let table = match dtype {
                    Dtype::I8 => blob.add(activation::lookup(kind, quant(input), out)),
                    Dtype::F16 | Dtype::F32 => 0,
                };
                Op::Activation(Activation {
                    input,
                    kind,
                    out,
                    table,
                })
            }
            FloatOp::GroupNorm(norm) => group_norm(norm, blob),
            &FloatOp::Attention {
                queries,
                keys,
                values,
                heads,
            } => Op::Attention(Attention {
                queries,
                keys,
                values,
                heads,
            }),
        }
    };
    graph.ops.iter().enumerate().map(lower).collect()
}

fn conv(c: &FloatConv, dtype: Dtype, from: Quant, out: Quant, blob: &mut Blob) -> Op {
    let (weights, params) = tensors(&c.weight, &c.bias, dtype, from, out, blob);
    Op::Conv2d(Conv2d {
        input: c.input,
        out_channels: c.out_channels as u16,
        kernel: Kernel {
            height: c.kernel,
            width: c.kernel,
        },
        stride: c.stride,
        pad: c.pad,
        relu: c.relu,
        out,
        weights,
        params,
    })
}

fn upconv(c: &FloatUpConv, dtype: Dtype, from: Quant, out: Quant, blob: &mut Blob) -> Op {
    let (weights, params) = tensors(&c.weight, &c.bias, dtype, from, out, blob);
    let (input, out_channels, relu) = (c.input, c.out_channels as u16, c.relu);
    Op::UpConv(UpConv {
        input,
        out_channels,
        relu,
        out,
        weights,
        params,
    })
}

fn group_norm(norm: &FloatNorm, blob: &mut Blob) -> Op {
    Op::GroupNorm(GroupNorm {
        input: norm.input,
        groups: norm.groups,
        eps: norm.eps,
        silu: norm.silu,
        params: blob.add_floats(&[&norm.gain[..], &norm.bias].concat()),
    })
}

/// Writes weights `[n][taps]` and the parameters of their n channels; returns both offsets.
fn tensors(
    weight: &[f32],
    bias: &[f32],
    dtype: Dtype,
    from: Quant,
    out: Quant,
    blob: &mut Blob,
) -> (u32, u32) {
    match dtype {
        Dtype::F32 => (blob.add_floats(weight), blob.add_floats(bias)),
        Dtype::F16 => (blob.add(half_bytes(weight)), blob.add_floats(bias)),
        Dtype::I8 => {
            let taps = weight.len() / bias.len();
            let channels = weight.chunks_exact(taps).zip(bias);
            let fixed: Vec<Channel> = channels.map(|(w, &b)| channel(w, b, from, out)).collect();
            let weights = blob.add(fixed.iter().flat_map(|c| c.weight.iter().map(|&w| w as u8)));
            let params = blob.add(
                (fixed.iter().flat_map(|c| c.bias.to_le_bytes()))
                    .chain(fixed.iter().flat_map(|c| c.multiplier.to_le_bytes()))
                    .chain(fixed.iter().map(|c| c.shift)),
            );
            (weights, params)
        }
    }
}

/// One output channel in fixed point.
struct Channel {
    weight: Vec<i8>,
    bias: i32,
    multiplier: i32,
    shift: u8,
}

/// The largest bias that the format allows.
const MAX_BIAS: f64 = (1u32 << 30) as f64;

/// real y = sum w x + b becomes stored y = zero + round(m (sum W X + B)), with w = scale W,
/// x = from.scale (X - from.zero), B = b / (scale from.scale) - from.zero sum W and
/// m = scale from.scale / out.scale.
fn channel(weight: &[f32], bias: f32, from: Quant, out: Quant) -> Channel {
    let largest = weight.iter().fold(0.0f32, |a, w| a.max(w.abs()));
    let (from_scale, bias) = (f64::from(from.scale), f64::from(bias));
    // Where weights are tiny beside the bias, coarser steps keep the bias representable.
    let smallest = bias.abs() / from_scale / (MAX_BIAS / 2.0);
    let scale = (f64::from(largest) / 127.0)
        .max(smallest)
        .max(f64::MIN_POSITIVE.sqrt());
    let weight: Vec<i8> = weight
        .iter()
        .map(|&w| (f64::from(w) / scale).round() as i8)
        .collect();
    let sum: i64 = weight.iter().map(|&w| i64::from(w)).sum();
    let folded = (bias / (scale * from_scale)).round() - (i64::from(from.zero) * sum) as f64;
    let (multiplier, shift) = fixed_point(scale * from_scale / f64::from(out.scale));
    Channel {
        weight,
        bias: folded.clamp(-MAX_BIAS, MAX_BIAS) as i32,
        multiplier,
        shift,
    }
}

/// m as multiplier * 2^-shift with the multiplier in 2^30 .. 2^31; what is out of the shift's reach
/// becomes the nearest that is in it.
fn fixed_point(m: f64) -> (i32, u8) {
    let exponent = m.log2().floor() as i32;
    let shift = (30 - exponent).clamp(1, 62);
    let multiplier = (m * f64::from(shift).exp2()).round();
    if multiplier >= f64::from(1u32 << 31) && shift > 1 {
        return (1 << 30, (shift - 1) as u8);
    }
    (
        multiplier.clamp(f64::from(1 << 30), f64::from(i32::MAX)) as i32,
        shift as u8,
    )
}

/// Factors below 2^21 and a shift of at most 20: devices compute the whole sum in a word then. Both together are off by
/// less than a thousandth of a step where no summand's step is twice the sum's.
fn rescale(input: Quant, skip: Quant, out: Quant) -> Rescale {
    const MOST: i32 = (1 << 21) - 1;
    let ratio = |q: Quant| f64::from(q.scale) / f64::from(out.scale);
    let largest = ratio(input).max(ratio(skip));
    let shift = (20 - largest.log2().floor() as i32).clamp(1, 20);
    let fixed = |r: f64| (r * f64::from(shift).exp2()).round().min(MOST.into()) as i32;
    Rescale {
        input: fixed(ratio(input)),
        skip: fixed(ratio(skip)),
        shift: shift as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vq_core::format::ActivationKind;

    #[test]
    fn fixed_point_is_within_half_a_unit_of_31_bits() {
        for m in [1.0, 0.5, 0.999_999_999_9, 3.7e-4, 1.9e-9, 12.5, 0.1] {
            let (multiplier, shift) = fixed_point(m);
            assert!(multiplier >= 1 << 30, "{m}");
            let back = f64::from(multiplier) / f64::from(shift).exp2();
            assert!((back / m - 1.0).abs() < 1e-9, "{m} {back}");
        }
    }

    #[test]
    fn an_addition_fits_a_word_and_is_within_a_thousandth_of_a_step() {
        let quant = |scale| Quant { scale, zero: 0 };
        for (input, skip, out) in [(1.0, 1.0, 1.0), (0.3, 1.9, 1.0), (1e-3, 0.2, 0.7)] {
            let found = rescale(quant(input), quant(skip), quant(out));
            assert!(found.input.max(found.skip) < 1 << 21);
            let unit = f64::from(found.shift).exp2();
            for (factor, scale) in [(found.input, input), (found.skip, skip)] {
                let off = f64::from(factor) / unit - f64::from(scale) / f64::from(out);
                assert!((255.0 * off).abs() < 5e-4, "{input} {skip} {out}: {off}");
            }
        }
        let large = rescale(quant(1e9), quant(1.0), quant(1.0));
        assert!(large.input < 1 << 21 && large.shift == 1);
    }

    #[test]
    fn a_channel_computes_what_the_floats_do() {
        let from = Quant {
            scale: 0.02,
            zero: -30,
        };
        let out = Quant {
            scale: 0.05,
            zero: 10,
        };
        let (weight, bias) = ([0.3f32, -0.7, 0.05, 0.6], 0.4);
        let c = channel(&weight, bias, from, out);
        for x in [[-128i8, 0, 5, 127], [90, -40, 33, 1]] {
            let real = |x: i8| f64::from(from.scale) * f64::from(i32::from(x) + 30);
            let y: f64 = weight
                .iter()
                .zip(x)
                .map(|(&w, x)| f64::from(w) * real(x))
                .sum();
            let dot = c
                .weight
                .iter()
                .zip(x)
                .map(|(&w, x)| i32::from(w) * i32::from(x));
            let wide = i64::from(dot.sum::<i32>() + c.bias) * i64::from(c.multiplier);
            let stored = (wide + (1 << (c.shift - 1))) >> c.shift;
            let back = stored as f64 * f64::from(out.scale);
            assert!((back - (y + f64::from(bias))).abs() < 0.08, "{back} {y}");
        }
    }

    fn conv(input: u16) -> FloatOp {
        FloatOp::Conv(FloatConv {
            input,
            out_channels: 1,
            kernel: 1,
            stride: 1,
            pad: vq_core::format::Pad::NONE,
            relu: false,
            weight: vec![1.0],
            bias: vec![0.0],
        })
    }

    fn range(low: f32, high: f32) -> Range {
        Range { low, high }
    }

    #[test]
    fn numbers_go_where_the_curves_that_read_them_are_steep() {
        let tanh = |input| FloatOp::Activation {
            input,
            kind: ActivationKind::Tanh,
        };
        let graph = FloatGraph {
            ops: vec![conv(0), tanh(1), conv(2)],
        };
        assert_eq!(told_apart(&graph, 1, range(-9.0, 1.0)), range(-3.2, 1.0));
        assert_eq!(told_apart(&graph, 2, range(-1.0, 1.0)), range(-1.0, 1.0));
        assert_eq!(told_apart(&graph, 3, range(-9.0, 9.0)), range(-9.0, 9.0));
        // Another reader needs all of it.
        let skip = FloatOp::Add {
            input: 2,
            skip: 1,
            relu: false,
        };
        let graph = FloatGraph {
            ops: vec![conv(0), tanh(1), skip],
        };
        assert_eq!(told_apart(&graph, 1, range(-9.0, 1.0)), range(-9.0, 1.0));
    }

    #[test]
    fn an_activation_has_a_table_only_in_integers() {
        let graph = FloatGraph {
            ops: vec![FloatOp::Activation {
                input: 0,
                kind: ActivationKind::Sigmoid,
            }],
        };
        for (dtype, len) in [(Dtype::I8, 4 + 256), (Dtype::F16, 3), (Dtype::F32, 3)] {
            let ends = (Quant::pixel(dtype), Quant::pixel(dtype));
            let quants = quants(&graph, dtype, Some(&[range(-1.0, 1.0); 2]), ends);
            let mut blob = Blob { bytes: vec![7; 3] };
            let ops = super::graph(&graph, dtype, &quants, &mut blob);
            let [Op::Activation(op)] = ops[..] else {
                panic!("{ops:?}");
            };
            assert_eq!(
                (op.input, op.kind, op.out),
                (0, ActivationKind::Sigmoid, ends.1)
            );
            assert_eq!(op.table, if dtype == Dtype::I8 { 4 } else { 0 });
            assert_eq!(blob.bytes.len(), len);
        }
    }

    #[test]
    fn zero_weights_with_a_bias_stay_in_range() {
        let c = channel(
            &[0.0; 4],
            3.0,
            Quant {
                scale: 0.01,
                zero: 5,
            },
            Quant {
                scale: 0.03,
                zero: 0,
            },
        );
        assert!(c.bias.unsigned_abs() <= 1 << 30 && c.multiplier >= 1 << 30);
        let wide = i64::from(c.bias) * i64::from(c.multiplier);
        assert_eq!((wide + (1 << (c.shift - 1))) >> c.shift, 100);
    }
}
