//! `-`: standard input in place of a file that is read, standard output in place of one that is written.

use crate::Lab;
use std::process::Stdio;

#[test]
fn a_picture_goes_through_pipes_alone() {
    let lab = Lab::trained();
    assert_eq!(
        lab.data("vq encode - -m i8.vqm -o - < photos/a.png"),
        lab.read("a.vqc")
    );
    assert_eq!(
        lab.data("cat photos/a.png | vq encode - -m i8.vqm -o -"),
        lab.read("a.vqc")
    );
    lab.ok("decode a.vqc -m i8.vqm -o a.png");
    let there_and_back =
        "vq encode - -m i8.vqm -o - < photos/a.png | vq decode - -m i8.vqm -o - | cat";
    assert_eq!(lab.data(there_and_back), lab.read("a.png"));
    assert!(!lab.path("-").exists());
}

/// Each command reads a file from a pipe as it does by its name.
#[test]
fn whatever_is_read_may_come_from_a_pipe() {
    let lab = Lab::trained();
    lab.ok("export run --safetensors w.safetensors");
    lab.write("names.toml", "");
    let network = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/oracle/lpips.safetensors"
    );
    std::fs::copy(network, lab.path("lpips.safetensors")).unwrap();
    for (file, line) in [
        ("photos/a.png", "encode FILE -m i8.vqm -o OUT"),
        ("i8.vqm", "encode photos/a.png -m FILE -o OUT"),
        ("c.vqc", "decode FILE -m i8.vqm -o OUT"),
        ("i8.vqm", "decode c.vqc -m FILE -o OUT"),
        ("run/checkpoint.vqck", "export FILE --dtype f32 -o OUT"),
        ("run/checkpoint.vqck", "export FILE --safetensors OUT"),
        ("i8.vqm", "info FILE"),
        ("c.vqc", "info FILE --json"),
        ("photos/a.png", "eval FILE -m i8.vqm --json"),
        ("i8.vqm", "eval photos -m FILE --sheet OUT"),
        (
            "lpips.safetensors",
            "eval photos -m i8.vqm --lpips FILE --json",
        ),
        ("tiny.toml", "train FILE --data photos --out OUT"),
        (
            "run/checkpoint.vqck",
            "train tiny.toml --from FILE --data photos --out OUT",
        ),
        (
            "w.safetensors",
            "import FILE --config tiny.toml --out OUT --json",
        ),
        ("tiny.toml", "import w.safetensors --config FILE --out OUT"),
        (
            "names.toml",
            "import w.safetensors --config tiny.toml --map FILE --out OUT",
        ),
    ] {
        let run = |name: &str| {
            let vq = line.replace("FILE", name).replace("OUT", "out");
            let stdout = lab.data(&format!("cat {file} | vq {vq}"));
            let (path, run) = (lab.path("out"), lab.path("out/checkpoint.vqck"));
            let made = std::fs::read(if path.is_dir() { &run } else { &path }).ok();
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_dir_all(&path);
            (stdout, made)
        };
        assert!(run("-") == run(file), "{line}");
    }
    assert!(!lab.data("vq bench -m - --runs 1 < i8.vqm").is_empty());
}

#[test]
fn whatever_is_written_may_go_to_stdout_and_nothing_else_does() {
    let lab = Lab::trained();
    for line in [
        "encode photos/c.png -m i8.vqm --packet 20 -o ",
        "decode c.vqc -m i8.vqm -o ",
        "export run --calibrate photos --layers -o ",
        "export run --safetensors ",
        "eval photos -m i8.vqm --against jpeg --sheet ",
    ] {
        let stdout = lab.data(&format!("vq {line} -"));
        lab.ok(&format!("{line} out"));
        assert!(stdout == lab.read("out"), "{line}");
        assert!(!lab.path("-").exists(), "{line}");
    }
    let eval = "vq eval photos -m i8.vqm --sheet - 2>&1 >sheet.png";
    let table = String::from_utf8(lab.data(eval)).unwrap();
    assert!(table.contains("PSNR"), "{table}");
    // A file of this name is still to be had.
    lab.ok("decode c.vqc -m i8.vqm -o ./-");
    assert_eq!(lab.data("vq decode c.vqc -m i8.vqm -o -"), lab.read("./-"));
    assert_eq!(lab.json("encode ./- -m i8.vqm -o o.vqc")["images"], 1);
}

#[test]
fn a_stream_is_one_thing_only() {
    let lab = Lab::trained();
    for line in [
        "encode - -m - -o o.vqc",
        "decode - -m - -o o.png",
        "eval photos -m - -m -",
        "flash -m - --codes - -o o.png",
        "import - --config - --out new",
        "train - --from - --data photos --out new",
    ] {
        lab.refused(line, &["only one input can be -"]);
    }
    for line in [
        "encode photos/a.png -m i8.vqm -o - --json",
        "decode a.vqc -m i8.vqm -o - --json",
        "export run -o - --dtype f32 --json",
        "eval photos -m i8.vqm --sheet - --json",
        "flash -m i8.vqm -o - --json",
    ] {
        lab.refused(line, &["--json", "standard output"]);
    }
    for line in [
        "encode photos -m i8.vqm -o -",
        "train tiny.toml --data photos --out -",
        "import w.safetensors --config tiny.toml --out -",
        "demo --out -",
    ] {
        lab.refused(line, &["- is standard output", "no folder"]);
    }
}

/// Data whose reader has gone were not delivered: the exit code says so, as of any program in a pipe, and a message
/// would be noise.
#[test]
fn data_without_a_reader_end_quietly() {
    let lab = Lab::trained();
    for line in [
        "encode photos/a.png -m i8.vqm -o -",
        "decode a.vqc -m i8.vqm -o -",
        "export run -o - --dtype f32",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = lab.command(line);
        let output = command
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), stderr.as_str()),
            (Some(141), ""),
            "{line}"
        );
    }
}
