//! Packets as they come from the field: of several pictures, damaged, cut, and made to exhaust a reader.

use crate::Lab;
use serde_json::Value;
use vq_core::bitstream::Header;
use vq_train::packets::{frames, join};

const MICRO: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/micro.vqm"));

/// Seven packets of a picture, then seven of another, with the numbers 1 and 2.
const TWO_PICTURES: &[u8] = include_bytes!("packets/two-pictures.vqc");
/// Six packets of the first, and one without its last 20 bytes.
const CUT_TAIL: &[u8] = include_bytes!("packets/cut-tail.vqc");
/// Seven packets, and a byte.
const NEWLINE_TAIL: &[u8] = include_bytes!("packets/newline-tail.vqc");
/// Seven packets; a bit of the second is wrong.
const ONE_DAMAGED: &[u8] = include_bytes!("packets/one-damaged.vqc");
/// One packet: fragment 1 of 16383 of a picture of 65535x2048.
const HUGE_PICTURE: &[u8] = include_bytes!("packets/huge-picture.vqc");

/// Bytes of each file of seven packets.
const HALF: usize = TWO_PICTURES.len() / 2;

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("M.vqm", MICRO);
    lab.write("1.vqc", &TWO_PICTURES[..HALF]);
    lab.write("2.vqc", &TWO_PICTURES[HALF..]);
    for picture in ["1", "2"] {
        lab.ok(&format!("decode {picture}.vqc -m M.vqm -o {picture}.png"));
    }
    lab
}

fn packets(file: &[u8]) -> Vec<&[u8]> {
    frames(file).map(|frame| frame.packet.unwrap()).collect()
}

fn field(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap()
}

#[test]
fn several_pictures_in_one_file_all_come_out_whatever_their_order() {
    let lab = lab();
    let mut order = packets(TWO_PICTURES);
    for turn in 0..14 {
        lab.write("both.vqc", join(&order).unwrap());
        let report = lab.json("decode both.vqc -m M.vqm -o out.png");
        let counts = ["images", "packets_used", "packets_sent", "packets_refused"];
        let counts = counts.map(|name| field(&report, name));
        assert_eq!(counts, [2, 14, 14, 0], "{report}");
        // They are numbered in the order in which they begin.
        let first = Header::read(order[0]).unwrap().fragment.unwrap().image;
        let names = if first == 1 { ["1", "2"] } else { ["2", "1"] };
        for (i, name) in names.iter().enumerate() {
            let decoded = lab.read(&format!("out-{}.png", i + 1));
            assert_eq!(decoded, lab.read(&format!("{name}.png")));
        }
        assert!(!lab.path("out.png").exists());
        // Neither sorted nor alternating: 5 has no divisor in common with 14.
        order = (0..14).map(|i| order[(i * 5 + turn) % 14]).collect();
    }
    std::fs::create_dir(lab.path("folder")).unwrap();
    lab.write("folder/both.vqc", TWO_PICTURES);
    lab.write("folder/one.vqc", &TWO_PICTURES[..HALF]);
    assert_eq!(
        field(&lab.json("decode folder -m M.vqm -o pictures"), "images"),
        3
    );
    for (name, same) in [("both-1", "1"), ("both-2", "2"), ("one", "1")] {
        let decoded = lab.read(&format!("pictures/{name}.png"));
        assert_eq!(decoded, lab.read(&format!("{same}.png")));
    }
    // Two pictures that would have one name.
    lab.write("folder/both-2.vqc", &TWO_PICTURES[..HALF]);
    let outcome = lab.vq("decode folder -m M.vqm -o again");
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains("both-2.png: rename one"),
        "{}",
        outcome.stderr
    );
}

