//! Reads the journal from its beginning and then on, and knows whether it is whole.
//!
//! A fork, a gap or a row that is not what was hashed ends this for good: nothing more is taken, the
//! reason is shown, and nobody may decide on a state that is not sure. The same holds for a row that
//! this version cannot read, since what it changed is not known. A store that is away is waited for.
//!
//! A replica may not have the newest rows yet, or miss some in between: there a row is gone only when it was
//! not there for some time. Old rows go when their time is over, so those before the first one that was ever
//! read here cannot be missed; who began to read when they were there can.
//!
//! Rows are read a page at a time; what is kept is the state that they add up to.

use std::time::Duration;

use flyball_model::journal::{Break, Head, Log, Odd, Row, Why, verify_after};
use flyball_model::rollout::Transition;
use tokio::time::Instant;

use super::{Append, Journal, JournalError, Verified};
use crate::live::now_ms;
use crate::store::StoreError;

/// Replicas fetch rows in any order: a gap is one only after this time.
const GAP_PATIENCE: Duration = Duration::from_secs(30);
/// A decision that is dated so much after now, or before the one that it follows, was dated by a clock that
/// is wrong, milliseconds.
const CLOCK_MS: i64 = 10_000;
/// For so long after such a decision it is said that clocks differ.
const CLOCK_TOLD: Duration = Duration::from_mins(10);
/// Most odd rows that are remembered.
const MOST_ODD: usize = 20;
const DAY_MS: i64 = 24 * 3_600_000;
/// Most taken rows that are told at once; of more the newest are.
const MOST_TAKEN: usize = 1_000;

/// How the journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It was not read to its end yet.
    Reading,
    /// It is whole as far as it was read.
    Whole,
    /// The store cannot be read.
    Away {
        /// Why not.
        error: String,
    },
    /// It is not whole.
    Broken {
        /// Number of the first row that is wrong.
        sequence: u64,
        /// What is wrong.
        reason: String,
    },
}

/// A row that was taken, and what it says where that can be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// Its number.
    pub sequence: u64,
    /// What changed.
    pub transition: Option<Transition>,
}

/// A reader of the journal with the state that it says.
#[derive(Debug)]
pub struct Follower {
    journal: Journal,
    log: Log,
    health: Health,
    first: First,
    odd: Vec<String>,
    /// How long a row may be on its way here.
    patience: Duration,
    gap_since: Option<Instant>,
    /// The row that a check did not find, and when.
    suspect: Option<(u64, Instant)>,
    /// When the newest row was made, by the clock of who made it.
    last_ms: Option<i64>,
    /// What tells that clocks differ, and when it was seen.
    clocks: Option<(String, Instant)>,
    /// The end was reached once: what comes from now on is news.
    has_read: bool,
}

/// The oldest row.
#[derive(Debug, Clone, Copy, Default)]
struct First {
    /// Its number; 0: there is none.
    sequence: u64,
    at_ms: i64,
    /// Hash of the row that was first when this began: what tells this journal from every other.
    origin: Option<[u8; 32]>,
}

impl Health {
    /// Whether something may be decided on what was read.
    pub const fn may_decide(&self) -> bool {
        matches!(self, Self::Whole)
    }

    /// In words, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Reading => "is being read".to_owned(),
            Self::Whole => "is whole".to_owned(),
            Self::Away { error } => format!("cannot be read: {error}"),
            Self::Broken { sequence, reason } => {
                format!(
                    "is broken at decision {sequence}: {reason}; nothing is decided until this is mended"
                )
            }
        }
    }
}

impl Follower {
    /// Of which nothing was read yet.
    pub fn new(journal: Journal) -> Self {
        let may_lag = !journal.store().reads_what_is_written();
        Self::patient(journal, if may_lag { GAP_PATIENCE } else { Duration::ZERO })
    }

    /// The same, where a row may be on its way for so long.
    pub fn patient(journal: Journal, patience: Duration) -> Self {
        Self {
            journal,
            log: Log::default(),
            health: Health::Reading,
            first: First::default(),
            odd: Vec::new(),
            patience,
            gap_since: None,
            suspect: None,
            last_ms: None,
            clocks: None,
            has_read: false,
        }
    }

    /// What the rows say, and where they end.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// How the journal is.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Number of the first row that is kept; 0: there is none.
    pub fn first(&self) -> u64 {
        self.first.sequence
    }

    /// Hash of that row: what tells this journal from every other.
    pub fn origin(&self) -> Option<[u8; 32]> {
        self.first.origin
    }

