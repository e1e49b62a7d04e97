//! What is read: a file, or standard input by the name `-`, as the command line promises for every file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Whether `path` names standard input. A file of that name is `./-`.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens a file or standard input.
///
/// # Errors
/// What the system reports.
pub fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if is_stdin(path) {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(File::open(path)?))
}

/// Reads a file or standard input whole.
///
/// # Errors
/// What the system reports.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}
