//! The door to files and to stdout: what a command writes, and what it must not write over.
//!
//! An output is opened before the work and written after it: [`Files::output`] refuses what the same command
//! reads, finds out whether the place can be written, and says where the file will lie; [`Output::write`] replaces
//! it whole or not at all. `-` is stdout, on which there is then nothing but the data.

use crate::identity::{Identity, identity, identity_of};
use crate::messages::note;
use crate::shared::Result;
use serde::Serialize;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use vq_train::{atomic, input};

/// What an output is, whatever its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Png,
    Packets,
    Model,
    Safetensors,
}

/// Extensions that say of a file what it is, beside those of [`Kind`].
const OTHERS: &str =
    "jpg jpeg jpe jfif webp gif bmp tif tiff ppm avif heic vqck toml json jsonl txt";

impl Kind {
    const ALL: [Kind; 4] = [Kind::Png, Kind::Packets, Kind::Model, Kind::Safetensors];

    fn extension(self) -> &'static str {
        match self {
            Kind::Png => "png",
            Kind::Packets => "vqc",
            Kind::Model => "vqm",
            Kind::Safetensors => "safetensors",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Png => "a PNG",
            Kind::Packets => "a file of packets",
            Kind::Model => "a model",
            Kind::Safetensors => "a file of safetensors",
        }
    }

    /// Whether the name says that the file is something else.
    fn contradicts(self, path: &Path) -> bool {
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or("");
        let extension = extension.to_ascii_lowercase();
        let known = Kind::ALL.map(Kind::extension);
        extension != self.extension()
            && known
                .into_iter()
                .chain(OTHERS.split(' '))
                .any(|e| e == extension)
    }
}

/// A folder that is read, and which of its files.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    reads: fn(&Path) -> bool,
}

/// What a command reads, none of which it ever writes over.
#[derive(Debug, Default)]
pub(crate) struct Files {
    read: Vec<PathBuf>,
    folders: Vec<Folder>,
    known: OnceCell<BTreeMap<Identity, PathBuf>>,
    /// Whether figures as JSON go to stdout, so that no data can.
    json: bool,
}

impl Files {
    /// These files are read; `-` is stdin, and can be read once. What does not exist is reported by who reads it.
    pub(crate) fn read<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Result<Files> {
        let read: Vec<PathBuf> = paths.into_iter().cloned().collect();
        if read.iter().filter(|path| input::is_stdin(path)).count() > 1 {
            return Err("only one input can be -, standard input".into());
        }
        Ok(Files {
            read,
            ..Files::default()
        })
    }

    /// Also those files in the folder `path` and below it that `reads` picks.
    pub(crate) fn and_folder(mut self, path: &Path, reads: fn(&Path) -> bool) -> Files {
        let path = path.to_owned();
        self.folders.push(Folder { path, reads });
        self
    }

    /// Figures go to stdout as JSON if `json` is set; then no output can be `-`.
    pub(crate) fn with_json(self, json: bool) -> Files {
        Files { json, ..self }
    }

    /// Opens the output `out` for one file: stdout if that is `-`; a file that is named after `stem` if it is a
    /// folder, as `cp` does; else the file itself.
    pub(crate) fn output(&self, out: &Path, kind: Kind, stem: &OsStr) -> Result<Output> {
        if is_stdout(out) {
            return self.stdout();
        }
        let path = if names_folder(out) {
            let mut name = stem.to_owned();
            name.push(".");
            name.push(kind.extension());
            out.join(name)
        } else {
            out.to_owned()
        };
        self.file(path, kind)
    }

