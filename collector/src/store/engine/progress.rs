//! Progress of one long step, on standard error: a bar on a terminal, otherwise a line for each tenth.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How far a step of known size is.
#[derive(Debug)]
pub(super) struct Progress {
    name: &'static str,
    total_bytes: u64,
    bar: Option<ProgressBar>,
    tenths_shown: AtomicU64,
}

impl Progress {
    /// Shows that `name` has begun.
    pub(super) fn start(name: &'static str, total_bytes: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = "{msg:36} {bar:30} {bytes:>11} of {total_bytes}, {binary_bytes_per_sec}, {eta} left";
            let style = ProgressStyle::with_template(style).expect("the template is valid");
            let bar = ProgressBar::new(total_bytes).with_style(style).with_message(name);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let progress = Self { name, total_bytes, bar, tenths_shown: AtomicU64::new(u64::MAX) };
        progress.set(0);
        progress
    }

    /// So many bytes are done.
    pub(super) fn set(&self, bytes: u64) {
        let bytes = bytes.min(self.total_bytes);
        if let Some(bar) = &self.bar {
            return bar.set_position(bytes);
        }
        let tenths = bytes * 10 / self.total_bytes.max(1);
        if self.tenths_shown.swap(tenths, Ordering::Relaxed) != tenths {
            let line = line(self.name, tenths, self.total_bytes);
            // Progress that cannot be shown is no reason to fail.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// All bytes are done.
    pub(super) fn finish(&self) {
        self.set(self.total_bytes);
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}

fn line(name: &str, tenths: u64, total_bytes: u64) -> String {
    format!("{name}: {} % of {} MB", tenths * 10, total_bytes / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_each_tenth_is_one_line() {
        assert_eq!(line("downloading", 3, 177_817_999), "downloading: 30 % of 177 MB");
        let progress = Progress { bar: None, ..Progress::start("test", 1_000) };
        for bytes in [0, 99, 100, 150, 5_000] {
            progress.set(bytes);
        }
        assert_eq!(progress.tenths_shown.load(Ordering::Relaxed), 10);
    }
}
