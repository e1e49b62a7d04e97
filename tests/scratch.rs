//! The memory of a run: asked for beforehand, refused when too small, and never larger than needed.

use half::f16;
use std::sync::Mutex;
use vq_core::format::{Dtype, Kernel, MAX_OPS, Op, Quant};
use vq_core::plan::RingSize;
use vq_core::{
    Backend, Codec, Decoder, Decoding, Direction, Encoder, Encoding, Error, HasKernels, Memory,
    Model, NoProbe, Picture, PictureSize, Plan, PlanError, Probe, RunError, needs,
};
use vq_tests::Draft;
use vq_tests::draft::ConvShape;

/// Follows the rows of every value as they come about, and counts how many are needed at once.
struct Ledger {
    /// The operator that makes each value.
    ops: Vec<Option<Op>>,
    /// Rows of each value's map.
    heights: Vec<i32>,
    /// The value whose ring each value's rows lie in.
    homes: Vec<usize>,
    /// The next row of each value.
    next: Vec<i32>,
    /// The most rows needed at once.
    most: Vec<i32>,
    /// The first and the last step that writes to a value or reads it.
    lives: Vec<[usize; 2]>,
    steps: usize,
    running: Option<usize>,
    rows: i32,
}

impl Ledger {
    /// `rings` says which values have none of their own.
    fn new(model: &Model<'_>, size: PictureSize, rings: &[RingSize]) -> Self {
        let network = model.decoder();
        let mut ops: Vec<_> = [None].into_iter().chain(network.ops().map(Some)).collect();
        let homes: Vec<_> = (0..ops.len())
            .map(|value| home(&ops, rings, value))
            .collect();
        // Who reads what lies in another ring reads that ring; but for an addition to what lies in its own.
        for (value, op) in ops.iter_mut().enumerate() {
            // Nobody makes what is cut off as it is read.
            *op = op.filter(|op| homes[value] == value || !matches!(op, Op::Relu(_)));
            for input in op.iter_mut().flat_map(inputs) {
                let home = homes[usize::from(*input)];
                if home != value {
                    *input = home as u16;
                }
            }
        }
        let maps = [network.input()]
            .into_iter()
            .chain(network.layers().map(|layer| layer.output));
        let rows = i32::from(size.grid(model.down()).rows);
        let heights = maps.map(|map| rows * i32::from(map.density)).collect();
        let top = |value: usize| {
            ops.iter()
                .flatten()
                .filter(|op| reads(op, value))
                .map(top_padding)
                .max()
        };
        let next: Vec<_> = (0..ops.len())
            .map(|value| -top(value).unwrap_or(0))
            .collect();
        let most = vec![0; next.len()];
        let lives = vec![[usize::MAX, 0]; next.len()];
        Self {
            ops,
            heights,
            homes,
            next,
            most,
            lives,
            steps: 0,
            running: None,
            rows: 0,
        }
    }

    /// Books the step that has just ended.
    fn finish_step(&mut self) {
        let Some(value) = self.running else { return };
        // A step that showed no row made one of padding.
        self.next[value] += self.rows.max(1);
        let oldest = (0..self.ops.len())
            .filter_map(|reader| self.oldest(reader, value))
            .min();
        let needed = self.next[value] - oldest.unwrap_or(self.next[value]);
        self.most[value] = self.most[value].max(needed).max(self.rows);
    }

    /// Marks what the next step of a value uses.
    fn book(&mut self, value: usize) {
        let inside = (0..self.heights[value]).contains(&self.next[value]);
        let inputs = self.ops[value].filter(|_| inside).map(|op| op.inputs());
        let used = inputs.into_iter().flatten().map(usize::from);
        for used in used.chain([value]) {
            let [first, last] = &mut self.lives[self.homes[used]];
            (*first, *last) = ((*first).min(self.steps), self.steps);
        }
        self.steps += 1;
    }

