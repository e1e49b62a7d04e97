//! The door to files: nothing that is read is written over, places are tried before the work, and a file is whole
//! or as it was.

use crate::Lab;
use std::fs;
use std::path::Path;
use vq_train::picture::Picture;

const READ: &str = "would be written over, but this command reads it";

#[test]
fn an_output_that_is_an_input_is_refused() {
    let lab = Lab::trained();
    lab.ok("export run --safetensors w.safetensors");
    for line in [
        "encode photos/a.png -m i8.vqm -o photos/a.png",
        "encode photos/a.png -m i8.vqm -o photos/../photos/a.png",
        "encode photos/a.png -m i8.vqm -o i8.vqm",
        "decode a.vqc -m i8.vqm -o a.vqc",
        "decode a.vqc -m i8.vqm -o i8.vqm",
        "eval photos -m i8.vqm --sheet photos/sub/a.png",
        "eval photos/a.png -m i8.vqm --sheet photos/a.png",
        "eval photos -m f32.vqm -m i8.vqm --sheet i8.vqm",
        "eval photos -m i8.vqm --lpips w.safetensors --sheet w.safetensors",
        "export run -o run/checkpoint.vqck --dtype f32",
        "export run/checkpoint.vqck -o run/checkpoint.vqck --dtype f32",
        "export run -o photos/a.png --calibrate photos",
        "export run --safetensors run/checkpoint.vqck",
        "flash -m i8.vqm -o i8.vqm",
        "flash -m i8.vqm --codes a.vqc -o a.vqc",
    ] {
        lab.refused(line, &[READ]);
    }
    for script in [
        "vq encode - -m i8.vqm -o photos/a.png < photos/a.png",
        "vq encode photos/a.png -m i8.vqm -o - >> photos/a.png",
        "vq decode - -m i8.vqm -o a.vqc < a.vqc",
    ] {
        let before = lab.files();
        let output = lab.shell(script).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{script}: {stderr}");
        assert!(stderr.contains(READ), "{script}: {stderr}");
        assert!(lab.files() == before, "{script}");
    }
}

#[cfg(unix)]
#[test]
fn links_do_not_hide_an_input() {
    let lab = Lab::trained();
    let symbolic = |to: &str, name: &str| {
        std::os::unix::fs::symlink(lab.path(to), lab.path(name)).unwrap();
    };
    let hard = |to: &str, name: &str| fs::hard_link(lab.path(to), lab.path(name)).unwrap();
    symbolic("photos/a.png", "symbolic.png");
    symbolic("photos", "linked");
    hard("photos/a.png", "hard.png");
    for folder in ["codes", "again"] {
        fs::create_dir(lab.path(folder)).unwrap();
    }
    hard("photos/sub/a.png", "codes/b.vqc");
    symbolic("i8.vqm", "again/c.vqc");
    for line in [
        "encode photos/a.png -m i8.vqm -o symbolic.png",
        "encode photos/a.png -m i8.vqm -o hard.png",
        "encode photos/a.png -m i8.vqm -o linked/a.png",
        "encode symbolic.png -m i8.vqm -o photos/a.png",
        "encode symbolic.png -m i8.vqm -o hard.png",
        "encode photos -m i8.vqm -o codes",
        "encode photos -m i8.vqm -o again",
        "eval linked -m i8.vqm --sheet hard.png",
    ] {
        lab.refused(line, &[READ]);
    }
}

#[test]
fn a_configuration_is_not_written_over_by_its_own_run() {
    let lab = Lab::trained();
    lab.ok("export run --safetensors w.safetensors");
    fs::create_dir(lab.path("mine")).unwrap();
    lab.write("mine/config.toml", crate::lab::CONFIG);
    for line in [
        "train mine/config.toml --data photos --out mine",
        "import w.safetensors --config mine/config.toml --out mine",
    ] {
        lab.refused(line, &["mine/config.toml", READ]);
    }
    // What a run itself has left there stays as it is.
    let kept = lab.read("run/config.toml");
    lab.ok("train run/config.toml --data photos --out run --resume");
    assert_eq!(lab.read("run/config.toml"), kept);
}

#[test]
fn what_a_folder_holds_besides_inputs_may_be_replaced() {
    let lab = Lab::trained();
    for _ in 0..2 {
        lab.ok("encode photos -m i8.vqm -o photos");
        lab.ok("encode . -m i8.vqm -o codes");
        lab.ok("decode codes -m i8.vqm -o pictures");
        lab.ok("export run --calibrate . -o m.vqm");
        lab.ok("eval photos -m i8.vqm --sheet sheet.png");
        fs::remove_dir_all(lab.path("pictures")).unwrap();
        fs::remove_file(lab.path("sheet.png")).unwrap();
    }
}

#[test]
fn a_folder_as_output_gets_the_file_under_the_inputs_name() {
    let lab = Lab::trained();
    fs::create_dir(lab.path("folder")).unwrap();
    for (line, made) in [
        (
            "encode photos/d.v1.png -m i8.vqm -o folder",
            "folder/d.v1.vqc",
        ),
        ("encode photos/a.png -m i8.vqm -o folder/", "folder/a.vqc"),
        (
            "encode photos/a.png -m i8.vqm -o made/for/it/",
            "made/for/it/a.vqc",
        ),
        (
            "decode folder/d.v1.vqc -m i8.vqm -o folder",
            "folder/d.v1.png",
        ),
        ("export run -o folder --dtype f32", "folder/run.vqm"),
        (
            "export run/checkpoint.vqck --safetensors folder",
            "folder/checkpoint.safetensors",
        ),
        ("eval photos -m i8.vqm --sheet folder", "folder/sheet.png"),
    ] {
        assert!(!lab.path(made).exists(), "{made}");
        lab.ok(line);
        assert!(lab.path(made).exists(), "vq {line}");
    }
    lab.data("cd run && vq export . -o ../folder/ --dtype f16 && cd .. && vq encode - -m i8.vqm -o folder/ <photos/a.png");
    assert_eq!(lab.json("info folder/run.vqm")["dtype"], "f16");
    assert_eq!(lab.read("folder/stdin.vqc"), lab.read("a.vqc"));
}