/// Whole pictures carry no number: those with other codes are others.
#[test]
fn whole_pictures_in_one_file_all_come_out() {
    let lab = lab();
    for name in ["a", "c"] {
        lab.ok(&format!(
            "encode photos/{name}.png -m M.vqm -o {name}.vqc --size 128x128"
        ));
        lab.ok(&format!("decode {name}.vqc -m M.vqm -o {name}.png"));
    }
    let [a, c] = ["a.vqc", "c.vqc"].map(|name| lab.read(name));
    lab.write("all.vqc", [&a[..], &c, &a].concat());
    let report = lab.json("decode all.vqc -m M.vqm -o all.png");
    assert_eq!(
        (field(&report, "images"), field(&report, "packets_repeated")),
        (2, 1)
    );
    assert_eq!(lab.read("all-1.png"), lab.read("a.png"));
    assert_eq!(lab.read("all-2.png"), lab.read("c.png"));
}

#[test]
fn a_damaged_file_loses_what_is_damaged() {
    let lab = lab();
    let whole = &TWO_PICTURES[..HALF];
    let starts: Vec<usize> = frames(whole).map(|frame| frame.at).collect();
    let mut length = whole.to_vec();
    length[starts[2]] ^= 0x20;
    let mut inserted = whole.to_vec();
    inserted.splice(starts[2]..starts[2], *b"stray");
    let mut cut = whole.to_vec();
    cut.drain(starts[2] + 6..starts[3] - 20);
    let (stray, end) = (
        "packet file: bytes that belong to no packet",
        "packet file: ends within a packet",
    );
    for (file, used, fault) in [
        (CUT_TAIL, 6, Some((starts[6], end))),
        (NEWLINE_TAIL, 7, Some((HALF, stray))),
        (ONE_DAMAGED, 6, Some((starts[1], "packet: damaged"))),
        (&length, 7, None),
        (&inserted, 7, Some((starts[2], stray))),
        (&cut, 6, Some((starts[2], stray))),
    ] {
        let refused = u64::from(fault.is_some());
        let word = fault.map_or(String::new(), |(at, why)| {
            format!("refused at byte {at}: {why}")
        });
        lab.write("bad.vqc", file);
        let outcome = lab.vq("decode bad.vqc -m M.vqm -o bad.png --json");
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(&word), "{word}: {}", outcome.stderr);
        let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let counts = ["images", "packets_used", "packets_refused"];
        assert_eq!(counts.map(|name| field(&report, name)), [1, used, refused]);
        let same = lab.read("bad.png") == lab.read("1.png");
        assert_eq!(same, used == 7);
    }
}

#[test]
fn info_has_a_line_for_each_packet_and_marks_the_damaged() {
    let lab = lab();
    for (file, line, packet) in [
        (ONE_DAMAGED, 1, true),
        (CUT_TAIL, 6, true),
        (NEWLINE_TAIL, 7, false),
    ] {
        lab.write("bad.vqc", file);
        let text = lab.ok("info bad.vqc");
        let report = lab.json("info bad.vqc");
        let infos = report["packets"].as_array().unwrap();
        assert_eq!(infos.len(), 7 + usize::from(!packet));
        assert_eq!(text.lines().count(), infos.len());
        for (i, (text, info)) in text.lines().zip(infos).enumerate() {
            assert_eq!(text.contains("DAMAGED"), i == line, "{text}");
            assert_eq!(info["damaged"].is_null(), i != line, "{info}");
            assert!(text.contains("image 1, packet") || i == line, "{text}");
        }
    }
}

/// It does so before it builds the firmware.
#[test]
fn flash_names_the_file_of_packets() {
    let lab = lab();
    lab.write("bad.vqc", &CUT_TAIL[..40]);
    let words = &["bad.vqc is no file of packets", "ends within a packet"];
    lab.refused("flash -m M.vqm --codes bad.vqc", words);
    let mut damaged = ONE_DAMAGED[..52].to_vec();
    damaged[20] ^= 1;
    lab.write("bad.vqc", damaged);
    let words = &[
        "bad.vqc: refused at byte 0",
        "bad.vqc: no packet of the picture is usable",
    ];
    lab.refused("flash -m M.vqm --codes bad.vqc", words);
}