    /// The most elements that are in use at once, of rings of these lengths.
    fn peak(&self, lens: &[usize]) -> usize {
        let alive = |&(value, &[first, last]): &(usize, &[usize; 2]), step| {
            // The caller reads the last value.
            first <= step && (step <= last || value + 1 == lens.len())
        };
        let at = |step| {
            let lives = self.lives.iter().enumerate();
            let used = lives.filter(|life| alive(life, step));
            used.map(|(value, _)| lens[value]).sum()
        };
        self.lives.iter().map(|life| at(life[0])).max().unwrap()
    }

    /// The first row of `value` that `reader` still needs.
    fn oldest(&self, reader: usize, value: usize) -> Option<i32> {
        let op = self.ops[reader].filter(|op| reads(op, value))?;
        let y = self.next[reader].max(0);
        (y < self.heights[reader]).then_some(match op {
            Op::Conv2d(op) => y * i32::from(op.stride) - i32::from(op.pad.top),
            Op::UpConv(_) => y / 2 - 1,
            Op::Add(_) | Op::Relu(_) | Op::Activation(_) => y,
            Op::DepthToSpace(op) => y / i32::from(op.factor),
            Op::SpaceToDepth(op) => y * i32::from(op.factor),
            Op::GroupNorm(_) => 0,
            Op::Attention(op) if [op.keys, op.values].contains(&(value as u16)) => 0,
            Op::Attention(_) => y,
        })
    }
}

fn reads(op: &Op, value: usize) -> bool {
    op.inputs().map(usize::from).contains(&value)
}

/// The value whose ring a value's rows lie in: its own; the addition's that alone reads a convolution; the one that a ReLU
/// reads which only convolutions read.
fn home(ops: &[Option<Op>], rings: &[RingSize], value: usize) -> usize {
    if rings[value].rows > 0 {
        return value;
    }
    let readers: Vec<_> = (0..ops.len())
        .filter(|&reader| ops[reader].is_some_and(|op| reads(&op, value)))
        .collect();
    let op = |value: usize| ops[value].unwrap();
    match op(value) {
        Op::Conv2d(_) => {
            assert!(matches!(op(readers[0]), Op::Add(_)) && readers.len() == 1);
            readers[0]
        }
        Op::Relu(relu) => {
            let convolve = |&reader: &usize| matches!(op(reader), Op::Conv2d(_) | Op::UpConv(_));
            assert!(!readers.is_empty() && readers.iter().all(convolve));
            usize::from(relu.input)
        }
        op => panic!("{op:?} has no ring"),
    }
}

/// The inputs of an operator, to be changed.
fn inputs(op: &mut Op) -> Vec<&mut u16> {
    match op {
        Op::Conv2d(op) => vec![&mut op.input],
        Op::UpConv(op) => vec![&mut op.input],
        Op::Add(op) => vec![&mut op.input, &mut op.skip],
        Op::Relu(op) => vec![&mut op.input],
        Op::DepthToSpace(op) => vec![&mut op.input],
        Op::SpaceToDepth(op) => vec![&mut op.input],
        Op::Activation(op) => vec![&mut op.input],
        Op::GroupNorm(op) => vec![&mut op.input],
        Op::Attention(op) => vec![&mut op.queries, &mut op.keys, &mut op.values],
    }
}

fn top_padding(op: &Op) -> i32 {
    match op {
        Op::Conv2d(op) => op.pad.top.into(),
        Op::UpConv(_) => 1,
        _ => 0,
    }
}

impl<E> Probe<E> for Ledger {
    fn before(&mut self, value: usize) {
        self.finish_step();
        self.book(value);
        self.running = Some(value);
        self.rows = 0;
    }

    fn after(&mut self, value: usize, y: u32, _: &[E]) {
        assert_eq!(Some(value), self.running);
        assert_eq!(
            self.next[value] + self.rows,
            y as i32,
            "rows of {value} come in order"
        );
        self.rows += 1;
    }
}

