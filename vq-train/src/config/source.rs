//! How folders of training data are named, in a configuration and on the command line.

use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A folder of training data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The folder.
    pub path: PathBuf,
    /// How many of its pictures make up a batch, relative to the other folders' weights.
    #[serde(default = "one")]
    pub weight: f64,
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Source {
        Source {
            path: path.to_owned(),
            weight: 1.0,
        }
    }
}

impl Source {
    /// Reads `DIR` or `DIR=WEIGHT`; a folder whose own name ends so is named as `DIR=1`.
    ///
    /// # Errors
    /// What weights may be, for one that is not.
    pub fn read(text: &OsStr) -> Result<Source, &'static str> {
        let (path, weight) = split_weight(text).unwrap_or((text, 1.0));
        let source = Source {
            path: path.into(),
            weight,
        };
        source.usable().then_some(source).ok_or(Source::WEIGHTS)
    }

    /// What weights may be.
    pub(super) const WEIGHTS: &str = "a weight must be 0.000001 to 1000000";

    pub(super) fn usable(&self) -> bool {
        (1e-6..=1e6).contains(&self.weight)
    }
}

/// Parts `DIR=WEIGHT`. Names of folders need not be text.
#[cfg(unix)]
fn split_weight(text: &OsStr) -> Option<(&OsStr, f64)> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = text.as_bytes();
    let at = bytes.iter().rposition(|&byte| byte == b'=')?;
    let weight = str::from_utf8(&bytes[at + 1..]).ok()?.parse().ok()?;
    Some((OsStr::from_bytes(&bytes[..at]), weight))
}

/// Parts `DIR=WEIGHT`, where that is text.
#[cfg(not(unix))]
fn split_weight(text: &OsStr) -> Option<(&OsStr, f64)> {
    let (path, weight) = text.to_str()?.rsplit_once('=')?;
    Some((OsStr::new(path), weight.parse().ok()?))
}

fn one() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_stands_behind_the_last_equals_sign() {
        let read = |text: &str| Source::read(OsStr::new(text)).map(|s| (s.path, s.weight));
        assert_eq!(read("a/b"), Ok(("a/b".into(), 1.0)));
        assert_eq!(read("a/b=0.25"), Ok(("a/b".into(), 0.25)));
        assert_eq!(read("a=b"), Ok(("a=b".into(), 1.0)));
        assert_eq!(read("a=2=3"), Ok(("a=2".into(), 3.0)));
        for wrong in ["a=0", "a=-1", "a=nan", "a=inf", "a=1e9"] {
            assert_eq!(read(wrong), Err(Source::WEIGHTS), "{wrong}");
        }
    }
}
