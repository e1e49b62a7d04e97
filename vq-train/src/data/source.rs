//! How folders of training data are named, in a configuration and on the command line.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::str::FromStr;

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

impl FromStr for Source {
    type Err = &'static str;

    /// `DIR` or `DIR=WEIGHT`; a folder whose own name ends so is named as `DIR=1`.
    fn from_str(text: &str) -> Result<Source, Self::Err> {
        let weighted = text.rsplit_once('=').and_then(|(path, weight)| {
            let weight = weight.parse().ok()?;
            Some((path, weight))
        });
        let (path, weight) = weighted.unwrap_or((text, 1.0));
        let source = Source {
            path: path.into(),
            weight,
        };
        source.usable().then_some(source).ok_or(Source::WEIGHTS)
    }
}

impl Source {
    /// What weights may be.
    pub(crate) const WEIGHTS: &str = "a weight must be 0.000001 to 1000000";

    pub(crate) fn usable(&self) -> bool {
        (1e-6..=1e6).contains(&self.weight)
    }
}

fn one() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_stands_behind_the_last_equals_sign() {
        let read = |text: &str| text.parse::<Source>().map(|s| (s.path, s.weight));
        assert_eq!(read("a/b"), Ok(("a/b".into(), 1.0)));
        assert_eq!(read("a/b=0.25"), Ok(("a/b".into(), 0.25)));
        assert_eq!(read("a=b"), Ok(("a=b".into(), 1.0)));
        assert_eq!(read("a=2=3"), Ok(("a=2".into(), 3.0)));
        for wrong in ["a=0", "a=-1", "a=nan", "a=inf", "a=1e9"] {
            assert_eq!(read(wrong), Err(Source::WEIGHTS), "{wrong}");
        }
    }
}
