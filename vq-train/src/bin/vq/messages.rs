//! The door to people: messages and the progress bar, all of them on stderr.
//!
//! Messages are a courtesy. One that cannot be written, because its reader has gone (`2>&1 | head`), the disk
//! behind a log is full or the terminal was closed, is forgotten, and the work goes on. Nothing else in this
//! program writes to stderr or to a terminal.

use indicatif::{ProgressBar, ProgressStyle, WeakProgressBar};
use std::fmt::Display;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// The bar that a message must not be written across.
static SHOWN: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// Writes a line for people, formatted as `println!` does.
macro_rules! note {
    ($($part:tt)*) => { $crate::messages::write(format_args!($($part)*)) };
}
pub(crate) use note;

/// Writes a line, above the progress bar if one is shown.
pub(crate) fn write(message: impl Display) {
    // One call of the system a message, so that those of several processes in one file stay apart.
    let line = format!("{message}\n");
    let write = || {
        let _ = std::io::stderr().write_all(line.as_bytes());
    };
    match shown() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

fn shown() -> Option<ProgressBar> {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    shown.as_ref().and_then(WeakProgressBar::upgrade)
}

/// A progress bar, which goes when it is dropped. It is shown on a terminal that can move its cursor, and
/// nowhere else.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// Shows a bar of `length` steps, of which `done` are done; `template` is one of `indicatif`'s.
    pub(crate) fn show(length: u64, done: u64, template: &str) -> Bar {
        let style = ProgressStyle::with_template(template).expect("a template of this program");
        let bar = ProgressBar::new(length).with_style(style.progress_chars("=> "));
        bar.set_position(done);
        bar.reset_eta();
        let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Some(bar.downgrade());
        Bar(bar)
    }

    /// Whether nobody sees it, so that a line now and then has to tell how far the work is.
    pub(crate) fn is_hidden(&self) -> bool {
        self.0.is_hidden()
    }

    /// One step more is done.
    pub(crate) fn advance(&self) {
        self.0.inc(1);
    }

    /// So many steps are done, and this is to be said of the last.
    pub(crate) fn update(&self, done: u64, message: String) {
        self.0.set_position(done);
        self.0.set_message(message);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
