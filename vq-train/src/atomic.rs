//! Files that are either whole or absent.
//!
//! Everything that `vq` writes goes through here: a reader, or the next run after a power cut,
//! sees the old file or the new one and never a part of it. Nothing here knows what is written.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Names of temporary files begin with this.
const PREFIX: &str = ".vq-";
/// And end with this.
const SUFFIX: &str = ".part";

/// Writes `bytes` to `path` through a temporary file beside it: written, synced, renamed.
///
/// A symbolic link keeps pointing where it points; a device or pipe, which cannot be replaced, is
/// written to directly.
///
/// # Errors
/// Whatever the file system reports. No new file is left behind, and an old one is untouched.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if fs::metadata(&target).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        return File::options().write(true).open(&target)?.write_all(bytes);
    }
    let mut file = temporary_file(&parent(&target))?;
    file.as_file_mut().write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(&target)?;
    Ok(())
}

/// Finds out whether [`write()`] could write `path` now, as far as that can be known before, and leaves nothing
/// behind. Folders that do not exist yet are taken for ones that will be made.
///
/// # Errors
/// What the file system would report.
pub fn try_path(path: &Path) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    match fs::metadata(&target) {
        Ok(there) if there.is_dir() => return Err(ErrorKind::IsADirectory.into()),
        // Opening a pipe would wait for its reader.
        Ok(there) if !there.is_file() => return Ok(()),
        _ => (),
    }
    let mut folder = parent(&target);
    while fs::metadata(&folder).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
        folder = parent(&folder);
    }
    temporary_file(&folder).map(drop)
}

/// Removes from `folder` what a process that was killed while it wrote has left there.
///
/// Only for a folder in which no other process is writing.
///
/// # Errors
/// Whatever the file system reports.
pub fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The folder that holds `path`, also for a bare file name.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// A new temporary file in `folder`, with the permissions of any other new file.
fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    let mut code = None;
    let open = |path: &Path| {
        let file = File::options().write(true).create_new(true).open(path);
        file.inspect_err(|e| code = e.raw_os_error())
    };
    let mut builder = tempfile::Builder::new();
    let made = builder.prefix(PREFIX).suffix(SUFFIX).make_in(folder, open);
    // The system's own error: the temporary file's name, which is added to it, says nothing to anybody.
    made.map_err(|e| code.map_or(e, io::Error::from_raw_os_error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write(&path, b"first").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let occupied = folder.path().join("occupied");
        fs::create_dir(&occupied).unwrap();
        assert!(write(&occupied, b"x").is_err());
        assert!(write(&folder.path().join("missing/a.bin"), b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn trying_a_path_tells_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(&at("a.bin"), b"old").unwrap();
        for good in ["a.bin", "b.bin", "not/yet/c.bin"] {
            try_path(&at(good)).unwrap();
        }
        let kind = |name: &str| try_path(&at(name)).unwrap_err().kind();
        assert_eq!(kind("a.bin/c.bin"), ErrorKind::NotADirectory);
        assert_eq!(kind(""), ErrorKind::IsADirectory);
        assert_eq!(fs::read(at("a.bin")).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn leftovers_go_and_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".vq-Ab12.part", ".vq-notes", "a.part"] {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        remove_leftovers(folder.path()).unwrap();
        assert!(!folder.path().join(".vq-Ab12.part").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_keeps_its_target_and_a_device_survives() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("t"), folder.path().join("l"));
        write(&target, b"old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        write(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