    /// What tells that clocks of collectors differ, in words, if something did lately.
    pub fn clocks(&self) -> Option<&str> {
        let (text, at) = self.clocks.as_ref()?;
        (at.elapsed() < CLOCK_TOLD).then_some(text)
    }

    /// What was odd about rows that were taken, the newest last.
    pub fn odd(&self) -> &[String] {
        &self.odd
    }

    /// Drops what ended before this time from memory.
    pub fn forget(&mut self, before_ms: i64) {
        self.log.forget(before_ms);
    }

    /// Reads on to the end. Gives what was taken, but nothing of the first reading: that is no news.
    /// [`Follower::health`] says whether that is all.
    pub async fn catch_up(&mut self) -> Vec<Taken> {
        let mut taken = Vec::new();
        while !matches!(self.health, Health::Broken { .. }) {
            let (page, more) = match self.journal.page(self.log.head().sequence).await {
                Ok(page) => page,
                Err(error @ StoreError::UnknownWord { sequence, .. }) => {
                    self.breaks(sequence, error.to_string());
                    break;
                }
                Err(error) => {
                    self.health = Health::Away { error: error.to_string() };
                    break;
                }
            };
            let sequence = self.log.head().sequence;
            let missing = match page.first() {
                _ if sequence == 0 => None,
                Some(row) if row.sequence == sequence => None,
                Some(_) => Some(Why::Gap { expected: sequence }.to_string()),
                None => Some("the newest decisions are gone".to_owned()),
            };
            if let Some(reason) = missing {
                self.is_missing(sequence, reason);
                break;
            }
            let ended = self.take(&page, &mut taken);
            let kept = if self.has_read { MOST_TAKEN } else { 0 };
            taken.drain(..taken.len().saturating_sub(kept));
            if !more || ended {
                self.has_read |= self.health.may_decide();
                break;
            }
        }
        taken
    }

    /// Appends a row that [`Follower::log`] made, and takes what then has its number. True when that is
    /// ours.
    ///
    /// # Errors
    /// When it is not known whose row it is, or the journal is broken: catch up, and decide anew.
    pub async fn append(&mut self, row: &Row) -> Result<bool, JournalError> {
        let appended = match self.journal.append(row).await {
            Ok(appended) => appended,
            Err(JournalError::Fork { sequence }) => {
                self.breaks(sequence, Why::Fork.to_string());
                return Err(JournalError::Fork { sequence });
            }
            Err(error) => return Err(error),
        };
        let (is_ours, there) = match &appended {
            Append::Ours => (true, row),
            Append::Theirs(other) => (false, other.as_ref()),
        };
        let mut taken = Vec::new();
        self.take(std::slice::from_ref(there), &mut taken);
        match &self.health {
            Health::Broken { sequence, .. } => Err(JournalError::Fork { sequence: *sequence }),
            _ => Ok(is_ours),
        }
    }

    /// Looks at old rows again, where reading on does not. Counting them finds a second one with an old
    /// number and one that is gone; reading `all` of them finds one that was changed, too.
    pub async fn check(&mut self, all: bool) {
        if !self.health.may_decide() || self.first() == 0 || !(all || self.is_off().await) {
            return;
        }
        let verified = match self.journal.verify().await {
            Ok(verified) => verified,
            Err(error) => return tracing::warn!(%error, "the journal could not be checked"),
        };
        let head = self.log.head().sequence;
        let gone = if verified.first > self.first() {
            self.oldest_gone(verified.first).await
        } else if verified.problem.is_none() && verified.last < head {
            Some((verified.last + 1, "the newest decisions are gone".to_owned()))
        } else {
            verified.gap.map(|missing| (missing, format!("row {missing} is missing")))
        };
        match (gone, verified.problem) {
            (Some((sequence, reason)), _) => self.is_suspect(sequence, reason),
            (None, Some(problem)) => self.breaks(verified.broken_at, problem),
            (None, None) => {
                self.suspect = None;
                // Kept elsewhere, with the log, it shows a chain that was made anew.
                let Verified { first, last, hash, .. } = verified;
                tracing::info!(first, last, hash, "the journal was checked and is whole");
            }
        }
    }

    /// Whether the number of rows is not what it should be.
    async fn is_off(&self) -> bool {
        let Ok(count) = self.journal.store().count_decisions().await else { return false };
        // Others append meanwhile.
        let expected = count.last.saturating_sub(count.first) + 1;
        count.rows != expected
            || count.last < self.log.head().sequence
            || count.first != self.first()
    }

