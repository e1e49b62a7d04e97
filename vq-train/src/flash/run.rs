//! Runs a program to its end, but not longer than allowed, and keeps the lines that it prints.

use std::io::{ErrorKind, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::FlashError;

/// How often to look whether the program has ended.
const LOOK: Duration = Duration::from_millis(10);

/// What the program said, and how it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) status: ExitStatus,
}

/// Runs `command`, which is stopped after `timeout`; `hint` says how to get it where it is missing.
///
/// # Errors
/// `Missing`, `Timeout` or `Io` of [`FlashError`]. A failure of the program itself is in `status`.
pub(super) fn run(
    mut command: Command,
    timeout: Duration,
    hint: &'static str,
) -> Result<Ended, FlashError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let spawned = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|source| match source.kind() {
        ErrorKind::NotFound => FlashError::Missing {
            program: program.clone(),
            hint,
        },
        _ => FlashError::Io {
            what: program.clone(),
            source,
        },
    })?;
    // Both are read while it runs: a full pipe would hold it up.
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child, timeout)
        .map_err(|source| FlashError::Io {
            what: program,
            source,
        })?
        .ok_or(FlashError::Timeout(timeout.as_secs()))?;
    Ok(Ended {
        stdout: text(stdout),
        stderr: text(stderr),
        status,
    })
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before a broken pipe is still worth having.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        bytes
    })
}

fn text(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
}

/// `None` when it had to be stopped.
fn wait(child: &mut Child, timeout: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str, milliseconds: u64) -> Result<Ended, FlashError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, Duration::from_millis(milliseconds), "")
    }

    #[test]
    fn output_and_status_are_kept() {
        let ended = shell("echo out; echo err >&2; exit 3", 10_000).unwrap();
        assert_eq!(
            (ended.stdout.as_str(), ended.stderr.as_str()),
            ("out\n", "err\n")
        );
        assert_eq!(ended.status.code(), Some(3));
    }

    #[test]
    fn what_does_not_end_is_stopped() {
        let started = Instant::now();
        assert!(matches!(
            shell("exec sleep 60", 50),
            Err(FlashError::Timeout(_))
        ));
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_missing_program_is_named_with_what_to_do() {
        let command = Command::new("vq-no-such-program");
        let error = run(command, Duration::from_secs(1), "install it")
            .unwrap_err()
            .to_string();
        assert_eq!(error, "vq-no-such-program is not installed: install it");
    }
}
