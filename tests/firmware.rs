//! The firmware on QEMU's boards, mostly the Cortex-M4: its instruments, its limits, and that it decodes every bit as the
//! host does. Needs a bare-metal compiler and QEMU; `tests/setup.sh` provides both, and where one is
//! missing these tests fail and say so.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vq_core::bitstream::{CodedPicture, PacketError, Packets, frame_length};
use vq_core::format::{ActivationKind, Container, DepthToSpace, Dtype, Kernel, Op, container};
use vq_core::{Codec, Model, PictureSize};
use vq_tests::Random;
use vq_tests::draft::{ConvShape, Draft};
use vq_train::codec::CodecError;
use vq_train::flash::{self, Board, FlashError, Job, Payload};
use vq_train::strip;

fn job(payload: Payload) -> Job {
    on("mps2-an386", payload)
}

fn on(board: &str, payload: Payload) -> Job {
    Job {
        board: Board::find(board).unwrap(),
        payload,
        timeout: Duration::from_secs(300),
    }
}

/// A picture of random codes of this size, in packets of at most `packet_bytes`, without the lost ones.
fn packets(model: &[u8], size: PictureSize, packet_bytes: usize, lost: &[u16]) -> Vec<u8> {
    let model = Model::parse(model).unwrap();
    let stream = model.stream();
    let cells = stream.code_count(size).unwrap() / stream.stages().len();
    let mut random = Random::new(3);
    let mut codes = Vec::new();
    for &k in stream.stages() {
        codes.extend((0..cells).map(|_| random.below(k.into()) as u16));
    }
    let picture = CodedPicture {
        size,
        image: 5,
        codes: &codes,
    };
    let packets = Packets::new(stream, picture, packet_bytes).unwrap();
    assert!(lost.iter().all(|&index| index < packets.count()));
    let mut file = Vec::new();
    for index in (0..packets.count()).filter(|index| !lost.contains(index)) {
        let mut buffer = vec![0; packet_bytes];
        let packet = packets.write(index, &mut buffer).unwrap();
        file.extend(frame_length(packet).unwrap());
        file.extend_from_slice(packet);
    }
    file
}

/// A model of the shipped tier's shape: 128x128 pixels, 16x16 codes of 512, 2000 products a pixel.
fn micro() -> Vec<u8> {
    let mut draft = Draft::new(7, Dtype::I8, 3, 8, 8, &[512]);
    let mut graph = draft.start(draft.latent_map());
    let shape = |out_channels, side| ConvShape {
        out_channels,
        kernel: Kernel {
            height: side,
            width: side,
        },
        stride: 1,
    };
    let quant = draft.quant();
    draft.conv(&mut graph, shape(72, 3), true, quant);
    for _ in 0..2 {
        let skip = graph.last();
        draft.conv(&mut graph, shape(28, 3), true, quant);
        draft.conv(&mut graph, shape(72, 1), false, quant);
        draft.add(&mut graph, skip, true, quant);
    }
    draft.upconv(&mut graph, 32, true, quant);
    draft.upconv(&mut graph, 12, true, quant);
    let pixels = draft.pixel_map();
    draft.conv(&mut graph, shape(12, 3), false, pixels.quant);
    let input = graph.last();
    graph.push(Op::DepthToSpace(DepthToSpace { input, factor: 2 }), pixels);
    draft.decoder = graph.ops;
    let file = draft.file();
    let native = PictureSize {
        width: 128,
        height: 128,
    };
    let model = Container {
        native,
        ..container::decode(&file).unwrap()
    };
    let mut file = vec![0; container::encoded_len(&model)];
    container::encode(&model, &mut file).unwrap();
    file
}

/// What a model of this many MACs a pixel may take in flash and in scratch memory at its native size, in bytes: those of
/// its tier.
fn limits(macs_per_pixel: u64) -> (u64, Option<u64>) {
    match macs_per_pixel {
        0..=400 => (64 << 10, Some(24 << 10)),
        401..=2_000 => (256 << 10, Some(64 << 10)),
        _ => (2 << 20, None),
    }
}

/// Every curve, one behind the other, and in floats what sees whole maps, between two convolutions.
fn curves(dtype: Dtype) -> Vec<u8> {
    let mut draft = Draft::new(31, dtype, 1, 2, 3, &[64]);
    let mut graph = draft.start(draft.latent_map());
    let shape = |out_channels| ConvShape {
        out_channels,
        kernel: Kernel {
            height: 3,
            width: 3,
        },
        stride: 1,
    };
    let (quant, pixels) = (draft.quant(), draft.pixel_map());
    draft.conv(&mut graph, shape(5), false, quant);
    for kind in [
        ActivationKind::Silu,
        ActivationKind::LeakyRelu { slope: 0.2 },
        ActivationKind::Sigmoid,
        ActivationKind::Tanh,
    ] {
        draft.activation(&mut graph, kind, quant);
    }
    if dtype != Dtype::I8 {
        draft.group_norm(&mut graph, 5, true);
        let normed = graph.last();
        draft.attention(&mut graph, normed, normed, 1);
    }
    draft.conv(&mut graph, shape(4), false, pixels.quant);
    let input = graph.last();
    graph.push(Op::DepthToSpace(DepthToSpace { input, factor: 2 }), pixels);
    draft.decoder = graph.ops;
    draft.file()
}