#[test]
fn a_folder_is_decoded_past_a_bad_file() {
    let lab = lab();
    std::fs::create_dir(lab.path("received")).unwrap();
    for (name, file) in [
        ("1", &TWO_PICTURES[..HALF]),
        ("2", CUT_TAIL),
        ("3", &TWO_PICTURES[HALF..]),
    ] {
        lab.write(&format!("received/{name}.vqc"), file);
    }
    let report = lab.json("decode received -m M.vqm -o out");
    assert_eq!(
        (field(&report, "images"), field(&report, "packets_refused")),
        (3, 1)
    );
    lab.write("received/2.vqc", &CUT_TAIL[..40]);
    let outcome = lab.vq("decode received -m M.vqm -o again --json");
    assert_eq!(outcome.code, Some(1));
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(field(&report, "images"), 2);
    assert_eq!(report["skipped"], serde_json::json!(["received/2.vqc"]));
    assert!(
        outcome.stderr.contains("1 of 3 files could not be decoded"),
        "{}",
        outcome.stderr
    );
    for picture in ["1", "3"] {
        let name = format!("again/{picture}.png");
        assert_eq!(lab.read(&name), lab.read(&format!("out/{picture}.png")));
    }
}

#[test]
fn a_picture_far_larger_than_its_packets_is_refused_unless_asked_for() {
    let lab = lab();
    lab.write("huge.vqc", HUGE_PICTURE);
    let words = &[
        "huge.vqc",
        "of a picture of 65535x2048 has come",
        "--limit 135",
    ];
    lab.refused("decode huge.vqc -m M.vqm -o out.png", words);
    // It stands in nobody's way.
    lab.write("more.vqc", [HUGE_PICTURE, &TWO_PICTURES[..HALF]].concat());
    let report = lab.json("decode more.vqc -m M.vqm -o out.png");
    assert_eq!(
        (field(&report, "images"), field(&report, "packets_refused")),
        (1, 1)
    );
    assert_eq!(lab.read("out.png"), lab.read("1.png"));
    // One packet of many, of a picture that is above one limit and below the other.
    lab.ok("encode photos/a.png -m M.vqm -o a.vqc --size 128x128 --packet 20");
    let file = lab.read("a.vqc");
    let first = &packets(&file)[..1];
    lab.write("a.vqc", join(first).unwrap());
    lab.refused(
        "decode a.vqc -m M.vqm -o a.png --limit 0.01",
        &["a.vqc", "--limit 1 "],
    );
    lab.ok("decode a.vqc -m M.vqm -o a.png --limit 0.02");
}

#[test]
fn pictures_are_numbered_so_that_they_can_be_told_apart() {
    let lab = lab();
    let encode = "-m M.vqm --size 128x128 --packet 51";
    let number = |name: &str| {
        let file = lab.read(name);
        let header = Header::read(packets(&file)[0]).unwrap();
        header.fragment.unwrap().image
    };
    for (name, photo) in [("x", "a"), ("y", "c"), ("again", "a")] {
        lab.ok(&format!("encode photos/{photo}.png -o {name}.vqc {encode}"));
    }
    assert_ne!(number("x.vqc"), number("y.vqc"));
    assert_eq!(number("x.vqc"), number("again.vqc"));
    let [x, y] = ["x.vqc", "y.vqc"].map(|name| lab.read(name));
    let mixed: Vec<&[u8]> = packets(&x)[..4]
        .iter()
        .chain(&packets(&y)[4..])
        .copied()
        .collect();
    lab.write("mixed.vqc", join(&mixed).unwrap());
    assert_eq!(
        field(&lab.json("decode mixed.vqc -m M.vqm -o out.png"), "images"),
        2
    );
    // With a number, it is that; a folder counts on from it.
    lab.ok(&format!("encode photos -o codes --image 7 {encode}"));
    let numbers =
        ["a", "b", "c", "d.v1", "d.v2", "sub/a"].map(|name| number(&format!("codes/{name}.vqc")));
    assert_eq!(numbers, [7, 8, 9, 10, 11, 12]);
    // Without, the numbers in a folder differ.
    lab.ok(&format!("encode photos -o codes {encode}"));
    let numbers =
        ["a", "b", "c", "d.v1", "d.v2", "sub/a"].map(|name| number(&format!("codes/{name}.vqc")));
    assert!(
        numbers
            .iter()
            .all(|n| numbers.iter().filter(|m| *m == n).count() == 1)
    );
}