#[test]
fn rings_hold_exactly_what_a_whole_run_needs() {
    let plain = rings_are_exact::<i8>(Backend::Scalar);
    let gathered = rings_are_exact::<i8>(Backend::Thumb2Dsp);
    assert!(
        0 < plain && plain < gathered,
        "values without rings: {plain}, {gathered}"
    );
}

#[test]
fn rings_hold_exactly_what_whole_maps_need() {
    rings_are_exact::<f32>(Backend::Scalar);
    rings_are_exact::<f16>(Backend::Scalar);
}

/// How many values of drawn models had no ring of their own.
fn rings_are_exact<E: HasKernels>(backend: Backend) -> usize {
    let mut without = 0;
    for seed in 0..60 {
        let codec = Codec::on(backend, Draft::random(seed, E::DTYPE).file()).unwrap();
        let model = codec.model();
        for rows in [1, 2, 3, 9, 40] {
            let down = u16::from(model.down());
            let size = PictureSize {
                width: 3,
                height: rows * down,
            };
            let (rings, scratch, count) = planned(&codec, size, |plan| {
                let rings: Vec<_> = plan.rings().collect();
                (rings, plan.rings_len(), plan.code_count())
            });
            let len = |ring: &RingSize| ring.rows * ring.row_len + ring.state_len;
            let lens: Vec<_> = rings.iter().map(len).collect();
            let all = lens.iter().sum();

            let mut ledger = Ledger::new(&model, size, &rings);
            codec
                .decode_with::<E>(&mut ledger, &vec![0; count], size)
                .unwrap();
            ledger.finish_step();
            for (value, (ring, &most)) in rings.iter().zip(&ledger.most).enumerate() {
                let is_own = ledger.homes[value] == value;
                without += usize::from(!is_own);
                let expected = if is_own { most } else { 0 };
                assert_eq!(
                    ring.rows as i32, expected,
                    "model {seed}, {rows} rows of codes, value {value}"
                );
            }
            if model.decoder().sees_whole_map() {
                assert!(
                    (ledger.peak(&lens)..=all).contains(&scratch),
                    "model {seed}"
                );
            } else {
                assert_eq!(scratch, all, "model {seed}");
            }
        }
    }
    without
}