#[test]
fn a_name_that_contradicts_what_is_written_is_noted() {
    let lab = Lab::trained();
    let stderr = |line: &str| {
        let outcome = lab.vq(line);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stderr
    };
    for (line, words) in [
        ("decode a.vqc -m i8.vqm -o a.jpg", "a.jpg will be a PNG"),
        (
            "eval photos -m i8.vqm --sheet s.WebP",
            "s.WebP will be a PNG",
        ),
        (
            "encode photos/a.png -m i8.vqm -o a.png",
            "a.png will be a file of packets",
        ),
        (
            "export run -o m.safetensors --dtype f32",
            "m.safetensors will be a model",
        ),
    ] {
        let stderr = stderr(line);
        assert!(stderr.contains(words), "vq {line}: {stderr}");
    }
    assert!(Picture::load(&lab.path("a.jpg")).is_ok());
    for out in ["a.PNG", "a", "a.bin"] {
        let stderr = stderr(&format!("decode a.vqc -m i8.vqm -o {out}"));
        assert!(!stderr.contains("note"), "{out}: {stderr}");
    }
}

/// The inputs are missing, too; but it is the output that is named, so nothing was read before.
#[cfg(target_os = "linux")]
#[test]
fn places_are_tried_before_the_work() {
    let lab = Lab::trained();
    for line in [
        "eval nowhere -m nowhere.vqm --sheet /proc/nope/s.png",
        "flash -m nowhere.vqm -o /proc/nope/s.png",
        "train tiny.toml --data nowhere --out /proc/nope",
        "import nowhere --config tiny.toml --out /proc/nope",
        "export run -o /proc/nope/m.vqm --calibrate nowhere",
        "decode a.vqc -m i8.vqm -o /proc/nope/a.png",
        "demo --out /proc/nope",
    ] {
        lab.refused(line, &["cannot write /proc/nope", "No such file"]);
    }
    lab.refused(
        "eval photos -m i8.vqm --sheet tiny.toml/s.png",
        &["tiny.toml/s.png"],
    );
    // Trying leaves nothing behind, not even the folders.
    lab.refused("eval nowhere -m i8.vqm --sheet not/yet/s.png", &["nowhere"]);
    assert!(!lab.path("not").exists());
    lab.refused("train tiny.toml --data nowhere --out new", &["nowhere"]);
    assert!(!lab.path("new").exists());
}

/// A limit on the size of files ends the process in the middle of a write, by a signal, as SIGKILL or a power cut
/// would; with the signal ignored the write fails instead, as on a full disk.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_write_leaves_the_old_file() {
    let lab = Lab::trained();
    let parts = |lab: &Lab| {
        let files = lab.files();
        let part = |path: &&Path| path.to_string_lossy().ends_with(".part");
        files.keys().map(|path| path.as_path()).filter(part).count()
    };
    let resume = "train tiny.toml --data photos --out run --resume";
    for (blocks, line, out) in [
        (1, "export run -o old --dtype f32", "old"),
        (1, "decode c.vqc -m i8.vqm -o old", "old"),
        (16, resume, "run/checkpoint.vqck"),
    ] {
        lab.write("old", "what was there before");
        let before = lab.read(out);
        let full = format!("trap '' XFSZ; ulimit -f {blocks}; vq {line}");
        let output = lab.shell(&full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
        assert!(stderr.contains("File too large"), "{line}: {stderr}");
        assert_eq!(parts(&lab), 0, "{line}");
        let killed = format!("ulimit -c 0; ulimit -f {blocks}; exec \"$0\" {line}");
        let status = lab.shell(&killed).status().unwrap();
        assert_eq!(status.code(), None, "{line}");
        // A training on a slow machine may be in the middle of its log instead of its checkpoint.
        let in_the_middle = if line == resume { 0..=1 } else { 1..=1 };
        assert!(in_the_middle.contains(&parts(&lab)), "{line}");
        assert!(lab.read(out) == before, "{line}");
        let left = lab.files().into_keys();
        for path in left.filter(|path| path.to_string_lossy().ends_with(".part")) {
            fs::remove_file(lab.path(path)).unwrap();
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_of_files_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let lab = Lab::trained();
    let name = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
    let photos = lab.path(name(b"photos\xff"));
    fs::create_dir(&photos).unwrap();
    fs::copy(lab.path("photos/a.png"), photos.join("a.png")).unwrap();
    for (line, flag, value) in [
        (
            "train tiny.toml --data photos --out one",
            "--data",
            &b"photos\xff=2"[..],
        ),
        (
            "train tiny.toml --data photos --out two",
            "--validation",
            b"photos\xff",
        ),
        ("export run -o m.vqm", "--calibrate", b"photos\xff"),
        ("eval -m i8.vqm --json", "--sheet=sheet.png", b"photos\xff"),
        ("encode photos/a.png -m i8.vqm", "-o", b"a\xff.vqc"),
    ] {
        let mut command = lab.command(line);
        let output = command.arg(flag).arg(name(value)).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{line} {flag}: {stderr}");
    }
    let made = fs::read(lab.path(name(b"a\xff.vqc"))).unwrap();
    assert_eq!(made, lab.read("a.vqc"));
}