    /// Opens the outputs for `files`, which are `input` itself, or were found in it: then they get the same places
    /// below the folder `out`, with another extension. No two may meet.
    pub(crate) fn outputs<'p>(
        &self,
        input: &Path,
        files: impl Iterator<Item = &'p Path>,
        out: &Path,
        kind: Kind,
    ) -> Result<Vec<Output>> {
        if !input.is_dir() {
            return Ok(vec![self.output(out, kind, &stem(input))?]);
        }
        folder(out)?;
        let mut taken = BTreeMap::new();
        let mut outputs = Vec::new();
        for file in files {
            let inside = file.strip_prefix(input).unwrap_or(file);
            let path = out.join(inside).with_extension(kind.extension());
            if let Some(other) = taken.insert(path.clone(), file) {
                let (a, b, both) = (other.display(), file.display(), path.display());
                return Err(format!("{a} and {b} would both become {both}: rename one").into());
            }
            outputs.push(self.file(path, kind)?);
        }
        Ok(outputs)
    }

    /// Opens the output for picture `number` of an input that turns out to hold several, where `output` was opened for
    /// one: `out.png` becomes `out-1.png`.
    pub(crate) fn numbered(&self, output: &Output, kind: Kind, number: usize) -> Result<Output> {
        let Output::File(path) = output else {
            return Err(
                "several pictures do not go to standard output: name a file or folder".into(),
            );
        };
        let mut name = stem(path);
        name.push(format!("-{number}"));
        if let Some(extension) = path.extension() {
            name.push(".");
            name.push(extension);
        }
        self.file(path.with_file_name(name), kind)
    }

    /// Refuses `path` if it is, by whatever name, a file that is read.
    pub(crate) fn refuse(&self, path: &Path) -> Result<()> {
        let same = identity(path).and_then(|id| self.known().get(&id));
        self.refuse_same(path.display(), same)
    }

    /// [`Files::refuse`], unless the file is to keep its contents.
    pub(crate) fn refuse_change(&self, path: &Path, text: &str) -> Result<()> {
        match std::fs::read(path) {
            Ok(bytes) if bytes == text.as_bytes() => Ok(()),
            _ => self.refuse(path),
        }
    }

    fn refuse_same(&self, output: impl Display, input: Option<&PathBuf>) -> Result<()> {
        let Some(input) = input else {
            return Ok(());
        };
        let (output, input) = (output.to_string(), input.display().to_string());
        let also = if input == output {
            String::new()
        } else {
            format!(", as {input}")
        };
        Err(format!(
            "{output} would be written over, but this command reads it{also}: name another output"
        )
        .into())
    }

    fn file(&self, path: PathBuf, kind: Kind) -> Result<Output> {
        self.refuse(&path)?;
        if kind.contradicts(&path) {
            note!(
                "note: {} will be {}, whatever its name says",
                path.display(),
                kind.name()
            );
        }
        atomic::try_path(&path).map_err(|e| cannot_write(&path, &e))?;
        Ok(Output::File(path))
    }

    fn stdout(&self) -> Result<Output> {
        if self.json {
            return Err("- and --json both ask for standard output: name a file".into());
        }
        if io::stdout().is_terminal() {
            return Err("- would write data to the terminal: redirect it or name a file".into());
        }
        let same = identity_of(io::stdout()).and_then(|id| self.known().get(&id));
        self.refuse_same("standard output", same)?;
        Ok(Output::Stdout)
    }

    /// The files by which outputs are recognised as inputs.
    fn known(&self) -> &BTreeMap<Identity, PathBuf> {
        self.known.get_or_init(|| {
            let mut known = BTreeMap::new();
            for path in &self.read {
                let id = match input::is_stdin(path) {
                    true => identity_of(io::stdin()),
                    false => identity(path),
                };
                known.extend(id.map(|id| (id, path.clone())));
            }
            for folder in &self.folders {
                enter(&folder.path, folder.reads, &mut known);
            }
            known
        })
    }
}

/// Adds the files in a folder and the folders below it that `reads` picks. What cannot be listed cannot be read.
fn enter(folder: &Path, reads: fn(&Path) -> bool, known: &mut BTreeMap<Identity, PathBuf>) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            enter(&path, reads, known);
        } else if reads(&path) {
            known.extend(identity(&path).map(|id| (id, path)));
        }
    }
}

/// Where an output goes.
#[derive(Debug)]
pub(crate) enum Output {
    Stdout,
    File(PathBuf),
}

impl Output {
    /// Writes it: a file whole or not at all.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Output::Stdout => write_stdout(bytes),
            Output::File(path) => write(path, bytes),
        }
    }
}

impl Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Stdout => f.write_str("standard output"),
            Output::File(path) => path.display().fmt(f),
        }
    }
}

/// Writes a file, and the folders above it that do not exist yet.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let named = |e| cannot_write(path, &e);
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(named)?;
    }
    Ok(atomic::write(path, bytes).map_err(named)?)
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}

/// The name of what a path leads to, as the start of another file's name.
pub(crate) fn stem(path: &Path) -> OsString {
    if input::is_stdin(path) {
        return "stdin".into();
    }
    // Of "." only the system knows the name.
    let known = match path.file_name() {
        Some(_) => path.to_owned(),
        None => path.canonicalize().unwrap_or_default(),
    };
    let name = match path.is_dir() {
        true => known.file_name(),
        false => known.file_stem(),
    };
    name.unwrap_or(OsStr::new("out")).to_owned()
}

/// Whether outputs belong into what this names.
fn names_folder(path: &Path) -> bool {
    let name = path.as_os_str().to_string_lossy();
    path.is_dir() || name.ends_with(std::path::is_separator)
}

/// Whether a path says "stdout" where an output is named.
fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Refuses `-` where a folder is to be written.
pub(crate) fn folder(path: &Path) -> Result<()> {
    match is_stdout(path) {
        true => Err(
            "- is standard output, which holds no folder: name one (./- if that is its name)"
                .into(),
        ),
        false => Ok(()),
    }
}

/// Standard output was closed by its reader before it had all data.
#[derive(Debug, thiserror::Error)]
#[error("the reader of standard output has gone")]
pub(crate) struct ReaderGone;

/// Writes data on stdout. Whoever reads them may stop, but then the work was not done.
fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        Err(e) => Err(format!("cannot write to standard output: {e}").into()),
    }
}

/// Prints figures on stdout, where a reader that has seen enough (`| head`) is no error.
pub(crate) fn print(line: impl Display) -> Result<()> {
    match write_stdout(format!("{line}\n").as_bytes()) {
        Err(e) if e.is::<ReaderGone>() => Ok(()),
        other => other,
    }
}

/// Prints figures on stdout, or as a message where the data of `output` go there.
pub(crate) fn print_beside(output: Option<&Output>, figures: impl Display) -> Result<()> {
    match output {
        Some(Output::Stdout) => {
            note!("{figures}");
            Ok(())
        }
        _ => print(figures),
    }
}

/// Prints one JSON value on stdout.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(serde_json::to_string(value)?)
}
