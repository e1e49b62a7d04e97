//! Commands that succeed: what they write, print and agree about.

use crate::Lab;
use crate::lab::{CONFIG, PHOTOS};
use serde_json::Value;
use std::path::PathBuf;
use vq_train::checkpoint::Checkpoint;
use vq_train::picture::Picture;

const COMMANDS: [&str; 10] = [
    "demo", "train", "import", "export", "info", "encode", "decode", "eval", "bench", "flash",
];

fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().expect("a JSON object");
    object.keys().map(String::as_str).collect()
}

/// Every one of these fields is there; null only where the design says so.
fn has(value: &Value, fields: &[&str]) {
    for field in fields {
        let there = value.get(field).unwrap_or(&Value::Null);
        assert!(!there.is_null(), "no {field} among {:?}", keys(value));
    }
}

fn number(value: &Value, field: &str) -> f64 {
    value[field]
        .as_f64()
        .unwrap_or_else(|| panic!("{field} is {}", value[field]))
}

#[test]
fn help_of_every_command_ends_with_an_example() {
    let lab = Lab::new();
    let all = lab.ok("--help");
    for command in COMMANDS {
        assert!(all.contains(&format!("  {command} ")), "{command}: {all}");
        let help = lab.ok(&format!("{command} --help"));
        assert!(help.contains(&format!("Usage: vq {command}")), "{help}");
        let example = format!("Example:  vq {command} ");
        assert!(help.contains(&example), "{help}");
    }
    assert!(lab.ok("--version").starts_with("vq "));
    assert_eq!(lab.vq("").code, Some(2));
    assert_eq!(lab.vq("frobnicate").code, Some(2));
}

#[test]
fn train_reports_and_leaves_a_whole_run() {
    let lab = Lab::new();
    let report = lab.json("train tiny.toml --data photos --out run --threads 1");
    has(
        &report,
        &[
            "nmse",
            "psnr",
            "perplexity",
            "usage",
            "images_per_s",
            "step_bytes",
            "finished",
        ],
    );
    assert_eq!(report["steps"], 30);
    let files = lab.files();
    for name in [
        "checkpoint.vqck",
        "config.toml",
        "log.jsonl",
        "reconstructions/0000030.png",
    ] {
        assert!(
            files.contains_key(&std::path::Path::new("run").join(name)),
            "{name}"
        );
    }
    let log = String::from_utf8(lab.read("run/log.jsonl")).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!(lines.iter().any(|l| l["kind"] == "step"));
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["kind"], &last["step"]),
        (&"validation".into(), &30.into())
    );
    let is_events = |path: &&PathBuf| {
        path.to_string_lossy()
            .starts_with("run/events.out.tfevents.")
    };
    let events = &files[files.keys().find(is_events).expect("an event file")];
    for tag in [
        "train/loss",
        "validation/psnr",
        "validation/codes",
        "validation/reconstructions",
    ] {
        let has = events.windows(tag.len()).any(|w| w == tag.as_bytes());
        assert!(has, "{tag}");
    }
    // The configuration that is kept beside it makes the same run.
    lab.ok("train run/config.toml --data photos --out copy");
    assert_eq!(
        lab.read("run/checkpoint.vqck"),
        lab.read("copy/checkpoint.vqck")
    );
}

#[test]
fn folders_on_the_command_line_make_the_same_run_as_in_the_configuration() {
    let lab = Lab::new();
    lab.ok("train tiny.toml --data photos=3 --data photos/sub --out named");
    let mix = "mix = [{ path = 'photos', weight = 3 }, { path = 'photos/sub' }]\nholdout";
    lab.write("mixed.toml", crate::lab::CONFIG.replace("holdout", mix));
    lab.ok("train mixed.toml --out configured");
    lab.ok("train tiny.toml --data photos --out one");
    let params = |run: &str| Checkpoint::load(&lab.path(run)).unwrap().params;
    assert!(params("named") == params("configured"));
    assert!(params("named") != params("one"));
    lab.ok("export configured -o m.vqm");
}

