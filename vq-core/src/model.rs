//! A model file, proved: after [`Model::parse`] no accessor can fail. Nothing executes here.

use crate::bitstream::Stream;
use crate::curves::CURVE_LEN;
use crate::dtype::Dtype;
use crate::element::Element;
use crate::error::{Fault, FormatError, RunError};
use crate::format::container::{self, MAX_NAME};
use crate::format::{Codebook, Container, Entropy, Graph, Ops};
use crate::map::Map;
use crate::ops::{MAX_OPS, Op, RowRange, Tensors};
use crate::shape::{Grid, MAX_STAGES, PictureSize};
use crate::tensor::{Params, Quant, tensor};
#[cfg(feature = "alloc")]
use core::ops::Range;

/// A proved model, borrowed from the bytes of its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Model<'a> {
    container: Container<'a>,
    stream: Stream,
}

impl<'a> Model<'a> {
    /// Reads a `.vqm` file and proves it: checksum, version, every offset and length, shapes that
    /// chain from latent to pixels and back, numbers that keep the arithmetic from overflowing.
    ///
    /// # Errors
    /// What is wrong first, in the order of the file.
    pub fn parse(file: &'a [u8]) -> Result<Self, FormatError> {
        let container = container::decode(file)?;
        check_header(&container)?;
        let stream = stream_of(&container)?;
        let model = Self { container, stream };
        model.check_codebooks()?;
        // A file for senders has an encoder alone.
        if !model.decoder().is_empty() || model.encoder().is_none() {
            model
                .decoder()
                .check()
                .map_err(|(op, fault)| FormatError::Decoder { op, fault })?;
        }
        if let Some(encoder) = model.encoder() {
            encoder
                .check()
                .map_err(|(op, fault)| FormatError::Encoder { op, fault })?;
        }
        Ok(model)
    }

    /// What people call it; at most 32 bytes.
    pub fn name(&self) -> &'a str {
        self.container.name
    }

    /// Identity of the entropy model; see [`Container::code_id`].
    pub fn code_id(&self) -> u32 {
        self.container.code_id
    }

    /// What packets of this model's codes have in common.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Element type of weights and activations.
    pub fn dtype(&self) -> Dtype {
        self.container.dtype
    }

    /// Channels of a pixel, 1 or 3.
    pub fn channels(&self) -> u8 {
        self.container.channels
    }

    /// Pixels per code, each way; not zero.
    pub fn down(&self) -> u8 {
        self.container.down
    }

    /// The picture size that packets need not mention; not empty.
    pub fn native(&self) -> PictureSize {
        self.container.native
    }

    /// Channels of the latent, D; not zero.
    pub fn dim(&self) -> u16 {
        self.container.dim
    }

    /// Quantisation of the latent.
    pub fn latent(&self) -> Quant {
        self.container.latent
    }

    /// The codebooks, one for each stage, at least one.
    pub fn codebooks(&self) -> &[Codebook] {
        &self.container.codebooks
    }

    /// The entries \[K\]\[D\] of a codebook of this model, as they lie in the file.
    pub fn table(&self, codebook: Codebook) -> &'a [u8] {
        tensor(
            self.container.blob,
            codebook.table,
            self.table_len(codebook),
        )
        .unwrap_or(&[])
    }

    /// How codes are coded in packets.
    pub fn entropy(&self) -> Entropy {
        self.container.entropy
    }

    /// All tensors.
    pub fn blob(&self) -> &'a [u8] {
        self.container.blob
    }

    /// From latents to pixels; without an operator in a file for senders, which has an encoder alone.
    pub fn decoder(&self) -> Network<'a> {
        let (input, output) = (self.latent_map(), self.pixel_map());
        self.network(self.container.decoder, input, output)
    }

    /// From pixels to latents, where the model has it.
    pub fn encoder(&self) -> Option<Network<'a>> {
        let (input, output) = (self.pixel_map(), self.latent_map());
        self.container
            .encoder
            .map(|graph| self.network(graph, input, output))
    }

    fn network(&self, graph: Graph<'a>, input: Map, output: Map) -> Network<'a> {
        Network {
            graph,
            input,
            output,
            dtype: self.dtype(),
            down: self.down(),
            blob: self.container.blob,
        }
    }

    fn latent_map(&self) -> Map {
        Map {
            channels: self.dim(),
            density: 1,
            quant: self.latent(),
        }
    }

    fn pixel_map(&self) -> Map {
        Map {
            channels: self.channels().into(),
            density: self.down(),
            quant: Quant::pixel(self.dtype()),
        }
    }

    fn table_len(&self, codebook: Codebook) -> u64 {
        u64::from(codebook.codes) * u64::from(self.dim()) * self.dtype().size() as u64
    }

    fn check_codebooks(&self) -> Result<(), FormatError> {
        for (stage, &codebook) in self.codebooks().iter().enumerate() {
            let table = tensor(
                self.container.blob,
                codebook.table,
                self.table_len(codebook),
            );
            if table.is_none() {
                return Err(FormatError::Codebook { stage: stage as u8 });
            }
        }
        Ok(())
    }
}

