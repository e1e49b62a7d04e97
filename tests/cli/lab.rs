//! A folder with photos and a configuration, in which `vq` is run; nothing of a test is in here.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;
use vq_train::picture::{Picture, Size};

/// Trains in well below a second; 4 pixels a code each way, 16 codes.
pub(crate) const CONFIG: &str = r#"
name = "tiny"
seed = 1
[data]
kind = "photos"
size = [32, 32]
holdout = 0.25
[model]
channels = 3
encoder = [
  { conv = { out = 8, kernel = 4, stride = 2, relu = true } },
  { conv = { out = 4, kernel = 4, stride = 2 } },
]
decoder = [
  { transposed = { out = 8, relu = true } },
  { transposed = { out = 3 } },
]
[quantizer]
codes = 16
dim = 4
[optimizer]
warmup = 5
[train]
steps = 30
batch = 4
validate_every = 20
checkpoint_every = 5
"#;

/// Photos in `photos/`, and the size of each.
pub(crate) const PHOTOS: [(&str, [usize; 2]); 6] = [
    ("a.png", [32, 32]),
    ("b.png", [35, 33]),
    ("c.png", [48, 32]),
    ("d.v1.png", [32, 40]),
    ("d.v2.png", [37, 41]),
    ("sub/a.png", [64, 32]),
];

/// A folder of its own for each test; it goes when the test ends.
pub(crate) struct Lab {
    folder: TempDir,
}

/// What a command left.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lab {
    /// Photos and `tiny.toml`.
    pub(crate) fn new() -> Lab {
        let folder = TempDir::new().unwrap();
        let lab = Lab { folder };
        fs::create_dir_all(lab.path("photos/sub")).unwrap();
        for (i, (name, [width, height])) in PHOTOS.into_iter().enumerate() {
            let picture = photo(Size { width, height }, i as f64);
            picture.save_png(&lab.path("photos").join(name)).unwrap();
        }
        lab.write("tiny.toml", CONFIG);
        lab
    }

    /// Also a trained `run/`, its exports `i8.vqm`, `f16.vqm` and `f32.vqm`, `a.vqc` in one packet
    /// and `c.vqc` in several. They are made once and copied into each lab.
    pub(crate) fn trained() -> Lab {
        static FILES: OnceLock<BTreeMap<PathBuf, Vec<u8>>> = OnceLock::new();
        let files = FILES.get_or_init(|| {
            let lab = Lab::new();
            lab.ok("train tiny.toml --data photos --out run");
            for dtype in ["i8", "f16", "f32"] {
                let export = "export run --calibrate photos";
                lab.ok(&format!("{export} --dtype {dtype} -o {dtype}.vqm"));
            }
            lab.ok("encode photos/a.png -m i8.vqm -o a.vqc");
            lab.ok("encode photos/c.png -m i8.vqm -o c.vqc --packet 20");
            lab.files()
        });
        let lab = Lab::new();
        for (path, bytes) in files {
            let path = lab.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        lab
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Every file below the folder, and its bytes.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let (mut found, mut folders) = (BTreeMap::new(), vec![self.folder.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(self.folder.path()).unwrap();
                    found.insert(name.to_owned(), fs::read(&path).unwrap());
                }
            }
        }
        found
    }

    /// The process that `vq LINE` is, not yet started. Arguments are parted by spaces.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vq"));
        command
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env_remove("VQ_LPIPS")
            .stdin(Stdio::null());
        command
    }

    /// The shell on a script, not yet started; in it, `vq` is the program.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        let script = format!("vq() {{ \"$0\" \"$@\"; }}\n{script}");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_vq")])
            .current_dir(self.folder.path())
            .env_remove("VQ_LPIPS")
            .stdin(Stdio::null());
        command
    }

    /// Runs a script, which must succeed; the bytes on its stdout.
    pub(crate) fn data(&self, script: &str) -> Vec<u8> {
        let output = self.shell(script).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{script}: {stderr}");
        output.stdout
    }

    /// Runs `vq LINE` to its end; it must not panic, whatever it is told.
    pub(crate) fn vq(&self, line: &str) -> Outcome {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(line).output().unwrap();
        let outcome = Outcome {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        };
        let stderr = &outcome.stderr;
        assert!(!stderr.contains("panicked"), "vq {line}: {stderr}");
        outcome
    }

    /// Runs `vq LINE`, which must succeed; its stdout.
    pub(crate) fn ok(&self, line: &str) -> String {
        let outcome = self.vq(line);
        assert_eq!(outcome.code, Some(0), "vq {line}: {}", outcome.stderr);
        outcome.stdout
    }

    /// Runs `vq LINE --json`, which must succeed with exactly one JSON value on stdout.
    pub(crate) fn json(&self, line: &str) -> Value {
        let stdout = self.ok(&format!("{line} --json"));
        serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("vq {line}: {e}: {stdout}"))
    }

    /// Runs `vq LINE`, which must fail: with an error that has all of `words` in it, nothing on
    /// stdout, and no file made or changed.
    pub(crate) fn refused(&self, line: &str, words: &[&str]) {
        let before = self.files();
        let Outcome {
            code,
            stdout,
            stderr,
        } = self.vq(line);
        assert!(
            matches!(code, Some(1 | 2)),
            "vq {line} ended with {code:?}: {stderr}"
        );
        assert!(stderr.contains("error: "), "vq {line}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "vq {line}: no {word:?} in: {stderr}");
        }
        assert_eq!(stdout, "", "vq {line}");
        let after = self.files();
        let changed = after.iter().filter(|(k, v)| before.get(*k) != Some(*v));
        let changed: Vec<_> = changed.map(|(path, _)| path).collect();
        assert!(changed.is_empty(), "vq {line} left {changed:?}");
        assert_eq!(before.len(), after.len(), "vq {line} removed files");
    }
}

/// Waves in three colours, others for each `seed`.
fn photo(size: Size, seed: f64) -> Picture {
    let sample = |i: usize| {
        let (c, x, y) = (i % 3, i / 3 % size.width, i / 3 / size.width);
        let angle = seed + x as f64 / (3.0 + seed) + y as f64 / (5.0 + c as f64);
        (128.0 + 100.0 * angle.sin()) as u8
    };
    let pixels = (0..size.width * size.height * 3).map(sample).collect();
    Picture::new(size, 3, pixels)
}
