//! Commands that fail: each says what is wrong with which file, and leaves nothing behind.

use crate::Lab;
use crate::lab::CONFIG;
use std::fs::File;
use std::process::Stdio;

#[test]
fn missing_files_are_named() {
    let lab = Lab::trained();
    let missing = &["nowhere", "No such file"];
    for line in [
        "train nowhere.toml",
        "train tiny.toml --data nowhere",
        "train tiny.toml --data photos --validation nowhere",
        "train tiny.toml --data photos --out new --from nowhere",
        "export nowhere -o m.vqm",
        "export run -o m.vqm --calibrate nowhere",
        "info nowhere.vqm",
        "encode nowhere.png -m i8.vqm -o o.vqc",
        "encode photos/a.png -m nowhere.vqm -o o.vqc",
        "decode nowhere.vqc -m i8.vqm -o o.png",
        "decode a.vqc -m nowhere.vqm -o o.png",
        "eval nowhere -m i8.vqm",
        "eval photos -m nowhere.vqm --json",
        "eval photos -m i8.vqm --lpips nowhere.safetensors",
        "bench -m nowhere.vqm --json",
        "flash -m nowhere.vqm --board mps2-an386",
    ] {
        lab.refused(line, missing);
    }
    lab.refused("train tiny.toml", &["--data"]);
    lab.refused("train tiny.toml --data photos=0", &["weight"]);
    lab.refused("export run -o m.vqm --dtype i8", &["--calibrate"]);
}

#[test]
fn a_file_of_another_kind_is_recognised() {
    let lab = Lab::trained();
    lab.write("empty", "");
    for other in [
        "a.vqc",
        "photos/a.png",
        "tiny.toml",
        "run/checkpoint.vqck",
        "empty",
    ] {
        for line in [
            format!("encode photos/a.png -m {other} -o o.vqc"),
            format!("decode a.vqc -m {other} -o o.png"),
            format!("eval photos -m {other}"),
            format!("bench -m {other}"),
        ] {
            lab.refused(&line, &[&format!("{other} is not a usable model")]);
        }
    }
    for other in [
        "i8.vqm",
        "photos/a.png",
        "tiny.toml",
        "run/checkpoint.vqck",
        "empty",
    ] {
        let line = format!("decode {other} -m i8.vqm -o o.png");
        lab.refused(&line, &[&format!("{other} is no file of packets")]);
    }
    lab.refused("decode i8.vqm -m i8.vqm -o o.png", &["it is a model"]);
    for other in ["i8.vqm", "a.vqc", "empty"] {
        lab.refused(&format!("export {other} -o m.vqm"), &[other, "checkpoint"]);
        let line = format!("encode {other} -m i8.vqm -o o.vqc");
        lab.refused(&line, &[other, "not a whole PNG"]);
    }
    for folder in ["photos", "run"] {
        lab.refused(&format!("info {folder}"), &[folder]);
        lab.refused(&format!("bench -m {folder}"), &[folder]);
    }
    lab.refused("decode photos -m i8.vqm -o o", &["photos", "no .vqc files"]);
    lab.refused("encode run/log.jsonl -m i8.vqm -o o.vqc", &["log.jsonl"]);
}

#[test]
fn damaged_models_and_checkpoints_are_refused() {
    let lab = Lab::trained();
    let model = lab.read("i8.vqm");
    let check = |bytes: &[u8]| {
        lab.write("bad.vqm", bytes);
        lab.refused("info bad.vqm", &["bad.vqm is not a usable model"]);
    };
    for length in [1, 15, 16, 40, model.len() / 2, model.len() - 1] {
        check(&model[..length]);
    }
    for at in [0, 4, 8, 12, 16, 60, model.len() / 2, model.len() - 1] {
        let mut flipped = model.clone();
        flipped[at] ^= 0x10;
        check(&flipped);
    }
    check(&[&model[..], b"more"].concat());
    let line = "decode a.vqc -m bad.vqm -o o.png";
    lab.refused(line, &["bad.vqm is not a usable model"]);
    let checkpoint = lab.read("run/checkpoint.vqck");
    lab.write("bad.vqck", &checkpoint[..checkpoint.len() - 7]);
    lab.refused("export bad.vqck -o m.vqm", &["bad.vqck", "cut short"]);
}

#[test]
fn damaged_packets_are_refused_and_the_others_used() {
    let lab = Lab::trained();
    let single = lab.read("a.vqc");
    for length in [1, 2, 10, single.len() - 1] {
        lab.write("bad.vqc", &single[..length]);
        let line = "decode bad.vqc -m i8.vqm -o o.png";
        let why = if length == 1 {
            "bytes that belong to no packet"
        } else {
            "ends within"
        };
        lab.refused(line, &["bad.vqc is no file of packets", why]);
        lab.refused("info bad.vqc", &["bad.vqc is no file of packets"]);
    }
    for at in 2..single.len() {
        let mut flipped = single.clone();
        flipped[at] ^= 1;
        lab.write("bad.vqc", flipped);
        let line = "decode bad.vqc -m i8.vqm -o o.png";
        lab.refused(line, &["bad.vqc: no packet of the picture is usable"]);
    }
    let mut several = lab.read("c.vqc");
    *several.last_mut().unwrap() ^= 1;
    lab.write("one-bad.vqc", several);
    let report = lab.json("decode one-bad.vqc -m i8.vqm -o o.png");
    assert_eq!(report["packets_refused"], 1);
}