/// What parsing has found out about a file, without the file: [`Detached::attach`] makes it a model again, and proves
/// nothing anew.
#[cfg(feature = "alloc")]
#[derive(Debug, Clone)]
pub(crate) struct Detached {
    /// Its borrowed fields are empty.
    container: Container<'static>,
    stream: Stream,
    name: Range<usize>,
    decoder: Range<usize>,
    encoder: Range<usize>,
    blob: Range<usize>,
}

#[cfg(feature = "alloc")]
impl Detached {
    /// Of a model that was parsed from this file.
    pub(crate) fn new(model: &Model<'_>, file: &[u8]) -> Self {
        let Container {
            name,
            code_id,
            dtype,
            channels,
            down,
            native,
            dim,
            latent,
            ref codebooks,
            entropy,
            decoder,
            encoder,
            pad: _,
            blob,
        } = model.container;
        let range = |part: &[u8]| {
            let start = part.as_ptr().addr().wrapping_sub(file.as_ptr().addr());
            start..start.wrapping_add(part.len())
        };
        let empty = |graph: Graph<'_>| Graph {
            count: graph.count,
            ops: &[],
        };
        Self {
            container: Container {
                name: "",
                code_id,
                dtype,
                channels,
                down,
                native,
                dim,
                latent,
                codebooks: codebooks.clone(),
                entropy,
                decoder: empty(decoder),
                encoder: encoder.map(empty),
                pad: &[],
                blob: &[],
            },
            stream: model.stream.clone(),
            name: range(name.as_bytes()),
            decoder: range(decoder.ops),
            encoder: encoder.map_or(0..0, |graph| range(graph.ops)),
            blob: range(blob),
        }
    }

    /// The element type of its weights.
    pub(crate) fn dtype(&self) -> Dtype {
        self.container.dtype
    }

    /// Channels of a pixel.
    pub(crate) fn channels(&self) -> u8 {
        self.container.channels
    }

    /// The model in the file, which is the same as before.
    pub(crate) fn attach<'a>(&self, file: &'a [u8]) -> Model<'a> {
        let part = |range: &Range<usize>| file.get(range.clone()).unwrap_or_default();
        let graph = |graph: Graph<'static>, range| Graph {
            count: graph.count,
            ops: part(range),
        };
        let container = Container {
            name: core::str::from_utf8(part(&self.name)).unwrap_or_default(),
            decoder: graph(self.container.decoder, &self.decoder),
            encoder: (self.container.encoder).map(|own| graph(own, &self.encoder)),
            blob: part(&self.blob),
            ..self.container.clone()
        };
        Model {
            container,
            stream: self.stream.clone(),
        }
    }
}

/// Whether this is the model's element type.
pub(crate) fn check_dtype<E: Element>(model: &Model<'_>) -> Result<(), RunError> {
    if model.dtype() == E::DTYPE {
        return Ok(());
    }
    Err(RunError::Dtype {
        model: model.dtype(),
        used: E::DTYPE,
    })
}

