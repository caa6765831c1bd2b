//! What of the counters is the agent's own doing, and when they began: kept over restarts of the agent.
//!
//! Redis counts the observer's lookups among its hits and misses, so they are subtracted. A new agent has to go on subtracting what the one before it has looked
//! up, or the hits of a day would jump by all of that at its start. So both are in a file with the id of the server's run, and count for that run only.
//!
//! Properties, each tested below: what is left of hits and misses never falls but for a restart of the counters; it is never more than what the server says;
//! nothing that was looked up before the counters began is subtracted from them.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// The agent's part in the counters of one instance.
#[derive(Debug, Default)]
pub(in crate::sense) struct Kept {
    file: PathBuf,
    run_id: String,
    started_ms: i64,
    /// Lookups before `base`, hits and misses.
    earlier: [u64; 2],
    /// The probes' counts from which on lookups belong to these counters.
    base: [u64; 2],
    last: [i64; 2],
    saved: Option<([u64; 2], i64)>,
    /// The counters began after the server did.
    has_restarted: bool,
}

impl Kept {
    /// Nothing is read before [`Kept::begin`].
    pub(in crate::sense) fn new(file: PathBuf) -> Self {
        Self { file, ..Self::default() }
    }

    /// The server runs as `run_id`. True when that is news; then it has run since `started_ms`, unless the file knows better.
    pub(in crate::sense) fn begin(
        &mut self,
        run_id: &str,
        started_ms: i64,
        probes: (u64, u64),
    ) -> bool {
        if self.run_id == run_id {
            return false;
        }
        let is_first = self.run_id.is_empty();
        run_id.clone_into(&mut self.run_id);
        // All that this agent has looked up so far was in the run that it found.
        self.restart(started_ms, if is_first { (0, 0) } else { probes });
        self.has_restarted = false;
        if let Some(kept) = self.load().filter(|_| is_first) {
            (self.earlier, self.started_ms) = kept;
            self.saved = Some(kept);
        }
        true
    }

    /// The counters began again.
    pub(in crate::sense) fn restart(&mut self, started_ms: i64, probes: (u64, u64)) {
        self.started_ms = started_ms;
        (self.earlier, self.base) = ([0; 2], [probes.0, probes.1]);
        self.last = [0; 2];
        self.has_restarted = true;
    }

    /// When the counters began, in milliseconds since the Unix epoch.
    pub(in crate::sense) const fn started_ms(&self) -> i64 {
        self.started_ms
    }

    /// Lookups that are subtracted, hits and misses.
    pub(in crate::sense) fn own(&self, probes: (u64, u64)) -> [u64; 2] {
        let now = [probes.0, probes.1];
        std::array::from_fn(|i| self.earlier[i] + now[i].saturating_sub(self.base[i]))
    }

    /// What of the server's hits and misses is not the agent's own.
    pub(in crate::sense) fn without_own(
        &mut self,
        raw: [Option<i64>; 2],
        probes: (u64, u64),
    ) -> [Option<i64>; 2] {
        let own = self.own(probes);
        std::array::from_fn(|i| {
            let raw = raw[i]?;
            // A lookup may be counted by the server before it is by us: what was too much once stays until the rest has caught up.
            let rest = (raw - own[i] as i64).max(self.last[i]).min(raw);
            self.last[i] = rest;
            Some(rest)
        })
    }

    /// Writes the file where something has changed.
    ///
    /// # Errors
    /// The system's answer.
    pub(in crate::sense) fn save(&mut self, probes: (u64, u64)) -> io::Result<()> {
        let now = (self.own(probes), self.started_ms);
        let is_known = self.saved.as_ref().is_some_and(|saved| *saved == now);
        // Without lookups and restarts the server knows all of it.
        if self.run_id.is_empty() || is_known || (now.0 == [0; 2] && !self.has_restarted) {
            return Ok(());
        }
        if let Some(parent) = self.file.parent() {
            fs::create_dir_all(parent)?;
        }
        let ([hits, misses], started_ms) = now;
        let next = self.file.with_added_extension("next");
        fs::write(&next, format!("{} {hits} {misses} {started_ms}\n", self.run_id))?;
        fs::rename(&next, &self.file)?;
        self.saved = Some(now);
        Ok(())
    }

    /// What the file says of this run.
    fn load(&self) -> Option<([u64; 2], i64)> {
        let text = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!(file = %self.file.display(), %error, "cannot read what was kept of a cache");
                }
                return None;
            }
        };
        let mut words = text.split_ascii_whitespace();
        let is_ours = words.next() == Some(&self.run_id);
        let (hits, misses) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let started_ms = words.next()?.parse().ok()?;
        is_ours.then_some(([hits, misses], started_ms))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_700_000_000_000;

    fn hits(kept: &mut Kept, raw: i64, probes: u64) -> i64 {
        kept.without_own([Some(raw), None], (probes, 0))[0].unwrap()
    }

    #[test]
    fn what_an_agent_before_this_one_looked_up_stays_subtracted() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("redis/a");
        let mut first = Kept::new(file.clone());
        assert!(first.begin("run", START, (5, 0)), "the first run");
        assert!(!first.begin("run", START + 1, (6, 0)));
        assert_eq!(hits(&mut first, 100, 35), 65);
        first.save((35, 2)).unwrap();

        let mut second = Kept::new(file.clone());
        second.begin("run", START + 999, (0, 0));
        assert_eq!((second.started_ms(), second.own((0, 0))), (START, [35, 2]));
        assert_eq!(hits(&mut second, 110, 4), 71);

        let mut other = Kept::new(file);
        other.begin("another run", START + 7, (0, 0));
        assert_eq!((other.started_ms(), other.own((0, 0))), (START + 7, [0, 0]));
    }

    #[test]
    fn a_restart_of_the_counters_is_kept_too_and_nothing_else_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("redis/a");
        let mut kept = Kept::new(file.clone());
        kept.begin("run", START, (0, 0));
        kept.save((0, 0)).unwrap();
        assert!(!file.exists());
        kept.restart(START + 50, (0, 0));
        kept.save((0, 0)).unwrap();
        let mut next = Kept::new(file.clone());
        next.begin("run", START, (0, 0));
        assert_eq!(next.started_ms(), START + 50);
        std::fs::write(&file, "run 1 x").unwrap();
        let mut garbled = Kept::new(file);
        garbled.begin("run", START, (0, 0));
        assert_eq!(garbled.started_ms(), START);
    }

    proptest! {
        #[test]
        fn what_is_left_never_falls_and_is_never_more_than_all(
            steps in prop::collection::vec((0_i64..50, 0_u64..50, any::<bool>()), 1..60),
        ) {
            let mut kept = Kept::new("/nonexistent".into());
            kept.begin("run", START, (0, 0));
            let (mut raw, mut probes, mut last) = (0, 0, 0);
            for (others, own, is_restarted) in steps {
                if is_restarted {
                    kept.restart(START, (probes, 0));
                    (raw, last) = (0, 0);
                }
                // The server may know of lookups that have not been counted yet, by the one before.
                raw += others + own as i64;
                let rest = hits(&mut kept, raw, probes);
                prop_assert!(rest >= last && rest <= raw);
                probes += own;
                last = rest;
            }
        }
    }
}
