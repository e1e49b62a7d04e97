//! Weights that go out and come back, and a model that PyTorch trained.
//!
//! `oracle/pytorch.py` trains the tutorial's model and writes its weights, a picture, and PyTorch's own codes
//! and reconstruction of it.

use crate::Lab;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use vq_train::codec::Codec;
use vq_train::picture::{Picture, Size};

/// What PyTorch makes of a picture.
struct Fixture {
    picture: Picture,
    codes: Vec<u16>,
    /// In 0..255, before rounding.
    reconstruction: Vec<f32>,
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(path)
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

impl Fixture {
    fn load() -> Fixture {
        let text = fs::read_to_string(repository("tests/oracle/pytorch.json")).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let size = Size {
            width: 32,
            height: 32,
        };
        let floats = bytes(&value["reconstruction"]);
        let float = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
        let codes = value["codes"].as_array().unwrap().iter();
        Fixture {
            picture: Picture::new(size, 3, bytes(&value["pixels"])),
            codes: codes.map(|c| c.as_u64().unwrap() as u16).collect(),
            reconstruction: floats.chunks_exact(4).map(float).collect(),
        }
    }

    /// Peak error and RMSE in steps of a byte against PyTorch's picture, which is clipped like ours.
    fn errors(&self, decoded: &Picture) -> (f64, f64) {
        assert_eq!(decoded.pixels.len(), self.reconstruction.len());
        let pairs = decoded.pixels.iter().zip(&self.reconstruction);
        let errors: Vec<f64> = pairs
            .map(|(&p, &v)| (f64::from(p) - f64::from(v.clamp(0.0, 255.0))).abs())
            .collect();
        let squares: f64 = errors.iter().map(|e| e * e).sum();
        let peak = errors.iter().fold(0.0, |a: f64, &e| a.max(e));
        (peak, (squares / errors.len() as f64).sqrt())
    }
}

/// PyTorch's picture in `one/p.png`, its weights in `w.safetensors`, the layers in `c.toml`.
fn lab(fixture: &Fixture) -> Lab {
    let lab = Lab::new();
    fs::create_dir(lab.path("one")).unwrap();
    fixture.picture.save_png(&lab.path("one/p.png")).unwrap();
    lab.write(
        "w.safetensors",
        fs::read(repository("tests/oracle/pytorch.safetensors")).unwrap(),
    );
    lab.write(
        "c.toml",
        fs::read(repository("vq-train/tutorial/vqvae.toml")).unwrap(),
    );
    lab
}

#[test]
fn a_model_trained_in_pytorch_decodes_as_there() {
    let fixture = Fixture::load();
    let lab = lab(&fixture);
    let report = lab.json("import w.safetensors --config c.toml --out run --pixels -1..1");
    assert_eq!(report["unused"], serde_json::json!([]));
    let taken = report["taken"].as_array().unwrap();
    assert!(taken.contains(&serde_json::json!(["decoder.2.weight", "decoder.4.weight"])));
    assert!(taken.contains(&serde_json::json!([
        "quantizer.codebook",
        "codebook.weight"
    ])));
    // Rounding to bytes alone makes errors of up to 0.5 and an RMSE of 0.29.
    for (dtype, peak, rmse, same) in [
        ("f32", 0.51, 0.30, 64),
        ("f16", 0.8, 0.30, 64),
        ("i8", 4.0, 0.9, 58),
    ] {
        lab.ok(&format!(
            "export run -o m.vqm --dtype {dtype} --calibrate one"
        ));
        lab.ok("encode one/p.png -m m.vqm -o p.vqc");
        lab.ok("decode p.vqc -m m.vqm -o p.png");
        let codec = Codec::load(&lab.path("m.vqm")).unwrap();
        let codes = codec.encode(&fixture.picture).unwrap();
        let equal = codes
            .iter()
            .zip(&fixture.codes)
            .filter(|(a, b)| a == b)
            .count();
        let decoded = codec
            .decode(&fixture.codes, fixture.picture.size())
            .unwrap();
        let errors = fixture.errors(&decoded);
        println!(
            "{dtype}: peak {:.2}, RMSE {:.3}, {equal} of 64 codes",
            errors.0, errors.1
        );
        assert!(errors.0 <= peak && errors.1 <= rmse, "{dtype}: {errors:?}");
        assert!(equal >= same, "{dtype}: {equal} codes as in PyTorch");
        // The commands do the same as the library.
        let decoded = codec.decode(&codes, fixture.picture.size()).unwrap();
        assert_eq!(
            Picture::load(&lab.path("p.png")).unwrap().pixels,
            decoded.pixels
        );
    }
}

#[test]
fn without_the_range_of_pixels_the_picture_is_another() {
    let fixture = Fixture::load();
    let lab = lab(&fixture);
    lab.ok("import w.safetensors --config c.toml --out run");
    lab.ok("export run -o m.vqm --dtype f32");
    let codec = Codec::load(&lab.path("m.vqm")).unwrap();
    let decoded = codec
        .decode(&fixture.codes, fixture.picture.size())
        .unwrap();
    // 128 x + 128 of what 127.5 x + 127.5 was meant for.
    assert!(fixture.errors(&decoded).1 > 0.35);
}

#[test]
fn weights_that_went_out_come_back_to_the_bit() {
    let lab = Lab::trained();
    lab.ok("export run --safetensors w.safetensors");
    let report = lab.json("import w.safetensors --config tiny.toml --out back --data photos");
    assert_eq!(
        (&report["assumed"], &report["unused"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
    lab.ok("export back --safetensors again.safetensors");
    assert_eq!(lab.read("w.safetensors"), lab.read("again.safetensors"));
    for dtype in ["f32", "f16", "i8"] {
        lab.ok(&format!(
            "export back -o m.vqm --dtype {dtype} --calibrate photos"
        ));
        assert_eq!(lab.read("m.vqm"), lab.read(&format!("{dtype}.vqm")));
    }
    // What came back can be trained further.
    let report = lab.json("train back/config.toml --data photos --out back --resume");
    assert_eq!(
        (&report["steps"], &report["finished"]),
        (&30.into(), &true.into())
    );
}

#[test]
fn what_cannot_be_imported_is_refused_and_leaves_nothing() {
    let lab = Lab::trained();
    lab.ok("export run --safetensors w.safetensors");
    let with =
        |options: &str| format!("import w.safetensors --config tiny.toml --out new {options}");
    lab.refused(
        "import nowhere --config tiny.toml --out new",
        &["nowhere", "No such file"],
    );
    lab.refused(
        "import w.safetensors --config nowhere --out new",
        &["nowhere"],
    );
    lab.refused(&with("--map nowhere"), &["nowhere", "No such file"]);
    lab.refused(&with("--data nowhere"), &["nowhere"]);
    lab.refused(
        "import w.safetensors --config tiny.toml --out run",
        &["exists", "--out"],
    );
    for other in ["i8.vqm", "photos/a.png", "tiny.toml", "run/checkpoint.vqck"] {
        let line = format!("import {other} --config tiny.toml --out new");
        lab.refused(&line, &[other, "safetensors"]);
    }
    lab.write("cut.safetensors", &lab.read("w.safetensors")[..900]);
    lab.refused(
        "import cut.safetensors --config tiny.toml --out new",
        &["cut.safetensors"],
    );
    for pixels in ["1", "1..0", "nan..1", "0..inf"] {
        lab.refused(&with(&format!("--pixels {pixels}")), &["LOW..HIGH"]);
    }
    for (map, word) in [
        ("encoder.0 = 'lost'", "no lost.weight"),
        ("encoder.7 = 'encoder.0'", "encoder.7"),
        ("encoder.0 = 1", "map.toml"),
        ("=", "map.toml"),
    ] {
        lab.write("map.toml", map);
        lab.refused(&with("--map map.toml"), &[word]);
    }
    lab.write(
        "other.toml",
        crate::lab::CONFIG.replace("out = 8, kernel = 4", "out = 9, kernel = 4"),
    );
    let line = "import w.safetensors --config other.toml --out new";
    lab.refused(
        line,
        &["of another shape", "encoder.0", "[9, 3, 4, 4]", "--map"],
    );
    lab.refused("export run", &["--out"]);
    lab.refused("export run -o m.vqm --safetensors s", &["--safetensors"]);
    lab.refused("export run --dtype f16 --safetensors s", &["--safetensors"]);
    lab.refused("export nowhere --safetensors s", &["nowhere"]);
}