fn check_header(container: &Container<'_>) -> Result<(), FormatError> {
    if container.name.len() > MAX_NAME {
        return Err(FormatError::Name);
    }
    if !matches!(container.channels, 1 | 3) {
        return Err(FormatError::Channels(container.channels));
    }
    if container.down == 0 {
        return Err(FormatError::Down);
    }
    let latent = container.latent;
    if container.dim == 0 || !latent.is_valid(container.dtype) || latent.zero != 0 {
        return Err(FormatError::Latent);
    }
    Ok(())
}

/// The code space of a model whose header is checked.
fn stream_of(container: &Container<'_>) -> Result<Stream, FormatError> {
    let mut stages = heapless::Vec::<u16, MAX_STAGES>::new();
    for codebook in &container.codebooks {
        // A container has no more than there is room for.
        let _ = stages.push(codebook.codes);
    }
    if let Some(empty) = stages.iter().position(|&codes| codes == 0) {
        return Err(FormatError::Codebook { stage: empty as u8 });
    }
    if stages.is_empty() {
        return Err(FormatError::Codebook { stage: 0 });
    }
    let (id, down) = (container.code_id as u16, container.down.into());
    Stream::new(id, container.native, down, &stages).map_err(|_| FormatError::NativeSize)
}

/// One of a model's two graphs, with what is needed to understand it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network<'a> {
    graph: Graph<'a>,
    input: Map,
    output: Map,
    dtype: Dtype,
    down: u8,
    blob: &'a [u8],
}

impl<'a> Network<'a> {
    /// The graph's input, value 0.
    pub fn input(&self) -> Map {
        self.input
    }

    /// The graph's output, the last value.
    pub fn output(&self) -> Map {
        self.output
    }

