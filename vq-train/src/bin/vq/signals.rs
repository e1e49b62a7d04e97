//! Being asked to stop: by Ctrl-C, by what `kill`, Docker, systemd and Slurm send, and by a terminal that closes.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The exit code of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 128 + SIGINT;

/// A flag that is set when this process is asked to stop. Ctrl-C ends the process when the flag is set already;
/// the other signals may come several times for one reason, and do not.
pub(crate) fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED, stop.clone())?;
    for signal in [Some(SIGINT), Some(SIGTERM), hangup()]
        .into_iter()
        .flatten()
    {
        flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// The signal of a terminal that closes, unless this process was told to outlive that, as `nohup` does by having it
/// ignored; Linux says so.
#[cfg(unix)]
fn hangup() -> Option<i32> {
    use signal_hook::consts::SIGHUP;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let is_ignored = ignored.is_some_and(|mask| mask >> (SIGHUP - 1) & 1 == 1);
    (!is_ignored).then_some(SIGHUP)
}

/// There is no such signal.
#[cfg(not(unix))]
fn hangup() -> Option<i32> {
    None
}
