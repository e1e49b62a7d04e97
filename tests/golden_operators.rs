//! The golden model with every operator of `i8` files: as it was written once, and as FORMAT.md tells it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use vq_core::bitstream::{Event, Frames, Receiver};
use vq_core::format::Op;
use vq_core::{Backend, Codec, Model};
use vq_tests::operators::{SIZE, files};
use vq_tests::reference;

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    fs::read(folder.join(name)).unwrap()
}

/// The pixels of a portable pixmap of the golden size.
fn pixels(name: &str) -> Vec<u8> {
    let file = golden(name);
    let header = b"P6\n11 6\n255\n";
    assert!(file.starts_with(header));
    file[header.len()..].to_vec()
}

/// The codes in FORMAT.md, stage by stage.
fn codes_of_the_text() -> Vec<u16> {
    let text = include_str!("../vq-core/FORMAT.md");
    let block = text.split("```codes\n").nth(1).unwrap();
    let words = block.split("```").next().unwrap().split_whitespace();
    words.map(|word| word.parse().unwrap()).collect()
}

#[test]
fn the_writer_writes_the_golden_files() {
    for file in files() {
        assert!(file.bytes == golden(file.name), "{}", file.name);
    }
}

/// What a reader may get wrong is in there.
#[test]
fn it_has_every_operator_and_padding_on_every_side() {
    let file = golden("operators.vqm");
    let model = Model::parse(&file).unwrap();
    let graphs = [model.decoder(), model.encoder().unwrap()];
    let ops: Vec<Op> = graphs.iter().flat_map(|graph| graph.ops()).collect();
    let names: BTreeSet<&str> = ops.iter().map(Op::name).collect();
    let all = [
        "add",
        "conv2d",
        "depth_to_space",
        "relu",
        "silu",
        "space_to_depth",
        "upconv",
    ];
    assert_eq!(names, all.into());
    let pads = ops.iter().filter_map(|op| match op {
        Op::Conv2d(op) => Some([op.pad.top, op.pad.left, op.pad.bottom, op.pad.right]),
        _ => None,
    });
    let pads: Vec<[u8; 4]> = pads.collect();
    assert!(
        (0..4).all(|side| pads.iter().any(|pad| pad[side] > 0)),
        "{pads:?}"
    );
    let decoded = pixels("operators-decoded.ppm");
    assert!(decoded.contains(&0) && decoded.contains(&255));
    let different: BTreeSet<u8> = decoded.into_iter().collect();
    assert!(different.len() > 50, "{different:?}");
}

#[test]
fn codes_and_pixels_are_those_of_the_text_and_of_the_plain_formulas() {
    let file = golden("operators.vqm");
    let model = Model::parse(&file).unwrap();
    let (original, decoded) = (
        pixels("operators-original.ppm"),
        pixels("operators-decoded.ppm"),
    );
    let codes = codes_of_the_text();
    assert_eq!(reference::encoded::<i8>(&model, SIZE, &original), codes);
    assert_eq!(reference::decoded::<i8>(&model, SIZE, &codes), decoded);
    // Those that this processor lacks are emulated.
    for backend in Backend::ALL {
        let codec = Codec::on(backend, file.clone()).unwrap();
        let name = backend.name();
        assert_eq!(codec.encode(&original, SIZE).unwrap(), codes, "{name}");
        assert_eq!(codec.decode(&codes, SIZE).unwrap(), decoded, "{name}");
    }
}

#[test]
fn packets_hold_these_codes() {
    let file = golden("operators.vqm");
    let model = Model::parse(&file).unwrap();
    for (name, count) in [("operators-whole.vqc", 1), ("operators-parts.vqc", 3)] {
        let packets = golden(name);
        let mut receiver = Receiver::new(model.stream(), [0; 12]);
        let events = Frames::new(&packets).map(|packet| receiver.push(packet.unwrap()).unwrap());
        assert_eq!(
            events.filter(|&event| event != Event::Repeated).count(),
            count
        );
        assert_eq!(receiver.codes(), codes_of_the_text());
    }
}
