//! The host in a board's place: for `clippy`, and for a look at what a binary prints.

use std::io::Write;
use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// What [`now`] counts.
pub const UNIT: &str = "nanoseconds";

/// Starts the clock.
pub fn init() {
    START.get_or_init(Instant::now);
}

/// Nanoseconds since the start.
pub fn now() -> u64 {
    START
        .get()
        .map_or(0, |start| start.elapsed().as_nanos() as u64)
}

/// Writes to standard output.
pub fn write(bytes: &[u8]) {
    if std::io::stdout().write_all(bytes).is_err() {
        exit(false);
    }
}

/// Ends the process.
pub fn exit(good: bool) -> ! {
    std::process::exit(i32::from(!good))
}
