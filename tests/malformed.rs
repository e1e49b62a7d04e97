//! Broken and hostile model files: an error that names the fault, or a model that runs.

use std::collections::BTreeSet;
use vq_core::bitstream::MISSING;
use vq_core::format::container::{CRC, PREAMBLE};
use vq_core::format::*;
use vq_core::{
    Backend, Codec, Direction, Error, Fault, FormatError, Model, PictureSize, PlanError, needs,
};
use vq_tests::draft::ConvShape;
use vq_tests::{Draft, Random};

/// A small model of each element type, and two whose graphs see whole maps.
fn files() -> Vec<Vec<u8>> {
    let models = [
        (0, Dtype::I8),
        (1, Dtype::F16),
        (2, Dtype::F32),
        (33, Dtype::F16),
        (97, Dtype::F32),
    ];
    let models = models.map(|(seed, dtype)| Draft::random(seed, dtype).file());
    assert!(models[3..].iter().all(|file| {
        let model = Model::parse(file).unwrap();
        let networks = [Some(model.decoder()), model.encoder()];
        networks.iter().flatten().all(|n| n.sees_whole_map())
    }));
    models.into()
}

#[test]
fn every_truncation_is_an_error() {
    for file in files() {
        for len in 0..file.len() {
            let stated = file.len() as u32;
            let expected = match len {
                0..PREAMBLE => FormatError::Truncated,
                _ => FormatError::Length { stated, found: len },
            };
            assert_eq!(
                Model::parse(&file[..len]).err(),
                Some(expected),
                "{len} bytes"
            );
        }
    }
}