    /// The operators in the order in which they run.
    pub fn ops(&self) -> impl Iterator<Item = Op> + use<'a> {
        self.graph.ops().map_while(Result::ok)
    }

    /// Number of operators, at most [`MAX_OPS`].
    pub fn len(&self) -> usize {
        self.graph.count.into()
    }

    /// Whether there is no operator: so is the decoder of a file for senders.
    pub fn is_empty(&self) -> bool {
        self.graph.count == 0 && self.graph.ops.is_empty()
    }

    /// The operators with the shapes of what they read and write.
    ///
    /// The iterator holds a table of [`MAX_OPS`] shapes: 1.5 KiB.
    pub fn layers(&self) -> Layers<'a> {
        Layers::new(*self)
    }

    /// Whether an operator sees a whole map, so that a run's memory grows with the picture's height.
    pub fn sees_whole_map(&self) -> bool {
        self.ops().any(|op| op.sees_whole_map())
    }

    /// Points of the input around a point of it, in each direction, that the pixels there depend on: of a decoder, codes; all
    /// there can be, where an operator sees whole maps.
    pub fn reach(&self) -> u16 {
        if self.sees_whole_map() {
            return u16::MAX;
        }
        // Far from all borders; both ways at once, since columns and rows are asked the same.
        const CELL: i32 = 1 << 12;
        let points = i32::from(self.output.density) / i32::from(self.input.density).max(1);
        let mut needed = [RowRange::NONE; MAX_OPS + 1];
        let last = RowRange {
            first: CELL * points,
            last: CELL * points + points - 1,
        };
        let count = self.len().min(MAX_OPS);
        needed[count] = last;
        let mut ops: heapless::Vec<Op, MAX_OPS> = self.ops().collect();
        while let Some(op) = ops.pop() {
            let own = needed.get(ops.len() + 1).copied().unwrap_or(last);
            let [above, below] = [own.first, own.last].map(|y| op.windows(y, i32::MAX));
            let [left, right] = [own.first, own.last].map(|x| op.columns(x));
            for (i, input) in op.inputs().into_iter().enumerate() {
                if let Some(needed) = needed.get_mut(usize::from(input)) {
                    needed.first = needed.first.min(above[i].first).min(left.first);
                    needed.last = needed.last.max(below[i].last).max(right.last);
                }
            }
        }
        (CELL - needed[0].first).max(needed[0].last - CELL).max(0) as u16
    }

    /// Multiplications for a code grid of this size.
    pub fn macs(&self, grid: Grid) -> u64 {
        self.layers()
            .fold(0u64, |sum, layer| sum.saturating_add(layer.macs(grid)))
    }

    /// Multiplications for each pixel of a code grid of this size, rounded up.
    pub fn macs_per_pixel(&self, grid: Grid) -> u64 {
        let pixels = u64::from(grid.cells()) * u64::from(self.down).pow(2);
        self.macs(grid).div_ceil(pixels.max(1))
    }

    /// Bytes of weights, parameters and lookup tables; tensors that operators share count for each.
    pub fn tensor_bytes(&self) -> u64 {
        self.layers()
            .fold(0u64, |sum, layer| sum.saturating_add(layer.tensor_bytes))
    }

    /// Proves the graph; the operator's index stands beside the fault.
    fn check(&self) -> Result<(), (u16, Fault)> {
        let mut layers = self.layers();
        let mut used = heapless::Vec::<bool, { MAX_OPS + 1 }>::new();
        if self.is_empty() || used.resize(self.len() + 1, false).is_err() {
            return Err((self.graph.count, Fault::Count));
        }
        let mut bytes = 0;
        while let Some(layer) = layers.try_next() {
            let layer = layer.map_err(|fault| (layers.index, fault))?;
            bytes += Graph::encoded_len(&[layer.op]);
            self.check_layer(&layer)
                .map_err(|fault| (layer.index, fault))?;
            for input in layer.op.inputs() {
                if let Some(used) = used.get_mut(usize::from(input)) {
                    *used = true;
                }
            }
        }
        if let Some(value) = used.iter().take(self.len()).position(|&used| !used) {
            return Err((value as u16, Fault::Unused));
        }
        // Varints that are longer than need be; which operator has them is not looked for.
        if bytes != self.graph.ops.len() {
            return Err((self.graph.count, Fault::Message));
        }
        self.check_end(layers.output())
            .map_err(|fault| (self.graph.count, fault))
    }

    fn check_layer(&self, layer: &Layer) -> Result<(), Fault> {
        if !self.down.is_multiple_of(layer.output.density) {
            return Err(Fault::Density);
        }
        if let Some(table) = layer.op.table(self.dtype) {
            tensor(self.blob, table, CURVE_LEN as u64).ok_or(Fault::Table)?;
        }
        let Some(tensors) = layer.op.tensors(layer.input.channels) else {
            return Ok(());
        };
        let weights = tensors.weight_count * self.dtype.size() as u64;
        tensor(self.blob, tensors.weights, weights).ok_or(Fault::Weights)?;
        let params = Params::len(self.dtype, tensors.param_count);
        let params = tensor(self.blob, tensors.params, params).ok_or(Fault::Params)?;
        let params = Params::split(params, self.dtype, tensors.param_count as usize);
        if params.in_range() {
            Ok(())
        } else {
            Err(Fault::Params)
        }
    }

    fn check_end(&self, found: Map) -> Result<(), Fault> {
        if found.channels != self.output.channels {
            return Err(Fault::Channels);
        }
        if found.density != self.output.density {
            return Err(Fault::Density);
        }
        if found.quant == self.output.quant {
            Ok(())
        } else {
            Err(Fault::Quant)
        }
    }
}

/// An operator with the shapes of what it reads and writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layer {
    /// Its place among the operators; it writes value `index + 1`.
    pub index: u16,
    /// The operator.
    pub op: Op,
    /// The shape of the value that it reads, of several the first.
    pub input: Map,
    /// The shape of the value that it writes.
    pub output: Map,
    /// Multiplications for each code of the grid: by weights, and those of a normalisation.
    pub macs_per_code: u64,
    /// Multiplications for each pair of codes of the grid: those of an attention.
    pub macs_per_pair: u64,
    /// Bytes of its weights, parameters and lookup table.
    pub tensor_bytes: u64,
}

impl Layer {
    /// Multiplications for a code grid of this size.
    pub fn macs(&self, grid: Grid) -> u64 {
        let codes = u64::from(grid.cells());
        let pairs = codes.saturating_mul(codes);
        let single = self.macs_per_code.saturating_mul(codes);
        single.saturating_add(self.macs_per_pair.saturating_mul(pairs))
    }
}

