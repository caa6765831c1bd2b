//! What servers have counted lately, and what of it is a change's doing.
//!
//! A count says something only beside what was usual: many applications live with errors (a script that
//! is not loaded yet, a key of another type), and a full server that evicts nothing refuses writes
//! before a change as well as after it. So the share of before is taken off:
//!
//! ```text
//! usual = share before * commands since      beyond = count since - (2 usual + 4 sqrt(usual))
//! ```
//!
//! Where there was none before, every one counts. The share of before is that of the two minutes before
//! the change, or that of the server's whole life where those are not known: after a restart of the
//! collector, which keeps this in memory only.

use std::collections::VecDeque;

use flyball_proto::steering::CacheCounters;

/// Time between two counts that are kept, milliseconds.
const SPACING_MS: i64 = 5_000;
/// How long they are kept, milliseconds.
const KEPT_MS: i64 = 120_000;
/// Errors of the last so many milliseconds are of late.
const LATELY_MS: i64 = 30_000;

/// What was counted at a moment, epoch milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) at_ms: i64,
    pub(super) counters: CacheCounters,
}

/// Counts of one server, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Counts(VecDeque<Counted>);

/// Where a change found a server.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Base {
    counted: Counted,
    /// Refused for want of memory, of all commands before.
    refused: f64,
    /// Answered with an error, of all commands before.
    failed: f64,
}

/// What a server has counted since a change, beyond what was usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Since {
    /// It was started anew; `None`: not known.
    pub(super) is_restarted: Option<bool>,
    /// Commands that were refused for want of memory.
    pub(super) out_of_memory: u64,
    /// Errors of late, and the commands that they are among.
    pub(super) errors: Option<(u64, u64)>,
}

impl Counts {
    /// Takes note of what a report says. The newest is kept, and of those before it one in five seconds.
    pub(super) fn note(&mut self, counters: &CacheCounters, now_ms: i64) {
        if let [.., older, last] = self.0.make_contiguous()
            && last.at_ms < older.at_ms + SPACING_MS
            && last.counters.run_id == older.counters.run_id
        {
            self.0.pop_back();
        }
        self.0.push_back(Counted { at_ms: now_ms, counters: counters.clone() });
        while self.0.front().is_some_and(|first| first.at_ms + KEPT_MS < now_ms) {
            self.0.pop_front();
        }
    }

    /// Where a change of that time has found the server: what was counted last before it, or first since.
    pub(super) fn base(&self, changed_at_ms: i64) -> Option<Base> {
        let last = self.0.iter().rfind(|counted| counted.at_ms <= changed_at_ms);
        let counted = last.or(self.0.front())?.clone();
        let is_before = |first: &&Counted| {
            first.at_ms < counted.at_ms && first.counters.run_id == counted.counters.run_id
        };
        let nothing = CacheCounters::default();
        let first = self.0.iter().find(is_before).map_or(&nothing, |first| &first.counters);
        let share = |of: fn(&CacheCounters) -> Option<u64>| {
            let count = more(of(&counted.counters).unwrap_or(0), of(first).unwrap_or(0));
            count as f64 / commands(&counted.counters, first).max(1) as f64
        };
        let (refused, failed) = (share(|c| c.out_of_memory), share(errors));
        Some(Base { counted, refused, failed })
    }

    /// What was counted since a change.
    pub(super) fn since(&self, base: &Base, now: &CacheCounters, now_ms: i64) -> Since {
        let before = &base.counted.counters;
        let is_known = !before.run_id.is_empty() && !now.run_id.is_empty();
        if before.run_id != now.run_id {
            let is_restarted = is_known.then_some(true);
            return Since { is_restarted, ..Since::default() };
        }
        let count = more(now.out_of_memory.unwrap_or(0), before.out_of_memory.unwrap_or(0));
        let out_of_memory = beyond(count, base.refused, commands(now, before));
        let is_late = |counted: &&Counted| {
            counted.at_ms + LATELY_MS <= now_ms && counted.counters.run_id == now.run_id
        };
        let late = self.0.iter().rfind(is_late).filter(|late| late.at_ms > base.counted.at_ms);
        let from = late.map_or(before, |late| &late.counters);
        let errors = errors(now).zip(errors(from)).map(|(now_errors, from_errors)| {
            let commands = commands(now, from);
            (beyond(more(now_errors, from_errors), base.failed, commands), commands)
        });
        Since { is_restarted: is_known.then_some(false), out_of_memory, errors }
    }
}