/// The result, or the failure in words: what is missing and how to get it.
fn done<T>(result: Result<T, FlashError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// The number behind `key=` in a line.
fn value(line: &str, key: &str) -> i64 {
    let pair = line
        .split(' ')
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    pair.unwrap_or_else(|| panic!("{key} in {line:?}"))
        .parse()
        .unwrap()
}

#[test]
fn the_instruments_are_exact() {
    for board in flash::boards().unwrap() {
        let payload = Payload {
            model: curves(Dtype::I8),
            codes: Vec::new(),
        };
        assert_exact(&done(flash::selftest(&on(&board, payload))));
    }
}

fn assert_exact(text: &str) {
    let lines = |word: &'static str| text.lines().filter(move |line| line.starts_with(word));
    assert_eq!(
        (lines("loop").count(), lines("stack").count()),
        (3, 3),
        "{text}"
    );
    for line in lines("loop") {
        // Two instructions a turn, counted in steps of up to 63, and a few to read the counter.
        let beyond = value(line, "instructions") - 2 * value(line, "turns");
        assert!((-63..=120).contains(&beyond), "{line}");
    }
    for line in lines("stack") {
        let beyond = value(line, "used") - value(line, "frame");
        assert!((0..=256).contains(&beyond), "{line}");
    }
}

#[test]
fn every_element_type_decodes_to_the_hosts_bytes_with_packets_lost() {
    for (seed, dtype) in [(11, Dtype::I8), (12, Dtype::F16), (13, Dtype::F32)] {
        let file = Draft::random(seed, dtype).file();
        let model = strip::without_encoder(&file).unwrap();
        let codes = packets(
            &model,
            PictureSize {
                width: 61,
                height: 45,
            },
            20,
            &[1],
        );
        let flashed = done(flash::decode(&job(Payload { model, codes })));
        let report = flashed.report;
        assert!(report.identical, "{dtype:?}: {report:?}");
        assert!(report.missing > 0, "{dtype:?}: {report:?}");
        assert_eq!((flashed.picture.width, flashed.picture.height), (61, 45));
    }
}

#[test]
fn curves_give_the_hosts_bytes_on_the_board() {
    for dtype in [Dtype::I8, Dtype::F16, Dtype::F32] {
        let model = curves(dtype);
        let size = PictureSize {
            width: 31,
            height: 18,
        };
        let codes = packets(&model, size, 222, &[]);
        let report = done(flash::decode(&job(Payload { model, codes }))).report;
        assert!(report.identical, "{dtype:?}: {report:?}");
    }
}

#[test]
fn the_micro_tier_keeps_within_its_limits() {
    let model = micro();
    let native = Model::parse(&model).unwrap().native();
    let job = job(Payload {
        codes: packets(&model, native, 222, &[]),
        model,
    });
    let report = done(flash::decode(&job)).report;
    assert!(report.identical, "{report:?}");
    assert_eq!(report.missing, 0);
    assert_eq!(report.macs, 32_686_080);
    let limits = [
        (report.scratch_bytes, 1 << 10, 64 << 10),
        (report.stack_bytes, 256, 4 << 10),
        (
            report.flash_bytes,
            job.payload.model.len() as u64,
            256 << 10,
        ),
        (report.ram_bytes, report.scratch_bytes, 64 << 10),
    ];
    for (found, least, most) in limits {
        assert!((least..=most).contains(&found), "{report:?}");
    }
    let instructions = report.instructions.expect("QEMU counts instructions");
    let layers = done(flash::bench(&job));
    let products: u64 = layers.iter().map(|layer| layer.macs).sum();
    let measured: u64 = layers.iter().map(|layer| layer.cost).sum();
    assert_eq!(products, report.macs);
    // The parts add up to the whole, but for the looking on itself.
    assert!(
        measured.abs_diff(instructions) < instructions / 50,
        "{measured} of {instructions}"
    );
}

/// Boards whose kernels differ from each other, and those kernels' name.
const BACKENDS: [(&str, &str); 5] = [
    ("cortex-m0", "thumb1"),
    ("mps2-an385", "thumb2"),
    ("mps2-an386", "thumb2-dsp"),
    ("mps2-an505", "thumb2-dsp"),
    ("mps3-an547", "helium"),
];

#[test]
fn every_processors_kernels_give_the_numbers_of_the_reference() {
    for (board, backend) in BACKENDS {
        let payload = Payload {
            model: curves(Dtype::I8),
            codes: Vec::new(),
        };
        let text = done(flash::kernels(&on(board, payload)));
        assert_eq!(text, format!("kernels backend={backend} rows=10000\n"));
    }
}

#[test]
fn every_board_decodes_to_the_hosts_bytes() {
    let model = micro();
    for board in flash::boards().unwrap() {
        let size = PictureSize {
            // As much as fits the smallest board, else so much that there is an odd number of codes.
            width: if board == "microbit" { 16 } else { 40 },
            height: 24,
        };
        let codes = packets(&model, size, 222, &[]);
        let payload = Payload {
            model: model.clone(),
            codes,
        };
        let report = done(flash::decode(&on(&board, payload))).report;
        assert!(report.identical, "{report:?}");
    }
}

#[test]
fn every_shipped_model_decodes_to_the_hosts_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("vq-train/models");
    let files = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let models: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "vqm"))
        .collect();
    assert!(!models.is_empty(), "no models in {}", folder.display());
    for path in models {
        let model = strip::without_encoder(&fs::read(&path).unwrap()).unwrap();
        let native = Model::parse(&model).unwrap().native();
        let codes = packets(&model, native, 20, &[1]);
        let report = done(flash::decode(&job(Payload { model, codes }))).report;
        assert!(report.identical, "{}: {report:?}", path.display());
        assert!(report.missing > 0, "{}: {report:?}", path.display());
        let pixels = u64::from(native.width) * u64::from(native.height);
        let (flash, scratch) = limits(report.macs / pixels);
        assert!(
            report.flash_bytes <= flash
                && scratch.is_none_or(|limit| report.scratch_bytes <= limit)
                && report.stack_bytes <= 4 << 10,
            "{}: {report:?}",
            path.display()
        );
    }
}

