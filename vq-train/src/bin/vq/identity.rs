//! Which file a path leads to, whatever its name: links lead to the same one.

use std::path::Path;

/// A regular file. Pipes and devices have none: nothing is lost by writing to what is read there.
#[cfg(unix)]
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

#[cfg(unix)]
impl Identity {
    fn of(metadata: &std::fs::Metadata) -> Option<Identity> {
        use std::os::unix::fs::MetadataExt;
        metadata.is_file().then(|| Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// The regular file that is at `path`, if one is.
#[cfg(unix)]
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    Identity::of(&path.metadata().ok()?)
}

/// The regular file behind a standard stream, if one is.
#[cfg(unix)]
pub(crate) fn identity_of(stream: impl std::os::fd::AsFd) -> Option<Identity> {
    let file = std::fs::File::from(stream.as_fd().try_clone_to_owned().ok()?);
    Identity::of(&file.metadata().ok()?)
}

/// A regular file, by its full path; hard links are not recognised.
#[cfg(not(unix))]
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity(std::path::PathBuf);

/// The regular file that is at `path`, if one is.
#[cfg(not(unix))]
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    let path = path.canonicalize().ok()?;
    path.is_file().then_some(Identity(path))
}

/// Of a standard stream it is not known here.
#[cfg(not(unix))]
pub(crate) fn identity_of<S>(_stream: S) -> Option<Identity> {
    None
}
