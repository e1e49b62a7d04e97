//! The whole picture at once, layer by layer, in loops as plain as the formulas of `FORMAT.md`.
//!
//! It shares the format's types with the core, but no arithmetic and no geometry.

use half::f16;
use vq_core::PictureSize;
use vq_core::format::*;
use vq_core::model::{Model, Network};

/// A map of one picture: h rows of w points of c channels.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<E> {
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// \[h\]\[w\]\[c\]
    pub data: Vec<E>,
}

impl<E: Copy> Tensor<E> {
    /// A map of one number.
    pub fn filled(h: usize, w: usize, c: usize, value: E) -> Self {
        Self {
            h,
            w,
            c,
            data: vec![value; h * w * c],
        }
    }

    fn at(&self, y: usize, x: usize, c: usize) -> E {
        self.data[(y * self.w + x) * self.c + c]
    }

    fn set(&mut self, y: usize, x: usize, c: usize, value: E) {
        self.data[(y * self.w + x) * self.c + c] = value;
    }
}

/// The arithmetic of an element type, as the format defines it.
pub trait Arithmetic: Copy + PartialEq {
    /// What products are summed in.
    type Sum: Copy;
    /// A number of the file.
    fn load(blob: &[u8], tensor: u32, index: usize) -> Self;
    /// What means 0.
    fn nought(quant: Quant) -> Self;
    /// A byte of a picture.
    fn pixel(byte: u8) -> Self;
    /// A byte of a picture again.
    fn byte(self) -> u8;
    /// The bias of a channel.
    fn bias(blob: &[u8], params: u32, index: usize) -> Self::Sum;
    /// One more product.
    fn product(sum: Self::Sum, x: Self, weight: Self) -> Self::Sum;
    /// The result of channel `index` of `count`.
    fn result(
        sum: Self::Sum,
        blob: &[u8],
        params: u32,
        index: Channel,
        out: Quant,
        relu: bool,
    ) -> Self;
    /// A sum of two.
    fn sum(a: Self, b: Self, zeros: [i8; 2], op: &Add) -> Self;
    /// max(self, 0)
    fn cut(self, quant: Quant) -> Self;
    /// A curve
    fn curve(self, blob: &[u8], op: &Activation) -> Self;
    /// self + other
    fn plus(self, other: Self) -> Self;
    /// self - other
    fn minus(self, other: Self) -> Self;
    /// (self - other)^2
    fn square(self, other: Self) -> f64;
    /// In single precision, of a float
    fn single(self) -> f32;
    /// A result in single precision as a float stores it
    fn stored(x: f32) -> Self;
}