/// See [`Network::layers`].
#[derive(Debug, Clone)]
pub struct Layers<'a> {
    ops: Ops<'a>,
    dtype: Dtype,
    index: u16,
    values: heapless::Vec<Map, { MAX_OPS + 1 }>,
}

impl<'a> Layers<'a> {
    fn new(network: Network<'a>) -> Self {
        let mut values = heapless::Vec::new();
        // The vector has room for MAX_OPS more.
        let _ = values.push(network.input);
        Self {
            ops: network.graph.ops(),
            dtype: network.dtype,
            index: 0,
            values,
        }
    }

    /// The last value found so far.
    fn output(&self) -> Map {
        self.values.last().copied().unwrap_or(Map::EMPTY)
    }

    fn try_next(&mut self) -> Option<Result<Layer, Fault>> {
        let op = self.ops.next()?;
        Some(op.and_then(|op| self.layer(op)))
    }

    fn layer(&mut self, op: Op) -> Result<Layer, Fault> {
        let value = |index: u16| {
            self.values
                .get(usize::from(index))
                .copied()
                .ok_or(Fault::Input)
        };
        let [first, second, third] = op.inputs();
        let inputs = [value(first)?, value(second)?, value(third)?];
        let [input, ..] = inputs;
        let output = op.output(inputs, self.dtype)?;
        self.values.push(output).map_err(|_| Fault::Count)?;
        let index = self.index;
        self.index += 1;
        let tensors = op.tensors(input.channels);
        let table = op.table(self.dtype).map_or(0, |_| CURVE_LEN as u64);
        let tensor_bytes = table + tensors.map_or(0, |tensors| self.bytes(tensors));
        Ok(Layer {
            index,
            op,
            input,
            output,
            macs_per_code: op.macs_per_code(input, output),
            macs_per_pair: op.macs_per_pair(inputs),
            tensor_bytes,
        })
    }

    fn bytes(&self, tensors: Tensors) -> u64 {
        tensors.weight_count * self.dtype.size() as u64
            + Params::len(self.dtype, tensors.param_count)
    }
}

impl Iterator for Layers<'_> {
    type Item = Layer;

    fn next(&mut self) -> Option<Layer> {
        self.try_next()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Conv2d;
    use crate::shape::{Kernel, Pad};

    const CONV: Op = Op::Conv2d(Conv2d {
        input: 0,
        out_channels: 1,
        kernel: Kernel {
            height: 1,
            width: 1,
        },
        stride: 1,
        pad: Pad {
            top: 0,
            left: 0,
            bottom: 0,
            right: 0,
        },
        relu: false,
        out: Quant::UNIT,
        weights: 0,
        params: 8,
    });

    /// A grey model with one pixel per code: two entries of two numbers, one 1x1 convolution.
    fn container<'a>(decoder: Graph<'a>, blob: &'a [u8]) -> Container<'a> {
        Container {
            name: "test",
            code_id: 0x1234_5678,
            dtype: Dtype::F32,
            channels: 1,
            down: 1,
            native: PictureSize {
                width: 2,
                height: 1,
            },
            dim: 2,
            latent: Quant::UNIT,
            codebooks: [Codebook { codes: 2, table: 0 }].into_iter().collect(),
            entropy: Entropy::Fixed,
            decoder,
            encoder: None,
            pad: &[],
            blob,
        }
    }

    fn parse(ops: &[Op], blob: &[u8]) -> Result<u64, FormatError> {
        let (mut graph, mut file) = ([0; 256], [0; 512]);
        let decoder = Graph::encode(ops, &mut graph).unwrap();
        let file = container::encode(&container(decoder, blob), &mut file)?;
        Model::parse(file).map(|model| {
            let grid = model.native().grid(model.down());
            model.decoder().macs_per_pixel(grid)
        })
    }

    #[test]
    fn a_whole_model_is_proved() {
        assert_eq!(parse(&[CONV], &[0; 16]), Ok(2));
    }

    #[test]
    fn faults_name_the_operator() {
        let fault = |op, fault| Err(FormatError::Decoder { op, fault });
        assert_eq!(parse(&[], &[0; 16]), fault(0, Fault::Count));
        assert_eq!(parse(&[CONV, CONV], &[0; 16]), fault(1, Fault::Unused));
    }
}
