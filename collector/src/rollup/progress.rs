//! How far the rollups are: what queries and `/readyz` need to know of them, kept up to date by the roller of this process whoever computes.

use parking_lot::RwLock;

/// How far the rollups are complete. Only ever behind what is true: then more samples are read, and the answer is the same.
#[derive(Debug, Default)]
pub struct RollupProgress(RwLock<Progress>);

/// One moment of [`RollupProgress`], in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Tiers of 10 s and 1 min are complete before this; 0 when nothing is known.
    pub fine_until_ms: i64,
    /// The tier of 1 h is complete before this.
    pub hours_until_ms: i64,
    /// The server's time when this was read; 0 when it never was.
    pub seen_at_ms: i64,
    /// Marks of late samples that wait.
    pub late_marks: u64,
}

/// A lag that is told as such: a missed span or two are made good within minutes.
const BEHIND_MS: i64 = 30 * 60_000;

impl RollupProgress {
    /// What is known now.
    pub fn get(&self) -> Progress {
        *self.0.read()
    }

    /// Takes note of what the store says.
    pub fn set(&self, progress: Progress) {
        *self.0.write() = progress;
    }
}

impl Progress {
    /// Age of the newest sample that rollups of ten minutes hold all of, in milliseconds.
    pub const fn lag_ms(&self) -> i64 {
        if self.fine_until_ms == 0 { 0 } else { self.seen_at_ms - self.fine_until_ms }
    }

    /// In words, for people. A lag makes queries slower and not wrong, so it is no failure.
    pub fn describe(&self) -> String {
        if self.seen_at_ms == 0 {
            return "not known yet, samples are read instead".to_owned();
        }
        let (lag_s, marks) = (self.lag_ms() / 1_000, self.late_marks);
        let late = if marks == 0 { String::new() } else { format!(", {marks} late marks wait") };
        if self.lag_ms() > BEHIND_MS {
            return format!("{lag_s} s behind and catching up, samples are read instead{late}");
        }
        format!("complete up to {lag_s} s ago{late}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_is_told_in_words() {
        let mut progress = Progress::default();
        assert!(progress.describe().contains("not known"));
        progress = Progress { seen_at_ms: 2_000_000, fine_until_ms: 1_500_000, ..progress };
        assert_eq!(progress.describe(), "complete up to 500 s ago");
        progress = Progress { seen_at_ms: 4_000_000, late_marks: 3, ..progress };
        let text = progress.describe();
        assert!(text.contains("2500 s behind") && text.contains("3 late marks"), "{text}");
    }
}