/// What the decoder's plan says.
fn planned<T>(codec: &Codec, size: PictureSize, look: impl FnOnce(&Plan<'_>) -> T) -> T {
    codec.with_plan(Direction::Decode, size, look).unwrap()
}

/// A normalisation keeps two singles a group, attention one a position; both see all rows of a map.
#[test]
fn whole_maps_cost_what_they_hold() {
    for (dtype, per_single) in [(Dtype::F32, 1), (Dtype::F16, 2)] {
        let mut draft = Draft::new(1, dtype, 1, 1, 6, &[4]);
        let mut graph = draft.start(draft.latent_map());
        draft.group_norm(&mut graph, 3, true);
        draft.attention(&mut graph, 1, 0, 2);
        let kernel = Kernel {
            height: 3,
            width: 3,
        };
        let shape = ConvShape {
            out_channels: 1,
            kernel,
            stride: 1,
        };
        draft.conv(&mut graph, shape, false, Quant::UNIT);
        draft.decoder = graph.ops;
        let codec = draft.codec();
        let size = PictureSize {
            width: 5,
            height: 70,
        };
        let found: Vec<_> = planned(&codec, size, |plan| {
            plan.rings().map(|r| (r.rows, r.state_len)).collect()
        });
        let expected = [
            (70, 0),
            (70, 2 * 3 * per_single),
            (3, 5 * 70 * per_single),
            (1, 0),
        ];
        assert_eq!(found, expected, "{dtype:?}");
        // Squares and products of the normalisation, scores, weighted sums, the convolution.
        let area = 5 * 70;
        let macs = area * 6 * 2 + area * area * (6 + 6) + area * 6 * 9;
        let model = codec.model();
        assert_eq!(model.decoder().macs(size.grid(1)), macs);
        assert!(model.decoder().sees_whole_map());
    }
}

/// Six normalisations, one behind the other.
fn chain() -> Draft {
    let mut draft = Draft::new(1, Dtype::F32, 1, 1, 1, &[4]);
    let mut graph = draft.start(draft.latent_map());
    for _ in 0..6 {
        draft.group_norm(&mut graph, 1, true);
    }
    draft.decoder = graph.ops;
    draft
}

/// The picture of the chain.
const CHAINED: PictureSize = PictureSize {
    width: 5,
    height: 70,
};

/// Bytes of the chain's scratch: two maps, each with two numbers of its own.
const CHAIN_BYTES: usize = 2 * (5 * 70 + 2) * size_of::<f32>();

/// A whole map that is done with makes room: of a chain, two are kept at a time, however long it is.
#[test]
fn whole_maps_share_their_place() {
    let file = chain().file();
    let model = Model::parse(&file).unwrap();
    for backend in Backend::ALL {
        let needs = needs(&model, Direction::Decode, CHAINED, backend).unwrap();
        assert_eq!((needs.values, needs.scratch), (7, CHAIN_BYTES));
    }
}

#[test]
fn too_small_a_memory_is_an_error_and_one_that_fits_is_enough() {
    let file = chain().file();
    let model = Model::parse(&file).unwrap();
    let mut memory = Memory::<7, CHAIN_BYTES>::new();
    assert!(Decoder::new(&model, CHAINED, &mut memory).is_ok());

    let mut memory = Memory::<7, { CHAIN_BYTES - 1 }>::new();
    let needed = CHAIN_BYTES / 4;
    let given = needed - 1;
    let error = RunError::Scratch { needed, given };
    let found = Decoder::new(&model, CHAINED, &mut memory).err();
    assert_eq!(found, Some(Error::Run(error)));

    let mut memory = Memory::<6, CHAIN_BYTES>::new();
    let (needed, given) = (7, 6);
    let error = PlanError::TooManyOps { needed, given };
    let found = Decoder::new(&model, CHAINED, &mut memory).err();
    assert_eq!(found, Some(Error::Plan(error)));
}

/// Of any model, in both directions: memory is refused exactly where it is smaller than what is asked for.
#[test]
fn needs_are_what_decoders_and_encoders_take() {
    const BYTES: usize = 6_001;
    let mut memory = Memory::<{ MAX_OPS + 1 }, BYTES>::new();
    let (mut enough, mut too_small) = (0, 0);
    for seed in 0..60 {
        let dtype = [Dtype::I8, Dtype::F16, Dtype::F32][seed as usize % 3];
        let file = Draft::random(seed, dtype).file();
        let model = Model::parse(&file).unwrap();
        for (direction, width) in [Direction::Decode, Direction::Encode]
            .into_iter()
            .flat_map(|direction| [1, 9, 24, 60].map(|width| (direction, width)))
        {
            let size = PictureSize { width, height: 10 };
            let needs = needs(&model, direction, size, Backend::best()).unwrap();
            let found = match direction {
                Direction::Decode => Decoder::new(&model, size, &mut memory).err(),
                Direction::Encode => Encoder::new(&model, size, &mut memory).err(),
            };
            let error = RunError::Scratch {
                needed: needs.scratch / dtype.size(),
                given: BYTES / dtype.size(),
            };
            let expected = (needs.scratch > BYTES).then_some(Error::Run(error));
            assert_eq!(found, expected, "model {seed}, {direction:?}, {size:?}");
            *[&mut enough, &mut too_small][usize::from(expected.is_some())] += 1;
        }
    }
    assert!(enough > 100 && too_small > 100, "{enough}, {too_small}");
}

#[test]
fn misuse_is_an_error() {
    let codec = Draft::random(7, Dtype::I8).codec();
    let model = codec.model();
    let size = model.native();
    let (count, row_bytes) = planned(&codec, size, |plan| (plan.code_count(), plan.row_bytes()));
    let codes = vec![0; count];

    let found = codec.decode_with::<f32>(&mut NoProbe, &codes, size).err();
    let error = RunError::Dtype {
        model: Dtype::I8,
        used: Dtype::F32,
    };
    assert_eq!(found, Some(Error::Run(error)));
    let (needed, given) = (count, count - 1);
    let error = RunError::Codes { needed, given };
    assert_eq!(
        codec.decode(&codes[1..], size).err(),
        Some(Error::Run(error))
    );
    let needed = row_bytes * usize::from(size.height);
    let given = needed - 1;
    let error = Some(Error::Run(RunError::Pixels { needed, given }));
    let mut pixels = vec![0; given];
    assert_eq!(codec.encode(&pixels, size).err(), error);
    let found = codec.decode_rows(&codes, size, 0..size.height, &mut pixels);
    assert_eq!(found.err(), error);

    let direction = Some(Error::Run(RunError::Direction));
    let found = codec.with_engine::<i8, _>(Direction::Encode, size, |engine| {
        Decoding::rows(engine, &codes, 0..1).map(drop)
    });
    assert_eq!(found.err(), direction);
    let pixels = &pixels[..];
    let found = codec.with_engine::<i8, _>(Direction::Decode, size, |engine| {
        Encoding::new(engine, Picture { pixels, row_bytes }).map(drop)
    });
    assert_eq!(found.err(), direction);
}

/// Room for every graph here.
static MEMORY: Mutex<Memory<{ MAX_OPS + 1 }, { 1 << 20 }>> = Mutex::new(Memory::new());

/// A memory or a decoder that was used before, for another picture, another graph or other elements, changes nothing.
#[test]
fn a_used_memory_is_as_good_as_a_new_one() {
    let mut memory = MEMORY.lock().unwrap();
    for seed in 0..60 {
        spoil(&mut memory);
        let dtype = [Dtype::I8, Dtype::F16, Dtype::F32][seed as usize % 3];
        let codec = Draft::random(seed, dtype).codec();
        let model = codec.model();
        let size = model.native();
        let count = size.grid(model.down()).cells() as usize * model.codebooks().len();
        let codes: Vec<u16> = (0..count as u16).map(|i| i % 3).collect();
        let mut found = Vec::<u8>::new();
        for _ in 0..2 {
            let mut decoder = Decoder::new(&model, size, &mut memory).unwrap();
            let mut row = vec![0; decoder.plan().row_bytes()];
            for _ in 0..2 {
                let mut rows = decoder.picture(&codes).unwrap();
                while rows.next_row(&mut row).unwrap().is_some() {
                    found.extend(&row);
                }
            }
        }
        let expected = codec.decode(&codes, size).unwrap();
        assert_eq!(found, expected.repeat(4), "model {seed}");
    }
}

/// Leaves the memory full of what is no number: a picture of such embeddings, as wide as fits.
fn spoil(memory: &mut Memory<{ MAX_OPS + 1 }, { 1 << 20 }>) {
    let mut draft = Draft::new(1, Dtype::F32, 1, 1, 64, &[1]);
    let mut graph = draft.start(draft.latent_map());
    let table = draft.codebooks[0].table as usize;
    draft.blob[table..][..64 * 4].fill(0xff);
    let kernel = Kernel {
        height: 1,
        width: 1,
    };
    let shape = ConvShape {
        out_channels: 1,
        kernel,
        stride: 1,
    };
    draft.conv(&mut graph, shape, false, Quant::UNIT);
    draft.decoder = graph.ops;
    let file = draft.file();
    let model = Model::parse(&file).unwrap();
    let size = PictureSize {
        width: 1_000,
        height: 1,
    };
    let mut decoder = Decoder::new(&model, size, memory).unwrap();
    let mut row = vec![0; 1_000];
    let codes = vec![0; 1_000];
    decoder.picture(&codes).unwrap().next_row(&mut row).unwrap();
}
