//! The user's map of names.

use super::error::InterchangeError;
use crate::input;
use std::collections::BTreeMap;
use std::path::Path;

/// Our names and theirs: of a parameter, a module, or all of `encoder` or `decoder`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(pub(super) BTreeMap<String, String>);

impl Names {
    /// Reads a TOML file of strings, tables in it being parts of names.
    ///
    /// # Errors
    /// An unreadable file, and all that is no such table.
    pub fn load(path: &Path) -> Result<Names, InterchangeError> {
        let read = |source| InterchangeError::ReadNames {
            path: path.to_owned(),
            source,
        };
        let text = input::open(path)
            .and_then(std::io::read_to_string)
            .map_err(read)?;
        Names::parse(&text, &path.display().to_string())
    }

    /// Reads a text; `origin` is what errors call it.
    ///
    /// # Errors
    /// All that is no table of strings.
    pub fn parse(text: &str, origin: &str) -> Result<Names, InterchangeError> {
        let wrong = |reason: String| InterchangeError::Names {
            origin: origin.into(),
            reason,
        };
        let table: toml::Table = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let mut names = Names::default();
        names.enter("", table).map_err(wrong)?;
        Ok(names)
    }

    fn enter(&mut self, prefix: &str, table: toml::Table) -> Result<(), String> {
        for (key, value) in table {
            let name = format!("{prefix}{key}");
            match value {
                toml::Value::String(theirs) => {
                    self.0.insert(name, theirs);
                }
                toml::Value::Table(inner) => self.enter(&format!("{name}."), inner)?,
                other => return Err(format!("{name} is no name but {other}")),
            }
        }
        Ok(())
    }
}