#[test]
fn the_decoder_alone_is_flashed() {
    for (seed, dtype) in [(21, Dtype::I8), (22, Dtype::F16), (23, Dtype::F32)] {
        let file = Draft::random(seed, dtype).file();
        let stripped = strip::without_encoder(&file).unwrap();
        assert!(stripped.len() < file.len());
        let (whole, alone) = (
            Model::parse(&file).unwrap(),
            Model::parse(&stripped).unwrap(),
        );
        assert!(whole.encoder().is_some() && alone.encoder().is_none());
        assert_eq!(
            (whole.stream(), whole.name()),
            (alone.stream(), alone.name())
        );
        let size = PictureSize {
            width: 19,
            height: 7,
        };
        let codes = vec![0; whole.stream().code_count(size).unwrap()];
        let decode = |file: &[u8]| {
            let codec = Codec::new(file.to_vec()).unwrap();
            codec.decode(&codes, size).unwrap()
        };
        assert_eq!(decode(&file), decode(&stripped));
        // There is nothing more to take away.
        assert_eq!(strip::without_encoder(&stripped).unwrap(), stripped);
    }
}

#[test]
fn faults_are_named_on_the_host_and_on_the_board() {
    let model = micro();
    let size = PictureSize {
        width: 8,
        height: 8,
    };
    let mut codes = packets(&model, size, 222, &[]);
    *codes.last_mut().unwrap() ^= 1;
    let damaged = job(Payload {
        model: model.clone(),
        codes,
    });
    let refused = flash::decode(&damaged);
    assert!(matches!(
        refused,
        Err(FlashError::Codec(CodecError::Nothing(PacketError::Crc)))
    ));
    // `bench` leaves it to the board to notice.
    match flash::bench(&damaged) {
        Err(FlashError::Device(said)) => assert!(said.contains("no good packet"), "{said}"),
        other => panic!("{other:?}"),
    }
    let cut = job(Payload {
        model: model[..model.len() - 1].to_vec(),
        codes: Vec::new(),
    });
    assert!(matches!(
        flash::decode(&cut),
        Err(FlashError::Codec(CodecError::Format(_)))
    ));
}

#[test]
fn a_board_that_is_too_small_is_named() {
    let model = micro();
    let size = PictureSize {
        width: 128,
        height: 128,
    };
    let codes = packets(&model, size, 222, &[]);
    match flash::decode(&on("microbit", Payload { model, codes })) {
        Err(FlashError::TooLarge { region, bytes }) => {
            assert_eq!(region, "RAM");
            assert!((1..64 << 10).contains(&bytes), "{bytes}");
        }
        other => panic!("{other:?}"),
    }
}