/// A channel among those that have parameters.
#[derive(Debug, Clone, Copy)]
pub struct Channel {
    /// Its place.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

fn word(blob: &[u8], at: usize) -> [u8; 4] {
    blob[at..at + 4].try_into().unwrap()
}

fn requantised(wide: i128, shift: u8, out: Quant, relu: bool) -> i8 {
    let rounded = (wide + (1 << (shift - 1))).div_euclid(1 << shift);
    let low = if relu { out.zero } else { -128 };
    (i128::from(out.zero) + rounded).clamp(low.into(), 127) as i8
}

impl Arithmetic for i8 {
    type Sum = i64;
    fn load(blob: &[u8], tensor: u32, index: usize) -> i8 {
        blob[tensor as usize + index] as i8
    }
    fn nought(quant: Quant) -> i8 {
        quant.zero
    }
    fn pixel(byte: u8) -> i8 {
        (i32::from(byte) - 128) as i8
    }
    fn byte(self) -> u8 {
        (i32::from(self) + 128) as u8
    }
    fn bias(blob: &[u8], params: u32, index: usize) -> i64 {
        i32::from_le_bytes(word(blob, params as usize + 4 * index)).into()
    }
    fn product(sum: i64, x: i8, weight: i8) -> i64 {
        let sum = sum + i64::from(x) * i64::from(weight);
        // The format promises that 32 bits are enough.
        i32::try_from(sum).unwrap().into()
    }
    fn result(sum: i64, blob: &[u8], params: u32, channel: Channel, out: Quant, relu: bool) -> i8 {
        let Channel { index, count } = channel;
        let params = params as usize;
        let multiplier = i32::from_le_bytes(word(blob, params + 4 * (count + index)));
        let shift = blob[params + 8 * count + index];
        requantised(i128::from(sum) * i128::from(multiplier), shift, out, relu)
    }
    fn sum(a: i8, b: i8, zeros: [i8; 2], op: &Add) -> i8 {
        let term =
            |x: i8, zero: i8, factor: i32| (i128::from(x) - i128::from(zero)) * i128::from(factor);
        let wide = term(a, zeros[0], op.rescale.input) + term(b, zeros[1], op.rescale.skip);
        requantised(wide, op.rescale.shift, op.out, op.relu)
    }
    fn cut(self, quant: Quant) -> i8 {
        self.max(quant.zero)
    }
    fn curve(self, blob: &[u8], op: &Activation) -> i8 {
        i8::load(blob, op.table, (i32::from(self) + 128) as usize)
    }
    fn plus(self, other: i8) -> i8 {
        (i32::from(self) + i32::from(other)).clamp(-128, 127) as i8
    }
    fn minus(self, other: i8) -> i8 {
        (i32::from(self) - i32::from(other)).clamp(-128, 127) as i8
    }
    fn square(self, other: i8) -> f64 {
        (f64::from(self) - f64::from(other)).powi(2)
    }
    fn single(self) -> f32 {
        unreachable!("integers are not computed in single precision")
    }
    fn stored(_: f32) -> i8 {
        unreachable!("integers are not computed in single precision")
    }
}

impl Arithmetic for f32 {
    type Sum = f32;
    fn load(blob: &[u8], tensor: u32, index: usize) -> f32 {
        f32::from_le_bytes(word(blob, tensor as usize + 4 * index))
    }
    fn nought(_: Quant) -> f32 {
        0.0
    }
    fn pixel(byte: u8) -> f32 {
        f32::from(byte) / 128.0 - 1.0
    }
    fn byte(self) -> u8 {
        (self * 128.0 + 128.0).clamp(0.0, 255.0).round() as u8
    }
    fn bias(blob: &[u8], params: u32, index: usize) -> f32 {
        f32::load(blob, params, index)
    }
    fn product(sum: f32, x: f32, weight: f32) -> f32 {
        x.mul_add(weight, sum)
    }
    fn result(sum: f32, _: &[u8], _: u32, _: Channel, _: Quant, relu: bool) -> f32 {
        if relu { sum.max(0.0) } else { sum }
    }
    fn sum(a: f32, b: f32, _: [i8; 2], op: &Add) -> f32 {
        if op.relu { (a + b).max(0.0) } else { a + b }
    }
    fn cut(self, _: Quant) -> f32 {
        self.max(0.0)
    }
    fn curve(self, _: &[u8], op: &Activation) -> f32 {
        curve(op.kind, self)
    }
    fn plus(self, other: f32) -> f32 {
        self + other
    }
    fn minus(self, other: f32) -> f32 {
        self - other
    }
    fn square(self, other: f32) -> f64 {
        f64::from((self - other) * (self - other))
    }
    fn single(self) -> f32 {
        self
    }
    fn stored(x: f32) -> f32 {
        x
    }
}

/// s and p of exp(-a) by the letter of the format.
fn parts(a: f32) -> (f32, f32) {
    let a = a.min(87.0);
    let n = (a * std::f32::consts::LOG2_E + 0.5).floor();
    let low = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;
    let r = (n * (355.0 / 512.0) - a) + n * low;
    let sixth = r * (1.0 / 5040.0) + 1.0 / 720.0;
    let fourth = (sixth * r + 1.0 / 120.0) * r + 1.0 / 24.0;
    let second = (fourth * r + 1.0 / 6.0) * r + 1.0 / 2.0;
    (0.5f32.powi(n as i32), (second * r + 1.0) * r)
}

/// The curves by the letter of the format.
fn curve(kind: ActivationKind, x: f32) -> f32 {
    let sigmoid = |x: f32| {
        let e = falling(x.abs());
        if x < 0.0 {
            e / (1.0 + e)
        } else {
            1.0 / (1.0 + e)
        }
    };
    match kind {
        ActivationKind::Tanh => {
            let (s, p) = parts(2.0 * x.abs());
            let m = s * p + (s - 1.0);
            let size = -m / (2.0 + m);
            if x < 0.0 { -size } else { size }
        }
        ActivationKind::Sigmoid => sigmoid(x),
        ActivationKind::Silu => x * sigmoid(x),
        ActivationKind::LeakyRelu { slope } if x < 0.0 => slope * x,
        ActivationKind::LeakyRelu { .. } => x,
    }
}

/// exp(-a) by the letter of the format.
fn falling(a: f32) -> f32 {
    let (s, p) = parts(a);
    s * p + s
}

fn half(x: f32) -> f16 {
    f16::from_f32(x.clamp(-65504.0, 65504.0))
}

impl Arithmetic for f16 {
    type Sum = f32;
    fn load(blob: &[u8], tensor: u32, index: usize) -> f16 {
        let at = tensor as usize + 2 * index;
        f16::from_le_bytes([blob[at], blob[at + 1]])
    }
    fn nought(_: Quant) -> f16 {
        f16::ZERO
    }
    fn pixel(byte: u8) -> f16 {
        half(f32::pixel(byte))
    }
    fn byte(self) -> u8 {
        self.to_f32().byte()
    }
    fn bias(blob: &[u8], params: u32, index: usize) -> f32 {
        f32::load(blob, params, index)
    }
    fn product(sum: f32, x: f16, weight: f16) -> f32 {
        x.to_f32().mul_add(weight.to_f32(), sum)
    }
    fn result(sum: f32, _: &[u8], _: u32, _: Channel, _: Quant, relu: bool) -> f16 {
        half(if relu { sum.max(0.0) } else { sum })
    }
    fn sum(a: f16, b: f16, zeros: [i8; 2], op: &Add) -> f16 {
        half(<f32 as Arithmetic>::sum(a.to_f32(), b.to_f32(), zeros, op))
    }
    fn cut(self, _: Quant) -> f16 {
        half(self.to_f32().max(0.0))
    }
    fn curve(self, _: &[u8], op: &Activation) -> f16 {
        half(curve(op.kind, self.to_f32()))
    }
    fn plus(self, other: f16) -> f16 {
        half(self.to_f32() + other.to_f32())
    }
    fn minus(self, other: f16) -> f16 {
        half(self.to_f32() - other.to_f32())
    }
    fn square(self, other: f16) -> f64 {
        self.to_f32().square(other.to_f32())
    }
    fn single(self) -> f32 {
        self.to_f32()
    }
    fn stored(x: f32) -> f16 {
        half(x)
    }
}

/// The picture of codes, none of them missing.
pub fn decoded<E: Arithmetic>(model: &Model<'_>, size: PictureSize, codes: &[u16]) -> Vec<u8> {
    let grid = size.grid(model.down());
    let latent = embed::<E>(model, grid.rows.into(), grid.columns.into(), codes);
    let picture = run(model, model.decoder(), latent).pop().unwrap();
    let rows = picture
        .data
        .chunks(picture.w * picture.c)
        .take(size.height.into());
    rows.flat_map(|row| &row[..usize::from(size.width) * picture.c])
        .map(|&x| x.byte())
        .collect()
}

/// The codes of a picture, widened to whole codes.
pub fn encoded<E: Arithmetic>(model: &Model<'_>, size: PictureSize, pixels: &[u8]) -> Vec<u16> {
    let (grid, c) = (size.grid(model.down()), usize::from(model.channels()));
    let down = usize::from(model.down());
    let (h, w) = (
        usize::from(grid.rows) * down,
        usize::from(grid.columns) * down,
    );
    let mut input = Tensor::filled(h, w, c, E::pixel(0));
    for (i, value) in input.data.iter_mut().enumerate() {
        let y = (i / c / w).min(usize::from(size.height) - 1);
        let x = (i / c % w).min(usize::from(size.width) - 1);
        *value = E::pixel(pixels[(y * usize::from(size.width) + x) * c + i % c]);
    }
    let latent = run(model, model.encoder().unwrap(), input).pop().unwrap();
    quantise(model, latent)
}

/// Every value of the graph, its input first.
pub fn run<E: Arithmetic>(
    model: &Model<'_>,
    network: Network<'_>,
    input: Tensor<E>,
) -> Vec<Tensor<E>> {
    let blob = model.blob();
    let mut values = vec![input];
    let mut quants = vec![network.input().quant];
    for op in network.ops() {
        let of = |value: u16| (&values[usize::from(value)], quants[usize::from(value)]);
        let (x, quant) = of(op.inputs()[0]);
        let (y, out) = match &op {
            Op::Conv2d(conv) => (conv2d(conv, x, quant, blob), conv.out),
            Op::UpConv(conv) => (upconv(conv, x, quant, blob), conv.out),
            Op::Add(add) => {
                let (skip, skip_quant) = of(add.skip);
                let pairs = x.data.iter().zip(&skip.data);
                let zeros = [quant.zero, skip_quant.zero];
                let data = pairs.map(|(&a, &b)| E::sum(a, b, zeros, add)).collect();
                (Tensor { data, ..*x }, add.out)
            }
            Op::Relu(_) => (
                Tensor {
                    data: x.data.iter().map(|x| x.cut(quant)).collect(),
                    ..*x
                },
                quant,
            ),
            Op::DepthToSpace(op) => (depth_to_space(x, op.factor.into()), quant),
            Op::SpaceToDepth(op) => (space_to_depth(x, op.factor.into()), quant),
            Op::Activation(op) => {
                let data = x.data.iter().map(|x| x.curve(blob, op)).collect();
                (Tensor { data, ..*x }, op.out)
            }
            Op::GroupNorm(op) => (group_norm(op, x, blob), quant),
            Op::Attention(op) => {
                let (keys, values) = (of(op.keys).0, of(op.values).0);
                (attention(usize::from(op.heads), x, keys, values), quant)
            }
        };
        values.push(y);
        quants.push(out);
    }
    values
}

/// The number at a place that may lie outside, where all is 0.
fn padded<E: Arithmetic>(x: &Tensor<E>, quant: Quant, y: isize, column: isize, c: usize) -> E {
    let inside = (0..x.h as isize).contains(&y) && (0..x.w as isize).contains(&column);
    if inside {
        x.at(y as usize, column as usize, c)
    } else {
        E::nought(quant)
    }
}

fn conv2d<E: Arithmetic>(op: &Conv2d, x: &Tensor<E>, quant: Quant, blob: &[u8]) -> Tensor<E> {
    let (s, channels) = (usize::from(op.stride), usize::from(op.out_channels));
    let (kh, kw) = (usize::from(op.kernel.height), usize::from(op.kernel.width));
    let mut out = Tensor::filled(x.h / s, x.w / s, channels, E::nought(op.out));
    for (y, column, co) in places(&out) {
        let mut sum = E::bias(blob, op.params, co);
        for (i, j, ci) in places(&Tensor::<u8>::filled(kh, kw, x.c, 0)) {
            let row = (y * s + i) as isize - isize::from(op.pad.top as i8);
            let col = (column * s + j) as isize - isize::from(op.pad.left as i8);
            let weight = E::load(blob, op.weights, ((co * kh + i) * kw + j) * x.c + ci);
            sum = E::product(sum, padded(x, quant, row, col, ci), weight);
        }
        let channel = Channel {
            index: co,
            count: channels,
        };
        out.set(
            y,
            column,
            co,
            E::result(sum, blob, op.params, channel, op.out, op.relu),
        );
    }
    out
}

fn upconv<E: Arithmetic>(op: &UpConv, x: &Tensor<E>, quant: Quant, blob: &[u8]) -> Tensor<E> {
    let channels = usize::from(op.out_channels);
    let mut out = Tensor::filled(x.h * 2, x.w * 2, channels, E::nought(op.out));
    for (y, column, co) in places(&out) {
        let index = (y % 2 * 2 + column % 2) * channels + co;
        let mut sum = E::bias(blob, op.params, index);
        for (i, j, ci) in places(&Tensor::<u8>::filled(2, 2, x.c, 0)) {
            let row = (y / 2 + y % 2 + i) as isize - 1;
            let col = (column / 2 + column % 2 + j) as isize - 1;
            let weight = E::load(blob, op.weights, ((index * 2 + i) * 2 + j) * x.c + ci);
            sum = E::product(sum, padded(x, quant, row, col, ci), weight);
        }
        let channel = Channel {
            index,
            count: 4 * channels,
        };
        out.set(
            y,
            column,
            co,
            E::result(sum, blob, op.params, channel, op.out, op.relu),
        );
    }
    out
}

fn depth_to_space<E: Copy>(x: &Tensor<E>, f: usize) -> Tensor<E> {
    let mut out = Tensor::filled(x.h * f, x.w * f, x.c / (f * f), x.data[0]);
    for (y, column, c) in places(&out) {
        out.set(
            y,
            column,
            c,
            x.at(y / f, column / f, c * f * f + y % f * f + column % f),
        );
    }
    out
}

fn space_to_depth<E: Copy>(x: &Tensor<E>, f: usize) -> Tensor<E> {
    let mut out = Tensor::filled(x.h / f, x.w / f, x.c * f * f, x.data[0]);
    for (y, column, c) in places(&out) {
        let (fy, fx) = (c / f % f, c % f);
        out.set(y, column, c, x.at(y * f + fy, column * f + fx, c / (f * f)));
    }
    out
}

fn group_norm<E: Arithmetic>(op: &GroupNorm, x: &Tensor<E>, blob: &[u8]) -> Tensor<E> {
    let size = x.c / usize::from(op.groups);
    let count = (x.h * x.w * size) as f32;
    let mut out = x.clone();
    for first in (0..x.c).step_by(size) {
        let sum = |of: &dyn Fn(f32) -> f32| {
            let mut sum = 0.0;
            for y in 0..x.h {
                let mut row = 0.0;
                for (column, c) in (0..x.w * size).map(|i| (i / size, first + i % size)) {
                    row += of(x.at(y, column, c).single());
                }
                sum += row;
            }
            sum
        };
        let mean = sum(&|x| x) / count;
        let variance = sum(&|x| (x - mean) * (x - mean)) / count;
        let root = inverse_root(variance + op.eps);
        for (y, column, c) in places(x).filter(|&(_, _, c)| c / size == first / size) {
            let gain = <f32 as Arithmetic>::load(blob, op.params, c);
            let bias = <f32 as Arithmetic>::load(blob, op.params, x.c + c);
            let u = (x.at(y, column, c).single() - mean) * (root * gain) + bias;
            let u = if op.silu {
                curve(ActivationKind::Silu, u)
            } else {
                u
            };
            out.set(y, column, c, E::stored(u));
        }
    }
    out
}

/// 1 / sqrt(v) by the letter of the format.
fn inverse_root(v: f32) -> f32 {
    let mut r = f32::from_bits(0x5f37_59df - v.to_bits() / 2);
    for _ in 0..3 {
        r *= 1.5 - v * 0.5 * r * r;
    }
    r
}

fn attention<E: Arithmetic>(
    heads: usize,
    queries: &Tensor<E>,
    keys: &Tensor<E>,
    values: &Tensor<E>,
) -> Tensor<E> {
    let (d, dv) = (keys.c / heads, values.c / heads);
    let area = keys.h * keys.w;
    let mut out = values.clone();
    for (p, head) in (0..area * heads).map(|i| (i / heads, i % heads)) {
        let score = |r: usize| {
            let own = head * d..(head + 1) * d;
            own.fold(0.0, |sum, c| {
                sum + queries.data[p * keys.c + c].single() * keys.data[r * keys.c + c].single()
            })
        };
        let scores: Vec<f32> = (0..area).map(score).collect();
        let most = scores.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let weights: Vec<f32> = scores.iter().map(|score| falling(most - score)).collect();
        let total = weights.iter().fold(0.0, |sum, weight| sum + weight);
        for c in head * dv..(head + 1) * dv {
            let terms = weights.iter().enumerate();
            let sum = terms.fold(0.0, |sum, (r, weight)| {
                sum + weight * values.data[r * values.c + c].single()
            });
            out.data[p * values.c + c] = E::stored(sum / total);
        }
    }
    out
}

/// All (row, column, channel) of a map, in the order of its numbers.
fn places<E>(map: &Tensor<E>) -> impl Iterator<Item = (usize, usize, usize)> + use<E> {
    let (w, c) = (map.w, map.c);
    (0..map.h * w * c).map(move |i| (i / c / w, i / c % w, i % c))
}

/// The latents that codes stand for, none of them missing.
pub fn embed<E: Arithmetic>(
    model: &Model<'_>,
    rows: usize,
    columns: usize,
    codes: &[u16],
) -> Tensor<E> {
    let dim = usize::from(model.dim());
    let mut latent = Tensor::filled(rows, columns, dim, E::nought(model.latent()));
    for (codebook, codes) in model.codebooks().iter().zip(codes.chunks(rows * columns)) {
        for (y, x, d) in places(&latent) {
            let code = usize::from(codes[y * columns + x]);
            let number = E::load(model.blob(), codebook.table, code * dim + d);
            latent.set(y, x, d, latent.at(y, x, d).plus(number));
        }
    }
    latent
}

/// The codes of latents, stage by stage.
pub fn quantise<E: Arithmetic>(model: &Model<'_>, mut latent: Tensor<E>) -> Vec<u16> {
    let dim = latent.c;
    let mut codes = Vec::new();
    for codebook in model.codebooks() {
        let number = |code: u16, d: usize| {
            E::load(model.blob(), codebook.table, usize::from(code) * dim + d)
        };
        for vector in latent.data.chunks_mut(dim) {
            // In the order and the precision of the format: f32 for floats, exact for integers.
            let distance = |code: u16| {
                let squares = vector
                    .iter()
                    .enumerate()
                    .map(|(d, x)| x.square(number(code, d)));
                match model.dtype() {
                    Dtype::I8 => squares.sum::<f64>(),
                    Dtype::F16 | Dtype::F32 => {
                        squares.fold(0f32, |sum, square| sum + square as f32).into()
                    }
                }
            };
            let best = (0..codebook.codes)
                .min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
                .unwrap();
            codes.push(best);
            for (d, x) in vector.iter_mut().enumerate() {
                *x = x.minus(number(best, d));
            }
        }
    }
    codes
}
