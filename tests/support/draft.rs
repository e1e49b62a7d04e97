//! Models of random numbers: written operator by operator, or drawn as a whole.

use crate::Random;
use half::f16;
use vq_core::format::container;
use vq_core::format::*;
use vq_core::{Codec, Map, PictureSize};

/// A model in the making. Values are numbered as in the format.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Where its numbers come from.
    pub random: Random,
    /// Element type.
    pub dtype: Dtype,
    /// Channels of a pixel.
    pub channels: u8,
    /// Pixels per code, each way.
    pub down: u8,
    /// Channels of the latent.
    pub dim: u16,
    /// Quantisation of the latent.
    pub latent: Quant,
    /// The codebooks.
    pub codebooks: Vec<Codebook>,
    /// Tensors so far.
    pub blob: Vec<u8>,
    /// The decoder's operators.
    pub decoder: Vec<Op>,
    /// The encoder's operators; no encoder if there are none.
    pub encoder: Vec<Op>,
}

/// A graph in the making.
#[derive(Debug)]
pub struct Drawn {
    /// The operators.
    pub ops: Vec<Op>,
    /// The values' shapes, the graph's input first.
    pub values: Vec<Map>,
}

impl Draft {
    /// A model without operators, with codebooks of these many codes.
    pub fn new(seed: u64, dtype: Dtype, channels: u8, down: u8, dim: u16, stages: &[u16]) -> Self {
        let latent = match dtype {
            Dtype::I8 => Quant {
                scale: 0.05,
                zero: 0,
            },
            Dtype::F16 | Dtype::F32 => Quant::UNIT,
        };
        let mut draft = Self {
            random: Random::new(seed),
            dtype,
            channels,
            down,
            dim,
            latent,
            codebooks: Vec::new(),
            blob: Vec::new(),
            decoder: Vec::new(),
            encoder: Vec::new(),
        };
        for &codes in stages {
            let table = draft.weights(usize::from(codes) * usize::from(dim), 1.0);
            draft.codebooks.push(Codebook { codes, table });
        }
        draft
    }

