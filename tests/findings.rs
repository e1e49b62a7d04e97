//! Every input that ever broke a reader of foreign bytes, replayed, and the seeds from which
//! fuzzing starts.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "fuzz/src/container.rs"]
mod container;
#[path = "fuzz/src/packets.rs"]
mod packets;

#[test]
fn findings() {
    for path in files("findings") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("packets-") {
            packets::run(&bytes(&path));
        } else if name.starts_with("container-") {
            container::run(&bytes(&path));
        } else {
            assert_eq!(name, "README.md", "a find of which target?");
        }
    }
}

/// They were written by another program after FORMAT.md.
#[test]
fn packet_seeds_are_accepted() {
    let seeds = files("fuzz/seeds/packets");
    assert!(!seeds.is_empty());
    for path in seeds {
        assert_eq!(packets::run(&bytes(&path)), 0, "packets refused");
    }
}

#[test]
fn container_seeds_are_accepted_unless_damaged() {
    let seeds = files("fuzz/seeds/container");
    assert!(!seeds.is_empty());
    for path in seeds {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let accepted = container::run(&bytes(&path));
        assert!(accepted || name.starts_with("damaged-"), "refused");
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Prints the name first, so that a failure says which file it was.
fn bytes(path: &Path) -> Vec<u8> {
    println!("{}", path.display());
    fs::read(path).unwrap()
}