#[test]
fn packets_of_another_model_are_refused() {
    let lab = Lab::trained();
    lab.ok("train tiny.toml --data photos --out other --seed 5 --steps 10");
    lab.ok("export other -o other.vqm --calibrate photos");
    let line = "decode a.vqc -m other.vqm -o o.png";
    lab.refused(line, &["a.vqc", "made with another model"]);
    lab.ok("export run -o bare.vqm --without-encoder --dtype f32");
    let line = "encode photos/a.png -m bare.vqm -o o.vqc";
    lab.refused(line, &["bare.vqm has no encoder"]);
    lab.refused("eval photos -m bare.vqm", &["bare.vqm has no encoder"]);
    lab.ok("decode a.vqc -m bare.vqm -o o.png");
}

#[test]
fn models_of_other_colours_are_not_measured_together() {
    let lab = Lab::trained();
    let grey = crate::lab::CONFIG.replace("channels = 3", "channels = 1");
    let grey = grey.replace("transposed = { out = 3 }", "transposed = { out = 1 }");
    lab.write("grey.toml", grey);
    lab.ok("train grey.toml --data photos --out grey --steps 5");
    lab.ok("export grey -o grey.vqm --calibrate photos");
    let line = "eval photos -m i8.vqm -m f16.vqm -m grey.vqm";
    lab.refused(line, &["grey.vqm is for grey pictures", "i8.vqm for RGB"]);
    let line = "eval photos -m i8.vqm -m nowhere.vqm";
    lab.refused(line, &["nowhere.vqm"]);
}

#[test]
fn options_out_of_range_are_named_before_any_work() {
    let lab = Lab::trained();
    let encode = "encode photos/a.png -m i8.vqm -o o.vqc";
    let decode = "decode a.vqc -m i8.vqm -o o.png";
    let eval = "eval photos -m i8.vqm";
    for size in ["0x0", "0x32", "70000x4", "65535x65535", "32", "axb", "-1x4"] {
        for line in [encode, eval, "bench -m i8.vqm"] {
            lab.refused(&format!("{line} --size={size}"), &["--size", size]);
        }
    }
    for packet in ["5", "19", "65536", "-1", "many"] {
        for line in [encode, eval] {
            lab.refused(&format!("{line} --packet={packet}"), &["--packet", packet]);
        }
    }
    for drop in ["200", "-1", "nan", "inf", "x"] {
        for line in [decode, eval] {
            lab.refused(&format!("{line} --drop {drop}"), &["--drop", drop]);
        }
    }
    lab.refused("bench -m i8.vqm --runs 0", &["--runs", "0"]);
    lab.refused("bench -m i8.vqm --backend magic", &["magic", "scalar"]);
    lab.refused("export run -o m.vqm --dtype f8", &["--dtype", "f8"]);
    lab.refused("eval photos -m i8.vqm --against gif", &["--against", "gif"]);
    lab.refused("flash -m i8.vqm --board toaster", &["toaster"]);
    let train = "train tiny.toml --data photos --out new";
    lab.refused(&format!("{train} --steps 0"), &["tiny.toml", "train.steps"]);
}