/// Errors of all kinds; those for want of memory are among them.
fn errors(counters: &CacheCounters) -> Option<u64> {
    let of = (counters.errors, counters.rejected_connections);
    (of != (None, None)).then(|| of.0.unwrap_or(0).saturating_add(of.1.unwrap_or(0)))
}

/// Commands from one moment to another, those that were refused included.
fn commands(now: &CacheCounters, before: &CacheCounters) -> u64 {
    let refused = more(errors(now).unwrap_or(0), errors(before).unwrap_or(0));
    more(now.commands, before.commands).saturating_add(refused)
}

/// By how much a counter has grown. One that was reset has not.
fn more(now: u64, before: u64) -> u64 {
    now.saturating_sub(before)
}

fn beyond(count: u64, share: f64, commands: u64) -> u64 {
    let usual = share * commands as f64;
    let allowed = 2.0f64.mul_add(usual, 4.0 * usual.sqrt());
    count.saturating_sub(allowed.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(run: &str, commands: u64, errors: u64, out_of_memory: u64) -> CacheCounters {
        CacheCounters {
            run_id: run.to_owned(),
            commands,
            errors: Some(errors),
            out_of_memory: Some(out_of_memory),
            rejected_connections: Some(0),
        }
    }

    /// A minute with so many of each in five seconds, after a long life without any.
    fn minute(errors: u64, out_of_memory: u64) -> Counts {
        let mut counts = Counts::default();
        for i in 0..12 {
            let now = counters("a", 1_000_000 + i * 5_000, i * errors, i * out_of_memory);
            counts.note(&now, i as i64 * SPACING_MS);
        }
        counts
    }

    #[test]
    fn every_refusal_counts_where_there_was_none_and_only_more_where_there_were() {
        let calm = minute(0, 0);
        let base = calm.base(60_000).unwrap();
        let since = calm.since(&base, &counters("a", 1_060_000, 1, 1), 61_000);
        assert_eq!((since.is_restarted, since.out_of_memory), (Some(false), 1));
        assert_eq!(calm.since(&base, &counters("a", 1_060_000, 0, 0), 61_000).out_of_memory, 0);

        let full = minute(100, 100);
        let base = full.base(60_000).unwrap();
        let as_before = counters("a", 1_055_000 + 5_000, 1_200, 1_200);
        let since = full.since(&base, &as_before, 60_000);
        assert_eq!((since.out_of_memory, since.errors.unwrap().0), (0, 0), "as before");
        let worse = counters("a", 1_055_000 + 5_000, 2_100, 2_100);
        let since = full.since(&base, &worse, 60_000);
        assert!(since.out_of_memory > 500 && since.errors.unwrap().0 > 500, "{since:?}");
    }

    #[test]
    fn errors_are_those_of_late() {
        let mut counts = minute(0, 0);
        let base = counts.base(55_000).unwrap();
        for i in 12..24 {
            counts.note(&counters("a", 1_000_000 + i * 5_000, 0, 0), i as i64 * SPACING_MS);
        }
        let now = counters("a", 1_120_000, 900, 0);
        let (errors, commands) = counts.since(&base, &now, 120_000).errors.unwrap();
        assert_eq!(errors, 900);
        assert_eq!(commands, 30_900, "of the last 30 s, not of the whole trial");
    }

    #[test]
    fn another_run_is_a_restart_and_one_that_is_not_named_is_unknown() {
        let counts = minute(0, 0);
        let base = counts.base(60_000).unwrap();
        let since = |now: &CacheCounters| counts.since(&base, now, 61_000).is_restarted;
        assert_eq!(since(&counters("b", 5, 0, 0)), Some(true));
        assert_eq!(since(&counters("", 5, 0, 0)), None);
        assert_eq!(since(&counters("a", 1_060_000, 0, 0)), Some(false));
    }

    #[test]
    fn a_collector_that_has_just_started_takes_what_it_sees_first() {
        let mut counts = Counts::default();
        assert_eq!(counts.base(0), None);
        counts.note(&counters("a", 900, 100, 0), 70_000);
        let base = counts.base(60_000).unwrap();
        assert!((base.failed - 0.1).abs() < 1e-9, "of its whole life: {base:?}");
        for at_ms in 70_001..70_100 {
            counts.note(&counters("a", 901, 100, 0), at_ms);
        }
        assert_eq!(counts.0.len(), 2, "not more than one in five seconds, and the newest");
        assert_eq!(counts.base(80_000).unwrap().counted.at_ms, 70_099);
        counts.note(&counters("a", 901, 100, 0), 70_100 + KEPT_MS);
        assert_eq!(counts.0.len(), 1, "and not for ever");
    }
}
