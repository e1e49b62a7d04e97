//! One process at a time in a run's folder.
//!
//! Two trainings in one folder would overwrite each other's checkpoints and logs. So whoever writes a run claims
//! its folder first: by a lock of the operating system on a file in it, which is gone with the process, however
//! that ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The locked file's name in the folder; hidden, so that nobody takes it for a part of the run.
const FILE_NAME: &str = ".lock";

/// A folder that no other process claims while this value lives.
#[derive(Debug)]
pub struct Claim {
    folder: PathBuf,
    /// Whether the folder was made for the claim.
    made: bool,
    /// Locked, where the file system has locks.
    _file: File,
}

/// Why a folder cannot be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another process writes there.
    #[error("another process is writing the run in {folder}: wait for it, or name another folder")]
    Taken {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be made or written to.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The folder, or the file in it.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Claim {
    /// Claims `folder`, which is made if it does not exist.
    ///
    /// A file system without locks keeps nobody out: there every claim succeeds.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn of(folder: &Path) -> Result<Claim, ClaimError> {
        let made = !folder.exists();
        if !made && !folder.is_dir() {
            return Err(io(folder)(ErrorKind::NotADirectory.into()));
        }
        fs::create_dir_all(folder).map_err(io(folder))?;
        let path = folder.join(FILE_NAME);
        loop {
            let file = File::options().create(true).append(true).open(&path);
            let file = file.map_err(io(&path))?;
            if let Err(TryLockError::WouldBlock) = file.try_lock() {
                let folder = folder.to_owned();
                return Err(ClaimError::Taken { folder });
            }
            // A claim that ended meanwhile has removed the file that was opened here: that lock is worth nothing.
            if same_file(&file, &path) {
                return Ok(Claim {
                    folder: folder.to_owned(),
                    made,
                    _file: file,
                });
            }
        }
    }

    /// What is claimed.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Claim {
    /// Leaves no trace of the claim: neither the file nor a folder that nothing was written to.
    fn drop(&mut self) {
        let _ = fs::remove_file(self.folder.join(FILE_NAME));
        if self.made {
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |m: fs::Metadata| (m.dev(), m.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => place(open) == place(named),
        _ => false,
    }
}

/// Open files cannot be removed.
#[cfg(not(unix))]
fn same_file(_file: &File, _path: &Path) -> bool {
    true
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> ClaimError + use<> {
    let path = path.to_owned();
    move |source| ClaimError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_claimed_once_until_the_claim_ends() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("run");
        let claim = Claim::of(&folder).unwrap();
        let second = Claim::of(&folder);
        assert!(
            matches!(second, Err(ClaimError::Taken { .. })),
            "{second:?}"
        );
        drop(claim);
        assert!(!folder.exists(), "nothing was written");
        let again = Claim::of(&folder).unwrap();
        fs::write(folder.join("log"), "x").unwrap();
        drop(again);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_a_killed_process_left_is_no_claim() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE_NAME), "").unwrap();
        drop(Claim::of(folder.path()).unwrap());
        assert!(folder.path().exists(), "the folder was there before");
    }
}