#[test]
fn configurations_are_refused_by_file_and_field() {
    let lab = Lab::new();
    let huge = "encoder = [ { unshuffle = 100 }, { unshuffle = 100 },";
    for (from, to, word) in [
        ("seed = 1", "sede = 1", "`sede`"),
        ("warmup = 5", "worm_up = 5", "`worm_up`"),
        (
            "{ conv = { out = 8, kernel",
            "{ konv = { out = 8, kernel",
            "`konv`",
        ),
        ("codes = 16", "codes = \"many\"", "codes = "),
        ("codes = 16", "codes = -1", "codes = -1"),
        ("codes = 16", "codes = 1", "quantizer.codes"),
        ("dim = 4", "dim = 5", "quantizer.dim"),
        (
            "dim = 4",
            "dim = 4\ncommitment = inf",
            "quantizer.commitment",
        ),
        ("[quantizer]\ncodes = 16\ndim = 4", "", "`quantizer`"),
        ("name = \"tiny\"", "name = \"\"", "name"),
        ("name = \"tiny\"", "][", "line 2"),
        ("size = [32, 32]", "size = [30, 32]", "data.size"),
        ("size = [32, 32]", "size = [32]", "size = "),
        ("kind = \"photos\"", "kind = \"films\"", "`films`"),
        ("holdout = 0.25", "holdout = 1.5", "data.holdout"),
        ("channels = 3", "channels = 2", "model.channels"),
        (
            "out = 8, kernel = 4",
            "out = 0, kernel = 4",
            "model.encoder[0]",
        ),
        ("kernel = 4", "kernel = 0", "model.encoder[0]"),
        ("kernel = 4", "kernel = 65535", "model.encoder[0]"),
        ("stride = 2", "stride = 0", "model.encoder[0]"),
        ("encoder = [", huge, "model.encoder[1]"),
        (
            "decoder = [",
            "decoder = [ { shuffle = 3 },",
            "model.decoder[0]",
        ),
        (
            "decoder = [",
            "decoder = [ { upsample = 2 },",
            "model.decoder",
        ),
        ("out = 3 }", "out = 4 }", "model.decoder"),
        (
            "holdout = 0.25",
            "path = 'a'\nmix = [{ path = 'b' }]",
            "data.mix",
        ),
        (
            "holdout = 0.25",
            "mix = [{ path = 'b', weight = 0 }]",
            "data.mix",
        ),
        ("warmup = 5", "lr = nan", "optimizer.lr"),
        ("warmup = 5", "ema = 1.0", "optimizer.ema"),
        (
            "warmup = 5",
            "schedule = 'step'\ndrops = 0",
            "optimizer.schedule",
        ),
        ("[train]", "[loss]\npixels = 0\n[train]", "loss.pixels"),
        (
            "[train]",
            "[gan]\npause_below = 0.5\n[train]",
            "gan.pause_below",
        ),
        (
            "[train]",
            "[gan]\nlearns_from = 1\n[train]",
            "gan.learns_from",
        ),
        (
            "[train]",
            "[gan]\ndiscriminator.layers = 6\n[train]",
            "gan.discriminator.layers",
        ),
        (
            "[train]",
            "[gan]\ndiscriminator.channels = 4096\n[train]",
            "gan.discriminator.channels",
        ),
        ("batch = 4", "batch = 0", "train.batch"),
        (
            "checkpoint_every = 5",
            "checkpoint_every = 0",
            "train.checkpoint_every",
        ),
    ] {
        assert!(CONFIG.contains(from), "{from}");
        lab.write("bad.toml", CONFIG.replacen(from, to, 1));
        let line = "train bad.toml --data photos --out run --json";
        lab.refused(line, &["bad.toml", word]);
    }
    lab.write("bad.toml", CONFIG.replace("[32, 32]", "[4096, 4096]"));
    let small = &["photos", "is smaller than a crop of 4096x4096"];
    lab.refused("train bad.toml --data photos --out run", small);
}

#[test]
fn outputs_that_cannot_be_written_are_named() {
    let lab = Lab::trained();
    // Below a file there is no folder, not even for root.
    for line in [
        "encode photos/a.png -m i8.vqm -o tiny.toml/o.vqc",
        "encode photos -m i8.vqm -o tiny.toml",
        "decode a.vqc -m i8.vqm -o tiny.toml/o.png",
        "export run -o tiny.toml/m.vqm --dtype f32",
        "eval photos -m i8.vqm --sheet tiny.toml/s.png",
    ] {
        lab.refused(line, &["cannot write tiny.toml/"]);
    }
    let line = "train tiny.toml --data photos --out tiny.toml";
    lab.refused(line, &["cannot write tiny.toml", "not a directory"]);
}

#[test]
fn two_pictures_never_become_one_output() {
    let lab = Lab::trained();
    std::fs::copy(lab.path("photos/a.png"), lab.path("photos/a.webp")).unwrap();
    let words = &["photos/a.png", "photos/a.webp", "codes/a.vqc"];
    lab.refused("encode photos -m i8.vqm -o codes", words);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_and_an_endless_file_are_errors() {
    let lab = Lab::trained();
    for line in [
        "encode photos/a.png -m i8.vqm -o /dev/full",
        "decode a.vqc -m i8.vqm -o /dev/full",
        "export run -o /dev/full --dtype f32",
        "eval photos -m i8.vqm --sheet /dev/full --json",
    ] {
        lab.refused(line, &["/dev/full", "No space left"]);
    }
    let figures = &["PSNR", "/dev/full"];
    lab.refused("eval photos -m i8.vqm --sheet /dev/full", figures);
    for line in [
        "info /dev/zero",
        "bench -m /dev/zero",
        "decode /dev/zero -m i8.vqm -o o.png",
    ] {
        lab.refused(line, &["/dev/zero", "bytes"]);
    }
    for line in [
        "info i8.vqm",
        "info a.vqc --json",
        "bench -m i8.vqm --runs 1",
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = lab.command(line).stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
        assert!(stderr.contains("standard output"), "{line}: {stderr}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_fault() {
    let lab = Lab::trained();
    let mut child = lab
        .command("info i8.vqm")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""));
}