    /// A decoder and an encoder of all kinds of operators.
    pub fn random(seed: u64, dtype: Dtype) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let down = random.pick(&[1, 2, 3, 4, 6, 8]);
        let stages = [9u16, 5, 3];
        let stages = &stages[..random.between(1, 3) as usize];
        let (channels, dim) = (random.pick(&[1, 3]), random.between(1, 6) as u16);
        let mut draft = Self::new(seed, dtype, channels, down, dim, stages);
        draft.decoder = draft.drawn_decoder();
        draft.encoder = draft.drawn_encoder();
        draft
    }

    /// The file.
    pub fn file(&self) -> Vec<u8> {
        let mut decoder = vec![0; Graph::encoded_len(&self.decoder)];
        let mut encoder = vec![0; Graph::encoded_len(&self.encoder)];
        let encoder = Graph::encode(&self.encoder, &mut encoder).unwrap();
        let container = Container {
            name: "draft",
            code_id: 0xc0de_1d00,
            dtype: self.dtype,
            channels: self.channels,
            down: self.down,
            native: PictureSize {
                width: 8,
                height: 8,
            },
            dim: self.dim,
            latent: self.latent,
            codebooks: self.codebooks.iter().copied().collect(),
            entropy: Entropy::Fixed,
            decoder: Graph::encode(&self.decoder, &mut decoder).unwrap(),
            encoder: (encoder.count > 0).then_some(encoder),
            pad: &[],
            blob: &self.blob,
        };
        let mut file = vec![0; container::encoded_len(&container)];
        container::encode(&container, &mut file).unwrap();
        file
    }

    /// The model at work.
    pub fn codec(&self) -> Codec {
        Codec::new(self.file()).unwrap_or_else(|error| panic!("a draft that is no model: {error}"))
    }

    /// The shape of the latent, value 0 of the decoder.
    pub fn latent_map(&self) -> Map {
        Map {
            channels: self.dim,
            density: 1,
            quant: self.latent,
        }
    }

    /// The shape of the pixels, value 0 of the encoder.
    pub fn pixel_map(&self) -> Map {
        let channels = self.channels.into();
        Map {
            channels,
            density: self.down,
            quant: Quant::pixel(self.dtype),
        }
    }

    /// A graph that has only its input so far.
    pub fn start(&self, input: Map) -> Drawn {
        Drawn {
            ops: Vec::new(),
            values: vec![input],
        }
    }

    /// Appends a convolution of the last value; the padding is drawn from what is allowed.
    pub fn conv(&mut self, graph: &mut Drawn, shape: ConvShape, relu: bool, out: Quant) {
        let input = graph.values[graph.values.len() - 1];
        let ConvShape {
            out_channels,
            kernel,
            stride,
        } = shape;
        let taps =
            usize::from(kernel.height) * usize::from(kernel.width) * usize::from(input.channels);
        let (top, bottom) = self.padding(kernel.height, stride);
        let (left, right) = self.padding(kernel.width, stride);
        let op = Op::Conv2d(Conv2d {
            input: graph.last(),
            out_channels,
            kernel,
            stride,
            pad: Pad {
                top,
                left,
                bottom,
                right,
            },
            relu,
            out,
            weights: self.weights(taps * usize::from(out_channels), spread(taps)),
            params: self.params(out_channels.into(), taps),
        });
        let density = input.density / stride;
        graph.push(
            op,
            Map {
                channels: out_channels,
                density,
                quant: out,
            },
        );
    }

    /// Appends a convolution that doubles the last value.
    pub fn upconv(&mut self, graph: &mut Drawn, out_channels: u16, relu: bool, out: Quant) {
        let input = graph.values[graph.values.len() - 1];
        let taps = 4 * usize::from(input.channels);
        let op = Op::UpConv(UpConv {
            input: graph.last(),
            out_channels,
            relu,
            out,
            weights: self.weights(4 * taps * usize::from(out_channels), spread(taps)),
            params: self.params(4 * usize::from(out_channels), taps),
        });
        graph.push(
            op,
            Map {
                channels: out_channels,
                density: input.density * 2,
                quant: out,
            },
        );
    }

    /// Appends the sum of the last value and another of the same shape.
    pub fn add(&mut self, graph: &mut Drawn, skip: u16, relu: bool, out: Quant) {
        let input = graph.values[graph.values.len() - 1];
        let rescale = match self.dtype {
            Dtype::I8 => Rescale {
                input: self.random.between(1 << 15, 1 << 16),
                skip: self.random.between(1 << 15, 1 << 16),
                shift: 16,
            },
            Dtype::F16 | Dtype::F32 => Rescale::NONE,
        };
        let op = Op::Add(Add {
            input: graph.last(),
            skip,
            relu,
            out,
            rescale,
        });
        graph.push(
            op,
            Map {
                quant: out,
                ..input
            },
        );
    }

    /// Appends a curve of the last value; the integer type's is any function.
    pub fn activation(&mut self, graph: &mut Drawn, kind: ActivationKind, out: Quant) {
        let table = match self.dtype {
            Dtype::I8 => {
                let table = self.random.bytes(CURVE_LEN);
                self.tensor(&table)
            }
            Dtype::F16 | Dtype::F32 => 0,
        };
        let op = Op::Activation(Activation {
            input: graph.last(),
            kind,
            out,
            table,
        });
        let map = graph.values[graph.values.len() - 1];
        graph.push(op, Map { quant: out, ..map });
    }

    /// Appends a group normalisation of the last value, of a float type.
    pub fn group_norm(&mut self, graph: &mut Drawn, groups: u16, silu: bool) {
        let map = graph.values[graph.values.len() - 1];
        let numbers = 2 * usize::from(map.channels);
        let params: Vec<u8> = (0..numbers)
            .flat_map(|_| (1.5 * self.random.real()).to_le_bytes())
            .collect();
        let op = Op::GroupNorm(GroupNorm {
            input: graph.last(),
            groups,
            eps: self.random.pick(&[1e-6, 1e-5, 0.1]),
            silu,
            params: self.tensor(&params),
        });
        graph.push(op, map);
    }

    /// Appends attention from the last value to two others, of a float type.
    pub fn attention(&mut self, graph: &mut Drawn, keys: u16, values: u16, heads: u16) {
        let op = Op::Attention(Attention {
            queries: graph.last(),
            keys,
            values,
            heads,
        });
        let map = graph.values[usize::from(values)];
        let quant = Quant::UNIT;
        graph.push(op, Map { quant, ..map });
    }

    /// Attention from the last value to itself or earlier ones, where the map is small.
    fn any_attention(&mut self, graph: &mut Drawn, alike: &[u16]) {
        let map = graph.values[graph.values.len() - 1];
        if map.density > 2 {
            return;
        }
        let dense = |v: &u16| graph.values[usize::from(*v)].density == map.density;
        let dense: Vec<u16> = (0..=graph.last()).filter(dense).collect();
        let (keys, values) = (self.random.pick(alike), self.random.pick(&dense));
        let channels = [map.channels, graph.values[usize::from(values)].channels];
        let divides = |heads: &u16| channels.iter().all(|c| c.is_multiple_of(*heads));
        let heads: Vec<u16> = (1..=4).filter(divides).collect();
        let heads = self.random.pick(&heads);
        self.attention(graph, keys, values, heads);
    }

    /// Any curve.
    fn kind(&mut self) -> ActivationKind {
        let slope = self.random.real();
        self.random.pick(&[
            ActivationKind::Tanh,
            ActivationKind::Sigmoid,
            ActivationKind::Silu,
            ActivationKind::LeakyRelu { slope },
        ])
    }

    /// Any quantisation of this element type.
    pub fn quant(&mut self) -> Quant {
        match self.dtype {
            Dtype::I8 => Quant {
                scale: 0.1,
                zero: self.random.between(-128, 127) as i8,
            },
            Dtype::F16 | Dtype::F32 => Quant::UNIT,
        }
    }

    fn drawn_decoder(&mut self) -> Vec<Op> {
        let mut graph = self.start(self.latent_map());
        let target = self.pixel_map();
        while graph.values[graph.values.len() - 1].density != target.density {
            self.widen(&mut graph, target.density);
        }
        self.decorate(&mut graph);
        if self.random.below(2) == 0 {
            self.any_conv(&mut graph, target.channels, target.quant);
            return graph.ops;
        }
        // The last operator may also be one that moves or cuts values.
        let quant = target.quant;
        self.any_conv(&mut graph, target.channels, quant);
        let input = graph.last();
        graph.push(Op::Relu(Relu { input }), Map { quant, ..target });
        graph.ops
    }

    fn drawn_encoder(&mut self) -> Vec<Op> {
        let mut graph = self.start(self.pixel_map());
        self.decorate(&mut graph);
        while graph.values[graph.values.len() - 1].density != 1 {
            self.narrow(&mut graph);
            self.decorate(&mut graph);
        }
        self.any_conv(&mut graph, self.dim, self.latent);
        graph.ops
    }

    /// Multiplies the density by one of the factors that are missing.
    fn widen(&mut self, graph: &mut Drawn, target: u8) {
        self.decorate(graph);
        let missing = target / graph.values[graph.values.len() - 1].density;
        if missing.is_multiple_of(2) && self.random.below(2) == 0 {
            let (channels, quant) = (self.random.between(1, 6) as u16, self.quant());
            return self.upconv(graph, channels, self.random.clone().below(2) == 0, quant);
        }
        let factors: Vec<u8> = (2..=missing)
            .filter(|&f| missing.is_multiple_of(f))
            .collect();
        let factor = self.random.pick(&factors);
        let (channels, quant) = (self.random.between(1, 3) as u16, self.quant());
        self.any_conv(graph, channels * u16::from(factor).pow(2), quant);
        let map = graph.values[graph.values.len() - 1];
        let op = Op::DepthToSpace(DepthToSpace {
            input: graph.last(),
            factor,
        });
        graph.push(
            op,
            Map {
                channels,
                density: map.density * factor,
                ..map
            },
        );
    }

    /// Divides the density by one of its factors.
    fn narrow(&mut self, graph: &mut Drawn) {
        let map = graph.values[graph.values.len() - 1];
        let factors: Vec<u8> = (2..=map.density)
            .filter(|&f| map.density.is_multiple_of(f))
            .collect();
        let factor = self.random.pick(&factors);
        if self.random.below(2) == 0 {
            let channels = map.channels * u16::from(factor).pow(2);
            let op = Op::SpaceToDepth(SpaceToDepth {
                input: graph.last(),
                factor,
            });
            graph.push(
                op,
                Map {
                    channels,
                    density: map.density / factor,
                    ..map
                },
            );
        }
        let map = graph.values[graph.values.len() - 1];
        let stride = if map.density.is_multiple_of(factor) && factor <= 4 {
            factor
        } else {
            1
        };
        let side = |random: &mut Random| random.between(stride.into(), i32::from(stride) + 3) as u8;
        let kernel = Kernel {
            height: side(&mut self.random),
            width: side(&mut self.random),
        };
        let shape = ConvShape {
            out_channels: self.random.between(1, 6) as u16,
            kernel,
            stride,
        };
        let quant = self.quant();
        self.conv(graph, shape, true, quant);
    }

    /// Operators that keep the density: convolutions, cuts, curves, and sums with any earlier value; in
    /// floats also what sees the whole map.
    fn decorate(&mut self, graph: &mut Drawn) {
        for _ in 0..self.random.below(4) {
            let input = graph.last();
            let map = graph.values[usize::from(input)];
            let same = |other: &Map| other.channels == map.channels && other.density == map.density;
            let others: Vec<u16> = (0..=input)
                .filter(|&v| same(&graph.values[usize::from(v)]))
                .collect();
            let quant = self.quant();
            let kinds = if self.dtype == Dtype::I8 { 6 } else { 8 };
            match self.random.below(kinds) {
                0 => graph.push(Op::Relu(Relu { input }), map),
                1 | 2 => {
                    let skip = self.random.pick(&others);
                    self.add(graph, skip, quant.zero % 2 == 0, quant);
                }
                3 => {
                    let kind = self.kind();
                    self.activation(graph, kind, quant);
                }
                6 => {
                    let divides = |groups: &u16| map.channels.is_multiple_of(*groups);
                    let groups: Vec<u16> = (1..=map.channels).filter(divides).collect();
                    let groups = self.random.pick(&groups);
                    let silu = self.random.below(2) == 0;
                    self.group_norm(graph, groups, silu);
                }
                7 => self.any_attention(graph, &others),
                _ => {
                    let channels = self.random.pick(&[map.channels, 1, 2, 5]);
                    self.any_conv(graph, channels, quant);
                }
            }
        }
    }

    /// A convolution of stride 1 and any kernel.
    fn any_conv(&mut self, graph: &mut Drawn, out_channels: u16, out: Quant) {
        let side = |random: &mut Random| random.pick(&[1, 1, 2, 3, 3, 3, 4, 5, 8]);
        let kernel = Kernel {
            height: side(&mut self.random),
            width: side(&mut self.random),
        };
        let relu = self.random.below(2) == 0;
        self.conv(
            graph,
            ConvShape {
                out_channels,
                kernel,
                stride: 1,
            },
            relu,
            out,
        );
    }

    /// Padding before and behind that keeps n / stride.
    fn padding(&mut self, kernel: u8, stride: u8) -> (u8, u8) {
        let sum = self
            .random
            .between(i32::from(kernel - stride), i32::from(kernel) - 1);
        let before = self.random.between(0, sum);
        (before as u8, (sum - before) as u8)
    }

    /// Random weights in the blob, floats in -spread..spread.
    fn weights(&mut self, count: usize, spread: f32) -> u32 {
        let random = &mut self.random;
        let bytes: Vec<u8> = match self.dtype {
            Dtype::I8 => random.bytes(count),
            Dtype::F16 => (0..count)
                .flat_map(|_| f16::from_f32(random.real() * spread).to_le_bytes())
                .collect(),
            Dtype::F32 => (0..count)
                .flat_map(|_| (random.real() * spread).to_le_bytes())
                .collect(),
        };
        self.tensor(&bytes)
    }

    /// Random parameters: results fill most of the range, some saturate.
    fn params(&mut self, channels: usize, taps: usize) -> u32 {
        let random = &mut self.random;
        let mut bytes = Vec::new();
        if self.dtype != Dtype::I8 {
            bytes.extend((0..channels).flat_map(|_| random.real().to_le_bytes()));
            return self.tensor(&bytes);
        }
        let shift = 37 + taps.ilog2() as u8 / 2;
        bytes.extend((0..channels).flat_map(|_| random.between(-20_000, 20_000).to_le_bytes()));
        bytes.extend(
            (0..channels).flat_map(|_| random.between(1 << 30, i32::MAX - 1).to_le_bytes()),
        );
        bytes.extend((0..channels).map(|_| shift));
        self.tensor(&bytes)
    }

    fn tensor(&mut self, bytes: &[u8]) -> u32 {
        self.blob.resize(self.blob.len().next_multiple_of(4), 0);
        self.blob.extend(bytes);
        (self.blob.len() - bytes.len()) as u32
    }
}

/// What a convolution is, but for its numbers.
#[derive(Debug, Clone, Copy)]
pub struct ConvShape {
    /// Channels of the output.
    pub out_channels: u16,
    /// Sides of the kernel.
    pub kernel: Kernel,
    /// Step of the kernel.
    pub stride: u8,
}

impl Drawn {
    /// The number of the last value.
    pub fn last(&self) -> u16 {
        self.values.len() as u16 - 1
    }

    /// Appends an operator that makes a value of this shape.
    pub fn push(&mut self, op: Op, output: Map) {
        self.ops.push(op);
        self.values.push(output);
    }
}

/// Weights up to this size keep a sum of so many products as large as its terms.
fn spread(taps: usize) -> f32 {
    (1.5 / taps as f32).sqrt()
}
