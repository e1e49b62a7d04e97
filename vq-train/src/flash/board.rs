//! A board as the host sees it: `vq-firmware/boards/NAME/board.toml`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::FlashError;

/// How the firmware is built for a board and run on it.
#[derive(Clone, Debug)]
pub struct Board {
    /// The folder's name.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// The compiler's target.
    pub target: String,
    /// The processor as the compiler names it, where the target leaves that open.
    pub cpu: Option<String>,
    /// What runs the firmware.
    pub runner: Runner,
}

/// What runs the firmware and passes its output on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runner {
    /// QEMU: the program and its options for this machine.
    Qemu(Vec<String>),
    /// probe-rs: the name of the chip, as `probe-rs chip list` prints it.
    ProbeRs(String),
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    target: String,
    cpu: Option<String>,
    qemu: Option<Vec<String>>,
    chip: Option<String>,
}

impl Board {
    /// Reads the description of board `name` from the firmware's sources.
    ///
    /// # Errors
    /// [`FlashError::Source`] when the sources are gone, [`FlashError::Board`] when there is no such
    /// board, [`FlashError::BoardFile`] when its description is faulty.
    pub fn find(name: &str) -> Result<Self, FlashError> {
        let known = names()?;
        if !known.iter().any(|board| board == name) {
            return Err(FlashError::Board {
                name: name.to_owned(),
                known: known.join(", "),
            });
        }
        let path = folder()?.join(name).join("board.toml");
        let text = fs::read_to_string(&path).map_err(|e| FlashError::io(&path, e))?;
        parse(name, &text).map_err(|what| FlashError::BoardFile { path, what })
    }

    /// The command that runs `elf` and passes its output on.
    pub(super) fn command(&self, elf: &Path) -> Command {
        match &self.runner {
            Runner::Qemu(words) => {
                let mut qemu = Command::new(&words[0]);
                qemu.args(&words[1..])
                    .args(["-display", "none", "-monitor", "none"]);
                qemu.args([
                    "-serial",
                    "none",
                    "-semihosting-config",
                    "enable=on,target=native",
                ]);
                qemu.arg("-kernel").arg(elf);
                qemu
            }
            Runner::ProbeRs(chip) => {
                let mut probe = Command::new("probe-rs");
                probe.args(["run", "--chip", chip]).arg(elf);
                probe
            }
        }
    }

    /// How to get that command's program.
    pub(super) fn install_hint(&self) -> &'static str {
        match self.runner {
            Runner::Qemu(_) => {
                "run tests/setup.sh, or install it (Debian: apt-get install qemu-system-arm qemu-system-misc)"
            }
            Runner::ProbeRs(_) => "install probe-rs (https://probe.rs) and connect the board",
        }
    }
}

/// The names of all boards, sorted.
///
/// # Errors
/// [`FlashError::Source`] when the firmware's sources are gone.
pub fn names() -> Result<Vec<String>, FlashError> {
    let folder = folder()?;
    let mut names: Vec<String> = fs::read_dir(&folder)
        .map_err(|e| FlashError::io(&folder, e))?
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("board.toml").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// The workspace, as it was where this program was compiled.
pub(super) fn workspace() -> Result<PathBuf, FlashError> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("");
    if path.join("vq-firmware/Cargo.toml").is_file() {
        Ok(path)
    } else {
        Err(FlashError::Source(path))
    }
}

fn folder() -> Result<PathBuf, FlashError> {
    Ok(workspace()?.join("vq-firmware/boards"))
}

fn parse(name: &str, text: &str) -> Result<Board, String> {
    let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
    let runner = match (file.qemu, file.chip) {
        (Some(words), None) if !words.is_empty() => Runner::Qemu(words),
        (None, Some(chip)) => Runner::ProbeRs(chip),
        _ => return Err("one of `qemu` (program and options) and `chip` is needed".to_owned()),
    };
    Ok(Board {
        name: name.to_owned(),
        about: file.about,
        target: file.target,
        cpu: file.cpu,
        runner,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_of_the_source_tree_is_well_described() {
        let names = names().unwrap();
        assert!(names.iter().any(|name| name == "mps2-an386"));
        for name in names {
            Board::find(&name).unwrap();
        }
    }

    #[test]
    fn an_unknown_board_is_answered_with_the_known_ones() {
        let error = Board::find("abacus").unwrap_err().to_string();
        assert!(
            error.contains("abacus") && error.contains("mps2-an386"),
            "{error}"
        );
    }

    #[test]
    fn a_board_has_one_runner() {
        let head = "about = 'a'\ntarget = 't'\n";
        let with = |rest: &str| parse("b", &format!("{head}{rest}"));
        assert_eq!(
            with("chip = 'X'").unwrap().runner,
            Runner::ProbeRs("X".to_owned())
        );
        for rest in ["", "qemu = []", "qemu = ['q']\nchip = 'X'", "chips = 'X'"] {
            with(rest).unwrap_err();
        }
    }
}
