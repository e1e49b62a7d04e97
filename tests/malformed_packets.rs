//! Every input that ever broke the packet reader, replayed, and the seeds from which fuzzing
//! starts.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "fuzz/src/packets.rs"]
mod packets;

#[test]
fn findings() {
    let finds = files("findings").into_iter().filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("packets-")
    });
    finds.for_each(|path| {
        replay(path);
    });
}

/// They were written by another program after FORMAT.md.
#[test]
fn seeds_are_accepted() {
    let seeds = files("fuzz/seeds/packets");
    assert!(!seeds.is_empty());
    for path in seeds {
        assert_eq!(replay(path), 0);
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// How many packets of the file were refused. Prints the name first, so that a failure says which
/// file it was.
fn replay(path: PathBuf) -> usize {
    println!("{}", path.display());
    packets::run(&fs::read(path).unwrap())
}
