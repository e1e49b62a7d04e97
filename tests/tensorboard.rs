//! Event files are the bytes that `tests/oracle/events.py` has shown to TensorBoard's own reader.

use std::fs;
use std::path::Path;
use vq_train::picture::{Picture, Size};
use vq_train::tensorboard::{EventError, EventWriter};

fn clock() -> f64 {
    1000.5
}

/// A run that was killed behind step 40, and resumed from its checkpoint of step 20.
fn write(folder: &Path) -> Result<(), EventError> {
    let mut killed = EventWriter::with_clock(folder, 0, clock)?;
    for (step, loss) in [(10, 0.5), (20, 0.25), (30, 0.125), (40, 0.0625)] {
        killed.scalar("train/loss", step, loss)?;
    }
    killed.scalar("train/gone", 30, -1.0)?;
    killed.histogram("validation/codes", 20, &[0, 3, 0, 1, 0])?;
    let size = Size {
        width: 6,
        height: 4,
    };
    let picture = Picture::new(size, 3, (0..72).map(|i| 3 * i).collect());
    killed.image("validation/reconstructions", 20, &picture)?;
    killed.flush()?;
    let mut resumed = EventWriter::with_clock(folder, 20, clock)?;
    resumed.scalar("train/loss", 30, 0.75)?;
    resumed.histogram("validation/codes", 40, &[7])?;
    resumed.image("validation/grey", 40, &picture.with_channels(1))?;
    resumed.flush()
}

#[test]
fn event_files_are_those_that_tensorboard_has_read() {
    let ours = Path::new(env!("CARGO_TARGET_TMPDIR")).join("events");
    fs::remove_dir_all(&ours).ok();
    fs::create_dir(&ours).unwrap();
    write(&ours).unwrap();
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle/events");
    let names = ["0000001000", "0000001001"].map(|n| format!("events.out.tfevents.{n}.vq"));
    assert_eq!(fs::read_dir(&ours).unwrap().count(), names.len());
    for name in names {
        let same = fs::read(ours.join(&name)).unwrap() == fs::read(theirs.join(&name)).unwrap();
        let ours = ours.display();
        assert!(
            same,
            "{name} has changed: run tests/oracle/events.py --check {ours}, then copy the new files to \
             tests/oracle/events"
        );
    }
}
