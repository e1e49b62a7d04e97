//! The door to people: whoever stops reading messages, or cannot, stops no work.

use crate::Lab;
use crate::lab::{CONFIG, PHOTOS};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use vq_train::checkpoint::Checkpoint;

/// One of each command that says something on stderr while it works.
const TALKING: [&str; 7] = [
    "train tiny.toml --data photos --out talking",
    "export run --safetensors w.safetensors",
    "export run -o m.vqm --calibrate photos --layers",
    "import w.safetensors --config tiny.toml --out imported",
    "encode photos -m i8.vqm -o codes --packet 20",
    "decode codes -m i8.vqm -o pictures",
    "eval photos -m i8.vqm --sheet sheet.png",
];

/// Runs the commands with stderr that `stderr` makes; each must succeed and leave what it does elsewhere.
fn work_goes_on(stderr: impl Fn() -> Stdio) {
    let lab = Lab::trained();
    for line in TALKING {
        let output = lab.command(line).stderr(stderr()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "vq {line}");
    }
    let run = Checkpoint::load(&lab.path("talking")).unwrap();
    assert_eq!(run.step, 30);
    for (name, _) in PHOTOS {
        assert!(lab.path("pictures").join(name).exists(), "{name}");
    }
    for file in ["m.vqm", "imported/checkpoint.vqck", "sheet.png"] {
        assert!(lab.path(file).exists(), "{file}");
    }
    // What fails says so by its exit code.
    let line = "encode nowhere -m i8.vqm -o o.vqc";
    let status = lab.command(line).stderr(stderr()).status().unwrap();
    assert_eq!(status.code(), Some(1), "vq {line}");
}

#[test]
fn a_reader_of_messages_that_has_gone_stops_no_work() {
    // The reading end is closed at once, so that not even the first message finds a reader.
    work_goes_on(|| std::io::pipe().unwrap().1.into());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_the_messages_stops_no_work() {
    work_goes_on(|| {
        File::options()
            .write(true)
            .open("/dev/full")
            .unwrap()
            .into()
    });
}

/// A limit on the size of files stands for a disk that is full: it holds the checkpoint, and not all of the log.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_a_runs_log_stops_no_training() {
    let lab = Lab::new();
    let config = CONFIG
        .replace("steps = 30", "steps = 3000")
        .replace("_every = 5", "_every = 500")
        .replace("_every = 20", "_every = 1000");
    lab.write("long.toml", config);
    let train = "train long.toml --data photos --out run";
    let script = format!("trap '' XFSZ; ulimit -f 56; vq {train}");
    let output = lab.shell(&script).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let said = stderr.matches("run/log.jsonl: File too large").count();
    assert_eq!(said, 1, "{stderr}");
    assert_eq!(Checkpoint::load(&lab.path("run")).unwrap().step, 3000);
}

#[test]
fn both_streams_may_lose_their_reader() {
    let lab = Lab::trained();
    lab.data("vq encode photos -m i8.vqm -o codes --packet 20 2>&1 | head -n 1");
    lab.data("vq train tiny.toml --data photos --out new 2>&1 | head -n 1");
    let codes = lab.files();
    let codes = codes.keys().filter(|path| path.starts_with("codes"));
    assert_eq!(codes.count(), PHOTOS.len());
    assert_eq!(Checkpoint::load(&lab.path("new")).unwrap().step, 30);
}

#[test]
fn without_a_terminal_no_control_codes_are_written() {
    let lab = Lab::trained();
    for line in TALKING {
        let stderr = lab.vq(line).stderr;
        assert!(!stderr.contains('\x1b'), "vq {line}: {stderr:?}");
    }
}

/// Messages, figures and progress bars pass the doors, where what cannot be written is dealt with; so no
/// other source may write to the standard streams on its own.
#[test]
fn nothing_but_the_doors_writes_to_standard_streams() {
    const MEANS: [&str; 6] = [
        "print!(",
        "println!(",
        "stderr()",
        "stdout()",
        "indicatif",
        "dbg!(",
    ];
    const DOORS: [&str; 2] = ["bin/vq/messages.rs", "bin/vq/outputs.rs"];
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for path in rust_files(&sources) {
        let name = path.strip_prefix(&sources).unwrap();
        if DOORS.iter().any(|door| name == Path::new(door)) {
            seen += 1;
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
        for line in code {
            let found = MEANS.iter().find(|means| line.contains(*means));
            assert_eq!(found, None, "{}: {line}", path.display());
        }
    }
    assert_eq!(seen, DOORS.len());
}

/// The commands write what they write by the door to files, or have the library write a run.
#[test]
fn no_command_writes_files_on_its_own() {
    const MEANS: [&str; 5] = [
        "fs::write(",
        "File::create",
        "File::options",
        "save_png(",
        "atomic::write(",
    ];
    let commands = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/vq");
    let door = commands.join("outputs.rs");
    let (doors, others): (Vec<_>, Vec<_>) =
        rust_files(&commands).into_iter().partition(|p| *p == door);
    let found = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        MEANS.into_iter().find(|means| text.contains(means))
    };
    for path in &others {
        assert_eq!(found(path), None, "{}", path.display());
    }
    assert_eq!(doors.iter().find_map(found), Some("atomic::write("));
}

/// The Rust files in a folder and the folders below it.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let found = paths.flat_map(|path| match path.is_dir() {
        true => rust_files(&path),
        false => vec![path],
    });
    found
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}