#[test]
fn without_held_out_pictures_nothing_is_claimed() {
    let lab = Lab::new();
    let config = crate::lab::CONFIG.replace("holdout = 0.25", "holdout = 0.0");
    lab.write("all.toml", config);
    let report = lab.json("train all.toml --data photos --out run --steps 5");
    assert_eq!(
        (&report["psnr"], &report["nmse"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn exports_of_one_run_share_codes_and_differ_in_type() {
    let lab = Lab::trained();
    let infos = ["i8", "f16", "f32"].map(|dtype| {
        let info = lab.json(&format!("info {dtype}.vqm"));
        assert_eq!(info["dtype"], dtype);
        assert_eq!(info["native"], "32x32");
        assert_eq!(info["codebooks"], serde_json::json!([16]));
        has(
            &info["decoder"],
            &["macs_per_pixel", "scratch_bytes", "layers"],
        );
        assert_eq!(info["file_bytes"], lab.read(&format!("{dtype}.vqm")).len());
        info
    });
    assert!(infos.iter().all(|i| i["code_id"] == infos[0]["code_id"]));
    let report = lab.json("export run -o again.vqm --calibrate photos --layers");
    assert_eq!(lab.read("again.vqm"), lab.read("i8.vqm"));
    assert!(!report["layers"].as_array().unwrap().is_empty());
    has(&report["psnr"], &["f32", "f16", "i8"]);
    lab.ok("export run/checkpoint.vqck -o bare.vqm --calibrate photos --without-encoder");
    let bare = lab.json("info bare.vqm");
    assert!(bare["encoder"].is_null());
    // What the firmware strips is the same but for the alignment of its tensors.
    let told = number(&infos[0], "decoder_file_bytes");
    assert!((number(&bare, "file_bytes") - told).abs() < 16.0);
}

#[test]
fn info_tells_people_and_programs_the_same() {
    let lab = Lab::trained();
    let (text, json) = (lab.ok("info i8.vqm"), lab.json("info i8.vqm"));
    for field in ["name", "code_id", "dtype", "native"] {
        assert!(
            text.contains(json[field].as_str().unwrap()),
            "{field}: {text}"
        );
    }
    let (text, json) = (lab.ok("info c.vqc"), lab.json("info c.vqc"));
    let packets = json["packets"].as_array().unwrap();
    assert!(packets.len() > 1 && text.lines().count() == packets.len());
    assert!(packets.iter().all(|p| number(p, "bytes") <= 20.0));
    let single = lab.json("info a.vqc");
    assert!(number(&single["packets"][0], "overhead") <= 6.0);
    // Told apart by their bytes, not by their names.
    std::fs::rename(lab.path("i8.vqm"), lab.path("model")).unwrap();
    assert_eq!(lab.json("info model")["dtype"], "i8");
}

#[test]
fn one_picture_goes_there_and_back_in_every_type() {
    let lab = Lab::trained();
    for dtype in ["i8", "f16", "f32"] {
        let report = lab.json(&format!("encode photos/b.png -m {dtype}.vqm -o b.vqc"));
        // 9 x 9 codes of 4 bits, and at most 6 bytes and two varints of size beside them.
        assert!(
            (41.0..=49.0).contains(&number(&report, "bytes")),
            "{report}"
        );
        let bpp = 8.0 * number(&report, "bytes") / (35.0 * 33.0);
        assert!((number(&report, "bpp") - bpp).abs() < 1e-9);
        let report = lab.json(&format!("decode b.vqc -m {dtype}.vqm -o b.png"));
        assert_eq!(
            (&report["packets_used"], &report["packets_sent"]),
            (&1.into(), &1.into())
        );
        let picture = Picture::load(&lab.path("b.png")).unwrap();
        assert_eq!(
            (picture.width, picture.height, picture.channels),
            (35, 33, 3)
        );
    }
    lab.ok("encode photos/b.png -m i8.vqm -o new/folder/small.vqc --size 16x24");
    lab.ok("decode new/folder/small.vqc -m i8.vqm -o small.png");
    let picture = Picture::load(&lab.path("small.png")).unwrap();
    assert_eq!((picture.width, picture.height), (16, 24));
}

#[test]
fn a_folder_keeps_its_names_and_subfolders() {
    let lab = Lab::trained();
    let report = lab.json("encode photos -m i8.vqm -o codes --packet 20");
    assert_eq!(report["images"], PHOTOS.len());
    let files = lab.files();
    let codes = files.iter().filter(|(path, _)| path.starts_with("codes"));
    let framed: usize = codes.map(|(_, bytes)| bytes.len()).sum();
    let frames = 2.0 * number(&report, "packets");
    assert_eq!(framed as f64, number(&report, "bytes") + frames);
    let report = lab.json("decode codes -m i8.vqm -o pictures");
    assert_eq!(report["images"], PHOTOS.len());
    for (name, size) in PHOTOS {
        let picture = Picture::load(&lab.path("pictures").join(name)).unwrap();
        assert_eq!([picture.width, picture.height], size, "{name}");
    }
}

#[test]
fn lost_packets_are_filled_in_and_the_seed_decides_which() {
    let lab = Lab::trained();
    let run = |seed: u32, out: &str| {
        lab.json(&format!(
            "decode c.vqc -m i8.vqm -o {out} --drop 50 --seed {seed}"
        ))
    };
    let report = run(1, "1.png");
    let (used, sent) = (
        number(&report, "packets_used"),
        number(&report, "packets_sent"),
    );
    assert!(used >= 1.0 && used < sent, "{report}");
    run(1, "again.png");
    assert_eq!(lab.read("1.png"), lab.read("again.png"));
    lab.ok("decode c.vqc -m i8.vqm -o whole.png");
    assert_ne!(lab.read("1.png"), lab.read("whole.png"));
    let report = lab.json("decode c.vqc -m i8.vqm -o last.png --drop 100");
    assert_eq!(report["packets_used"], 1);
}

#[test]
fn search_codes_the_same_picture_better_in_as_many_bytes() {
    let lab = Lab::trained();
    let figures = |search: &str| lab.json(&format!("eval photos -m i8.vqm{search}"));
    let (nearest, searched) = (figures(""), figures(" --search 4"));
    assert!(number(&searched, "psnr") > number(&nearest, "psnr"));
    assert_eq!(
        number(&searched, "bytes_mean"),
        number(&nearest, "bytes_mean")
    );
}

#[test]
fn eval_reports_what_the_design_lists() {
    let lab = Lab::trained();
    let report = lab.json("eval photos -m i8.vqm --against jpeg,webp --sheet sheet.png");
    assert_eq!(report["images"], PHOTOS.len());
    has(
        &report,
        &[
            "bytes_mean",
            "bpp",
            "psnr",
            "ssim",
            "ms_ssim",
            "ssimulacra2",
            "perplexity",
            "usage",
        ],
    );
    // Null: nobody named weights for it.
    assert_eq!(report.get("lpips"), Some(&Value::Null));
    let encoded = lab.json("encode photos -m i8.vqm -o codes");
    let mean = number(&encoded, "bytes") / PHOTOS.len() as f64;
    assert!((number(&report, "bytes_mean") - mean).abs() < 1e-9);
    for rival in ["jpeg", "webp"] {
        has(
            &report["rivals"][rival],
            &["bytes_mean", "psnr", "ssim", "ms_ssim", "ssimulacra2"],
        );
    }
    assert!(Picture::load(&lab.path("sheet.png")).is_ok());
    let lossy = lab.json("eval photos -m i8.vqm --packet 20 --drop 60");
    assert!(
        number(&lossy, "bytes_mean") > mean,
        "each packet has its header"
    );
    assert_ne!(lossy["psnr"], report["psnr"]);
    assert!(lab.ok("eval photos/a.png -m f32.vqm").contains("PSNR"));
}

#[test]
fn eval_of_several_models_keeps_the_form_of_one() {
    let lab = Lab::trained();
    let rivals = "--against jpeg,webp";
    let one = lab.json(&format!("eval photos -m i8.vqm {rivals} --sheet one.png"));
    let both = lab.json(&format!(
        "eval photos -m i8.vqm -m f32.vqm {rivals} --sheet both.png"
    ));
    // The first model's fields stand where they stand without others, and the rivals meet its bytes.
    for field in keys(&one) {
        if field != "models" && field != "name" {
            assert_eq!(one[field], both[field], "{field}");
        }
    }
    let names = |report: &Value| -> Vec<String> {
        let models = report["models"].as_array().unwrap().iter();
        models.map(|m| m["name"].as_str().unwrap().into()).collect()
    };
    assert_eq!(names(&one), ["vq"]);
    assert_eq!(names(&both), ["i8", "f32"]);
    let alone = lab.json("eval photos -m f32.vqm");
    let second = &both["models"][1];
    for field in ["bytes_mean", "psnr", "ms_ssim", "ssimulacra2", "perplexity"] {
        assert_eq!(second[field], alone[field], "{field}");
    }
    let width = |name: &str| Picture::load(&lab.path(name)).unwrap().width;
    assert!(
        width("both.png") > width("one.png"),
        "five columns, and four"
    );
    let table = lab.ok("eval photos -m i8.vqm -m f32.vqm");
    for name in ["i8 ", "f32 ", "MS-SSIM", "SSIMULACRA2", "f32, stage 0"] {
        assert!(table.contains(name), "{name}: {table}");
    }
    // Two files of one name are told apart by their folders.
    std::fs::create_dir(lab.path("other")).unwrap();
    lab.write("other/i8.vqm", lab.read("f16.vqm"));
    let paths = lab.json("eval photos/a.png -m i8.vqm -m other/i8.vqm");
    assert_eq!(names(&paths), ["i8.vqm", "other/i8.vqm"]);
}

#[test]
fn bench_reports_what_the_design_lists() {
    let lab = Lab::trained();
    for dtype in ["i8", "f16", "f32"] {
        let report = lab.json(&format!("bench -m {dtype}.vqm --runs 3 --size 40x24"));
        has(
            &report,
            &[
                "backend",
                "threads",
                "macs",
                "scratch_bytes",
                "decode_us",
                "layers",
            ],
        );
        let info = lab.json(&format!("info {dtype}.vqm"));
        let per_pixel = number(&info["decoder"], "macs_per_pixel");
        assert_eq!(number(&report, "macs"), per_pixel * 40.0 * 24.0);
    }
    assert!(lab.ok("bench -m i8.vqm --runs 1").contains("decode"));
}

/// Memory grows with the picture's width, and not with its height.
#[test]
fn bench_of_several_sizes_reports_each() {
    let lab = Lab::trained();
    let line = "bench -m i8.vqm --runs 1 --size 40x24,40x240,80x24";
    let report = lab.json(line);
    let sizes = report["sizes"].as_array().expect("a list");
    assert_eq!(sizes.len(), 3);
    for field in ["scratch_bytes", "rings_bytes"] {
        let [low, high, wide] = [0, 1, 2].map(|i| number(&sizes[i], field));
        assert_eq!(low, high, "{field}");
        assert!(low < wide, "{field}");
    }
    for size in sizes {
        assert!(number(size, "rings_bytes") <= number(size, "scratch_bytes"));
        assert!(number(size, "decode_us") > 0.0 && number(size, "ns_per_pixel") > 0.0);
    }
    let table = lab.ok(line);
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(table.contains("40x240"), "{table}");
}

#[test]
fn adversarial_training_reports_both_sides_and_deploys() {
    let lab = Lab::new();
    let gan = "[loss]\nlpips = 0.5\nms_ssim = 0.1\n\
               [gan]\nstart = 10\ndiscriminator = { channels = 4, layers = 2 }\n";
    lab.write("gan.toml", CONFIG.to_string() + gan);
    let refused = lab.vq("train gan.toml --data photos --out none");
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("--lpips"), "{}", refused.stderr);
    let network = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/oracle/lpips.safetensors"
    );
    lab.ok(&format!(
        "train gan.toml --data photos --out run --lpips {network}"
    ));
    let log = String::from_utf8(lab.read("run/log.jsonl")).unwrap();
    let lines = log.lines().map(|l| serde_json::from_str(l).unwrap());
    let lines: Vec<Value> = lines.collect();
    let step = lines.iter().find(|l| l["step"] == 20).unwrap();
    has(
        step,
        &[
            "lpips",
            "ms_ssim",
            "g_loss",
            "g_weight",
            "grad_norm",
            "d_loss",
            "d_real",
            "d_fake",
            "d_grad_norm",
        ],
    );
    has(lines.last().unwrap(), &["lpips", "psnr", "usage"]);
    lab.ok("export run --calibrate photos -o gan.vqm");
    lab.ok("encode photos/a.png -m gan.vqm -o a.vqc");
    // The loss pixel by pixel has no use for the weights.
    let idle = lab.vq(&format!("train tiny.toml --data photos --lpips {network}"));
    assert!(idle.stderr.contains("loss.lpips is 0"), "{}", idle.stderr);
}

#[test]
fn a_model_file_without_a_part_does_what_is_left() {
    let lab = Lab::new();
    let whole = format!("{}/models/mnist.vqm", env!("CARGO_MANIFEST_DIR"));
    let report = lab.json(&format!("export {whole} --without-encoder -o receiver.vqm"));
    has(&report, &["model", "bytes", "psnr", "layers"]);
    assert_eq!(
        number(&report, "bytes"),
        lab.read("receiver.vqm").len() as f64
    );
    lab.ok(&format!("export {whole} --without-decoder -o sender.vqm"));
    assert!(lab.read("sender.vqm").len() < std::fs::read(&whole).unwrap().len());

    lab.ok(&format!("encode photos/b.png -m {whole} -o whole.vqc"));
    lab.ok("encode photos/b.png -m sender.vqm -o b.vqc");
    assert_eq!(lab.read("b.vqc"), lab.read("whole.vqc"));
    lab.ok(&format!("decode b.vqc -m {whole} -o whole.png"));
    lab.ok("decode b.vqc -m receiver.vqm -o b.png");
    assert_eq!(lab.read("b.png"), lab.read("whole.png"));

    lab.refused(
        "encode photos/b.png -m receiver.vqm -o c.vqc",
        &["no encoder"],
    );
    lab.refused("decode b.vqc -m sender.vqm -o c.png", &["no decoder"]);
    lab.refused(
        "export sender.vqm --without-encoder -o c.vqm",
        &["sender.vqm", "no decoder"],
    );
    lab.refused(
        "export sender.vqm -o c.vqm",
        &["model file already", "--without-decoder"],
    );
    assert!(lab.json("info sender.vqm")["decoder"].is_null());
}