#[test]
fn every_flipped_bit_is_an_error() {
    for mut file in files() {
        for bit in 0..file.len() * 8 {
            file[bit / 8] ^= 1 << (bit % 8);
            let found = Model::parse(&file).err();
            let expected = match bit / 8 {
                0..4 => matches!(found, Some(FormatError::Magic)),
                4..6 => matches!(found, Some(FormatError::Version(_))),
                6..8 => matches!(found, Some(FormatError::Reserved)),
                8..12 => matches!(found, Some(FormatError::Length { .. })),
                _ => matches!(found, Some(FormatError::Checksum)),
            };
            assert!(expected, "bit {bit}: {found:?}");
            file[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn longer_and_empty_files_are_errors() {
    for mut file in files() {
        file.push(0);
        assert!(matches!(
            Model::parse(&file),
            Err(FormatError::Length { .. })
        ));
        fix_preamble(&mut file);
        assert_eq!(Model::parse(&file).err(), Some(FormatError::Trailing));
    }
    assert_eq!(Model::parse(&[]).err(), Some(FormatError::Truncated));
}

/// FORMAT.md's example with a number of two bytes where one does, in the container and in an operator.
#[test]
fn longer_varints_than_needed_are_errors() {
    let longer = |at: usize, graph: u8| {
        let mut file = include_bytes!("golden/tiny.vqm").to_vec();
        file.splice(at..=at, [file[at] | 0x80, 0]);
        file[0x2a + usize::from(at < 0x2a)] += graph;
        // One zero less to align the blob.
        let pad = 0x41 + 1;
        file[pad] -= 1;
        file.remove(pad + 1);
        fix_preamble(&mut file);
        Model::parse(&file).err()
    };
    assert_eq!(longer(0x1d, 0), Some(FormatError::Message));
    let fault = Fault::Message;
    assert_eq!(longer(0x2d, 1), Some(FormatError::Decoder { op: 2, fault }));
}

/// Makes length and checksum right again, so that what lies behind them is looked at.
fn fix_preamble(file: &mut [u8]) {
    let len = file.len() as u32;
    file[8..12].copy_from_slice(&len.to_le_bytes());
    let crc = CRC.checksum(&file[PREAMBLE..]);
    file[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// Changes a few bytes, mostly where the operators are.
fn mutate(file: &mut Vec<u8>, random: &mut Random) {
    let head = 220.min(file.len() - PREAMBLE);
    for _ in 0..random.between(1, 3) {
        let span = if random.below(8) == 0 {
            file.len() - PREAMBLE
        } else {
            head
        };
        let at = PREAMBLE + random.below(span);
        match random.below(6) {
            0 => file[at] ^= 1 << random.below(8),
            1 => file[at] = random.pick(&[0, 1, 2, 4, 8, 127, 128, 255]),
            2 => file[at] = file[at].wrapping_add(1),
            3 => file[at] = random.bits() as u8,
            4 => drop(file.remove(at)),
            _ => file.insert(at, random.bits() as u8),
        }
    }
    fix_preamble(file);
}

/// Runs both graphs on a small picture, with codes of all kinds.
fn run(codec: &Codec, random: &mut Random) {
    let size = PictureSize {
        width: random.between(1, 9) as u16,
        height: random.between(1, 9) as u16,
    };
    let model = codec.model();
    let grid = size.grid(model.down());
    let area = usize::from(size.width) * usize::from(size.height);
    let bytes = area * usize::from(model.channels());
    let small = |direction, network: vq_core::model::Network<'_>| {
        let len = codec.with_plan(direction, size, |plan| plan.scratch_len());
        len.unwrap() < 1 << 22 && network.macs(grid) < 1 << 22
    };
    if model.decoder().is_empty() {
        let found = codec.with_plan(Direction::Decode, size, |plan| plan.scratch_len());
        assert_eq!(found, Err(Error::Plan(PlanError::NoDecoder)));
    } else if small(Direction::Decode, model.decoder()) {
        let count = grid.cells() as usize * model.codebooks().len();
        let codes = (0..count).map(|_| random.pick(&[0, 1, 2, 8, 77, 65534, MISSING]));
        let codes: Vec<u16> = codes.collect();
        assert_eq!(codec.decode(&codes, size).unwrap().len(), bytes);
    }
    let Some(encoder) = model.encoder() else {
        return;
    };
    if small(Direction::Encode, encoder) {
        let codes = codec.encode(&random.bytes(bytes), size).unwrap();
        let books = model.codebooks().iter();
        for (codes, book) in codes.chunks(grid.cells() as usize).zip(books) {
            assert!(codes.iter().all(|&code| code < book.codes));
        }
    }
}

fn survive(file: &[u8], random: &mut Random) -> Result<(), FormatError> {
    let codec = match Codec::new(file.to_vec()) {
        Ok(codec) => codec,
        Err(Error::Format(error)) => return Err(error),
        Err(error) => panic!("{error}"),
    };
    let model = codec.model();
    // A file for senders has an encoder alone.
    let networks = [Some(model.decoder()), model.encoder()].into_iter();
    let layers = networks.flatten().flat_map(|network| network.layers());
    assert_ne!(layers.filter(|l| !l.op.name().is_empty()).count(), 0);
    run(&codec, random);
    Ok(())
}

#[test]
fn mutated_files_are_refused_or_run() {
    let files = files();
    let mut random = Random::new(1);
    let (mut parsed, mut errors) = (0, BTreeSet::new());
    for round in 0..30_000 {
        let mut file = files[round % files.len()].clone();
        mutate(&mut file, &mut random);
        match survive(&file, &mut random) {
            Ok(()) => parsed += 1,
            Err(FormatError::Decoder { fault, .. } | FormatError::Encoder { fault, .. }) => {
                errors.insert(format!("{fault:?}"));
            }
            Err(error) => drop(errors.insert(format!("{error:?}").chars().take(8).collect())),
        }
    }
    // The test is worth something only if mutations reach both ends: models that still parse, and
    // faults of every kind.
    assert!(parsed > 1_000, "{parsed}");
    assert!(errors.len() > 15, "{errors:?}");
}

/// A valid grey integer model of one convolution, changed by `edit`, then parsed.
fn edited(edit: impl FnOnce(&mut Draft)) -> Option<FormatError> {
    let mut draft = Draft::new(5, Dtype::I8, 1, 1, 2, &[4]);
    let mut graph = draft.start(draft.latent_map());
    let kernel = Kernel {
        height: 3,
        width: 3,
    };
    let shape = ConvShape {
        out_channels: 1,
        kernel,
        stride: 1,
    };
    draft.conv(&mut graph, shape, false, Quant::PIXEL);
    draft.decoder = graph.ops;
    edit(&mut draft);
    Model::parse(&draft.file()).err()
}

/// The same with another convolution in its place.
fn conv_edited(edit: impl FnOnce(&mut Conv2d)) -> Option<FormatError> {
    edited(|draft| {
        let Op::Conv2d(conv) = &mut draft.decoder[0] else {
            unreachable!()
        };
        edit(conv);
    })
}

/// The same with an activation before it.
fn activation_edited(dtype: Dtype, edit: impl FnOnce(&mut Activation)) -> Option<FormatError> {
    let mut draft = Draft::new(5, dtype, 1, 1, 1, &[4]);
    let mut graph = draft.start(draft.latent_map());
    let kind = ActivationKind::LeakyRelu { slope: 0.2 };
    draft.activation(&mut graph, kind, Quant::pixel(dtype));
    draft.decoder = graph.ops;
    let Op::Activation(activation) = &mut draft.decoder[0] else {
        unreachable!()
    };
    edit(activation);
    Model::parse(&draft.file()).err()
}

/// The bytes of a convolution's parameters.
fn params_edited(edit: impl FnOnce(&mut [u8])) -> Option<FormatError> {
    edited(|draft| {
        let Op::Conv2d(conv) = draft.decoder[0] else {
            unreachable!()
        };
        edit(&mut draft.blob[conv.params as usize..]);
    })
}

#[test]
fn each_fault_has_its_name() {
    let decoder = |op, fault| Some(FormatError::Decoder { op, fault });
    assert_eq!(edited(|_| ()), None);
    assert_eq!(
        edited(|draft| draft.channels = 2),
        Some(FormatError::Channels(2))
    );
    assert_eq!(edited(|draft| draft.down = 0), Some(FormatError::Down));
    assert_eq!(edited(|draft| draft.dim = 0), Some(FormatError::Latent));
    assert_eq!(
        edited(|draft| draft.latent.zero = 1),
        Some(FormatError::Latent)
    );
    assert_eq!(
        edited(|draft| draft.latent.scale = f32::NAN),
        Some(FormatError::Latent)
    );
    let stage = |stage| Some(FormatError::Codebook { stage });
    assert_eq!(edited(|draft| draft.codebooks.clear()), stage(0));
    assert_eq!(edited(|draft| draft.codebooks[0].codes = 0), stage(0));
    assert_eq!(edited(|draft| draft.codebooks[0].table = 2), stage(0));
    assert_eq!(
        edited(|draft| draft.codebooks.push(Codebook {
            codes: 9999,
            table: 0
        })),
        stage(1)
    );

    let value = |input| Op::Relu(Relu { input });
    assert_eq!(
        edited(|draft| draft.decoder.clear()),
        decoder(0, Fault::Count)
    );
    assert_eq!(
        edited(|draft| draft.decoder.push(value(2))),
        decoder(1, Fault::Input)
    );
    assert_eq!(
        edited(|draft| draft.decoder.push(value(0))),
        decoder(1, Fault::Unused)
    );
    assert_eq!(
        conv_edited(|conv| conv.out_channels = 100),
        decoder(0, Fault::Weights)
    );
    assert_eq!(
        edited(|draft| draft.channels = 3),
        decoder(1, Fault::Channels)
    );
    assert_eq!(edited(|draft| draft.down = 2), decoder(1, Fault::Density));

    assert_eq!(
        conv_edited(|conv| conv.kernel.height = 0),
        decoder(0, Fault::Kernel)
    );
    assert_eq!(
        conv_edited(|conv| conv.kernel.width = 9),
        decoder(0, Fault::Kernel)
    );
    assert_eq!(
        conv_edited(|conv| conv.stride = 0),
        decoder(0, Fault::Kernel)
    );
    assert_eq!(
        conv_edited(|conv| conv.pad.top += 1),
        decoder(0, Fault::Padding)
    );
    assert_eq!(
        conv_edited(|conv| conv.pad.right = 255),
        decoder(0, Fault::Padding)
    );
    assert_eq!(
        conv_edited(|conv| conv.out_channels = 0),
        decoder(0, Fault::Channels)
    );
    assert_eq!(
        conv_edited(|conv| conv.stride = 2),
        decoder(0, Fault::Density)
    );
    assert_eq!(
        conv_edited(|conv| conv.out.zero = 1),
        decoder(1, Fault::Quant)
    );
    assert_eq!(
        conv_edited(|conv| conv.out.scale = 0.0),
        decoder(0, Fault::Quant)
    );
    assert_eq!(
        conv_edited(|conv| conv.weights += 1),
        decoder(0, Fault::Weights)
    );
    assert_eq!(
        conv_edited(|conv| conv.weights = u32::MAX - 3),
        decoder(0, Fault::Weights)
    );
    assert_eq!(
        conv_edited(|conv| conv.params += 4),
        decoder(0, Fault::Params)
    );

    let too_large = ((1 << 30) + 1i32).to_le_bytes();
    assert_eq!(
        params_edited(|bytes| bytes[..4].copy_from_slice(&too_large)),
        decoder(0, Fault::Params)
    );
    assert_eq!(
        params_edited(|bytes| bytes[4..8].fill(0)),
        decoder(0, Fault::Params)
    );
    assert_eq!(
        params_edited(|bytes| bytes[8] = 0),
        decoder(0, Fault::Params)
    );
    assert_eq!(
        params_edited(|bytes| bytes[8] = 63),
        decoder(0, Fault::Params)
    );
}

#[test]
fn each_fault_of_an_activation_has_its_name() {
    let decoder = |op, fault| Some(FormatError::Decoder { op, fault });
    for dtype in [Dtype::I8, Dtype::F16, Dtype::F32] {
        assert_eq!(activation_edited(dtype, |_| ()), None);
        assert_eq!(
            activation_edited(dtype, |op| op.input = 1),
            decoder(0, Fault::Input)
        );
        assert_eq!(
            activation_edited(dtype, |op| op.out.scale = f32::INFINITY),
            decoder(0, Fault::Quant)
        );
        for slope in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(
                activation_edited(dtype, |op| op.kind = ActivationKind::LeakyRelu { slope }),
                decoder(0, Fault::Slope)
            );
        }
        // Misaligned; beyond the blob; and in float files, where there is no table.
        for offset in [1, 4, u32::MAX - 3] {
            assert_eq!(
                activation_edited(dtype, |op| op.table += offset.min(u32::MAX - op.table)),
                decoder(0, Fault::Table)
            );
        }
    }
    assert_eq!(
        activation_edited(Dtype::I8, |op| op.out.zero = 1),
        decoder(1, Fault::Quant)
    );
}

/// A valid model of a normalisation, attention and a convolution, changed by `edit`, then parsed.
fn whole_map_edited(
    dtype: Dtype,
    edit: impl FnOnce(&mut GroupNorm, &mut Attention),
) -> Option<FormatError> {
    let mut draft = Draft::new(5, dtype, 1, 2, 6, &[4]);
    let mut graph = draft.start(draft.latent_map());
    draft.group_norm(&mut graph, 3, true);
    draft.attention(&mut graph, 0, 0, 2);
    draft.upconv(&mut graph, 1, false, Quant::pixel(dtype));
    draft.decoder = graph.ops;
    let [Op::GroupNorm(norm), Op::Attention(attention), _] = &mut draft.decoder[..] else {
        unreachable!()
    };
    edit(norm, attention);
    Model::parse(&draft.file()).err()
}

#[test]
fn each_fault_of_what_sees_whole_maps_has_its_name() {
    let decoder = |op, fault| Some(FormatError::Decoder { op, fault });
    for dtype in [Dtype::F16, Dtype::F32] {
        let norm = |edit: &dyn Fn(&mut GroupNorm)| whole_map_edited(dtype, |norm, _| edit(norm));
        let attention = |edit: &dyn Fn(&mut Attention)| whole_map_edited(dtype, |_, op| edit(op));
        assert_eq!(norm(&|_| ()), None);
        assert_eq!(norm(&|op| op.input = 1), decoder(0, Fault::Input));
        for groups in [0, 4, 7, u16::MAX] {
            assert_eq!(norm(&|op| op.groups = groups), decoder(0, Fault::Groups));
        }
        for eps in [0.0, -1e-6, f32::NAN, f32::INFINITY, 1e-40] {
            assert_eq!(norm(&|op| op.eps = eps), decoder(0, Fault::Epsilon));
        }
        // Misaligned; beyond the blob.
        assert_eq!(norm(&|op| op.params += 2), decoder(0, Fault::Params));
        for offset in [1 << 20, u32::MAX - 3] {
            assert_eq!(norm(&|op| op.params = offset), decoder(0, Fault::Params));
        }
        for heads in [0, 4, u16::MAX] {
            assert_eq!(attention(&|op| op.heads = heads), decoder(1, Fault::Groups));
        }
        for ahead in [2, u16::MAX] {
            assert_eq!(
                attention(&|op| op.queries = ahead),
                decoder(1, Fault::Input)
            );
            assert_eq!(attention(&|op| op.keys = ahead), decoder(1, Fault::Input));
            assert_eq!(attention(&|op| op.values = ahead), decoder(1, Fault::Input));
        }
        assert_eq!(
            attention(&|op| op.queries = 0),
            decoder(1, Fault::Unused),
            "the normalised value is left over"
        );
    }
    assert_eq!(
        whole_map_edited(Dtype::I8, |_, _| ()),
        decoder(0, Fault::Dtype)
    );
}

/// Attention reads maps of other operators: their channels and sizes must agree.
#[test]
fn attention_to_what_does_not_fit_is_an_error() {
    let parsed = |channels, doubled: bool, values_doubled: bool| {
        let mut draft = Draft::new(5, Dtype::F32, 1, 2, 6, &[4]);
        let mut graph = draft.start(draft.latent_map());
        draft.upconv(&mut graph, channels, false, Quant::UNIT);
        let (keys, values) = (u16::from(doubled), u16::from(values_doubled));
        draft.attention(&mut graph, keys, values, 1);
        draft.decoder = graph.ops;
        Model::parse(&draft.file()).err()
    };
    let fault = |fault| Some(FormatError::Decoder { op: 1, fault });
    assert_eq!(parsed(5, false, true), fault(Fault::Channels));
    assert_eq!(parsed(6, false, true), fault(Fault::Density));
    assert_eq!(parsed(6, true, false), fault(Fault::Density));
    let end = Some(FormatError::Decoder {
        op: 2,
        fault: Fault::Channels,
    });
    assert_eq!(parsed(6, true, true), end);
}

/// The largest picture that the format names, with a whole map of the most channels: too large for a
/// 32-bit machine, and a plan all the same.
#[test]
fn the_largest_whole_map_is_planned_in_time() {
    let mut draft = Draft::new(5, Dtype::F16, 1, 1, 1, &[1]);
    let mut graph = draft.start(draft.latent_map());
    for value in 0..MAX_OPS as u16 {
        if value % 2 == 0 {
            draft.group_norm(&mut graph, 1, false);
        } else {
            draft.attention(&mut graph, value - 1, value, 1);
        }
    }
    draft.decoder = graph.ops;
    let file = draft.file();
    let model = Model::parse(&file).unwrap();
    let size = PictureSize {
        width: u16::MAX,
        height: u16::MAX,
    };
    let start = std::time::Instant::now();
    let needs = needs(&model, Direction::Decode, size, Backend::best());
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    let rows = u64::from(u16::MAX);
    assert!(needs.unwrap().scratch as u64 > 2 * 3 * rows * rows);
}

#[test]
fn too_many_operators_are_refused() {
    let relus = |draft: &mut Draft, last: u16| {
        draft
            .decoder
            .extend((1..=last).map(|input| Op::Relu(Relu { input })));
    };
    assert_eq!(edited(|draft| relus(draft, MAX_OPS as u16 - 1)), None);
    // The writer refuses more, so the count is changed in the bytes: it stands before the first operator.
    let mut draft = Draft::new(5, Dtype::F32, 1, 1, 1, &[1]);
    draft.decoder = (0..MAX_OPS as u16)
        .map(|input| Op::Relu(Relu { input }))
        .collect();
    let mut file = draft.file();
    let count = file
        .windows(2)
        .position(|bytes| bytes == [0x80, 0x01])
        .unwrap();
    file[count] = 0x81;
    fix_preamble(&mut file);
    let fault = Fault::Count;
    assert!(
        matches!(Model::parse(&file), Err(FormatError::Decoder { fault: found, .. }) if found == fault)
    );
}
