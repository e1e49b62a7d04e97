//! Writes the golden model of `support/operators.rs` and its pictures to `golden/`. `golden_operators.rs` compares them.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    for file in vq_tests::operators::files() {
        std::fs::write(folder.join(file.name), file.bytes)?;
    }
    Ok(())
}