    /// The journal begins later than it did. Says so, unless the time of those that are gone was over.
    async fn oldest_gone(&mut self, now_first: u64) -> Option<(u64, String)> {
        let kept_ms = i64::from(self.journal.store().decisions_retention_days()) * DAY_MS;
        if self.first.at_ms > now_ms() - kept_ms {
            let reason = "the oldest decisions are gone before their time".to_owned();
            return Some((self.first(), reason));
        }
        let (page, _) = self.journal.page(now_first).await.ok()?;
        let row = page.first()?;
        (self.first.sequence, self.first.at_ms) = (row.sequence, row.at_ms);
        None
    }

    /// A check did not find a row. On a replica it may be on its way: then the next check tells.
    fn is_suspect(&mut self, sequence: u64, reason: String) {
        let known = self.suspect.filter(|(known, _)| *known == sequence);
        let (_, since) = *self.suspect.insert(known.unwrap_or((sequence, Instant::now())));
        if since.elapsed() >= self.patience {
            self.breaks(sequence, reason);
        }
    }

    /// Takes a page. True when nothing more can be taken now.
    fn take(&mut self, page: &[Row], taken: &mut Vec<Taken>) -> bool {
        let Some(first) = page.first() else {
            self.health = Health::Whole;
            return true;
        };
        if self.log.head().sequence == 0 {
            let (sequence, at_ms, origin) = (first.sequence, first.at_ms, Some(first.hash));
            self.first = First { sequence, at_ms, origin };
            if first.sequence > 1 {
                tracing::warn!(first = sequence, "older decisions are not kept any more");
                self.log = Log::after(Head::before(first));
            }
        }
        let checked = verify_after(self.log.head(), page);
        let end = checked.as_ref().map_or_else(|broken| broken.sequence, |head| head.sequence + 1);
        for row in page.iter().take_while(|row| row.sequence < end) {
            if let Err(broken) = self.admit(row, taken) {
                return self.stop(broken);
            }
            if matches!(self.health, Health::Broken { .. }) {
                return true;
            }
        }
        if let Err(broken) = checked {
            return self.stop(broken);
        }
        self.gap_since = None;
        self.health = Health::Whole;
        false
    }

    fn admit(&mut self, row: &Row, taken: &mut Vec<Taken>) -> Result<(), Break> {
        let before = self.log.head();
        let odd = self.log.admit(row)?;
        if self.log.head() == before {
            return Ok(());
        }
        self.look_at_clocks(row);
        let transition = Transition::try_from(row).ok();
        taken.push(Taken { sequence: row.sequence, transition });
        let Some(odd) = odd else { return Ok(()) };
        tracing::warn!(%odd, "a decision in the journal is odd");
        if self.odd.len() == MOST_ODD {
            self.odd.remove(0);
        }
        self.odd.push(odd.to_string());
        if let Odd::Unreadable(unreadable) = odd {
            self.breaks(row.sequence, unreadable.to_string());
        }
        Ok(())
    }

    /// Every collector decides on deadlines by its own clock, so one whose clock is wrong ends rollouts that
    /// it should not.
    fn look_at_clocks(&mut self, row: &Row) {
        let before_ms = self.last_ms.replace(row.at_ms);
        if !self.has_read {
            return;
        }
        let ahead_ms = row.at_ms - now_ms();
        let behind_ms = before_ms.map_or(0, |before_ms| before_ms - row.at_ms);
        let (ms, which) = if ahead_ms > behind_ms {
            (ahead_ms, "after now")
        } else {
            (behind_ms, "before the one that it follows")
        };
        if ms < CLOCK_MS {
            return;
        }
        let (sequence, seconds) = (row.sequence, ms / 1_000);
        let text = format!(
            "clocks of collectors differ: decision {sequence} is dated {seconds} s {which}"
        );
        tracing::error!(sequence, seconds, "clocks of collectors differ");
        self.clocks = Some((text, Instant::now()));
    }

    /// True: nothing more can be taken now.
    fn stop(&mut self, broken: Break) -> bool {
        match broken.why {
            Why::Gap { expected } => self.is_missing(expected, broken.why.to_string()),
            why => self.breaks(broken.sequence, why.to_string()),
        }
        true
    }

    /// A row is not there. On a replica it may be on its way.
    fn is_missing(&mut self, sequence: u64, reason: String) {
        let since = *self.gap_since.get_or_insert_with(Instant::now);
        if since.elapsed() < self.patience {
            self.health = Health::Reading;
        } else {
            self.breaks(sequence, reason);
        }
    }

    fn breaks(&mut self, sequence: u64, reason: String) {
        tracing::error!(sequence, reason, "the journal is broken, nothing is decided any more");
        self.health = Health::Broken { sequence, reason };
    }
}
