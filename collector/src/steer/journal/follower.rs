//! Reads the journal from its beginning and then on, and knows whether it is whole.
//!
//! A fork, a gap or a row that is not what was hashed ends this for good: nothing more is taken, the
//! reason is shown, and nobody may decide on a state that is not sure. The same holds for a row that
//! this version cannot read, since what it changed is not known. A store that is away is waited for.
//!
//! Rows are read a page at a time; what is kept is the state that they add up to.

use std::time::Duration;

use flyball_model::journal::{Break, Head, Log, Odd, Row, Why, verify_after};
use flyball_model::rollout::Transition;
use tokio::time::Instant;

use super::{Append, Journal, JournalError};
use crate::store::StoreError;

/// Replicas fetch rows in any order: a gap is one only after this time.
const GAP_PATIENCE: Duration = Duration::from_secs(30);
/// Most odd rows that are remembered.
const MOST_ODD: usize = 20;
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
    first: u64,
    origin: Option<[u8; 32]>,
    odd: Vec<String>,
    gap_since: Option<Instant>,
    /// The end was reached once: what comes from now on is news.
    has_read: bool,
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
        Self {
            journal,
            log: Log::default(),
            health: Health::Reading,
            first: 0,
            origin: None,
            odd: Vec::new(),
            gap_since: None,
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
        self.first
    }

    /// Hash of that row: what tells this journal from every other.
    pub fn origin(&self) -> Option<[u8; 32]> {
        self.origin
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
            if sequence > 0 && page.first().is_some_and(|row| row.sequence != sequence) {
                self.stop(Break { sequence, why: Why::Gap { expected: sequence } });
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
        if !self.health.may_decide() || self.first == 0 || !(all || self.is_off().await) {
            return;
        }
        match self.journal.verify().await {
            Ok(verified) => {
                if let Some(problem) = verified.problem {
                    self.breaks(verified.broken_at, problem);
                } else if verified.last < self.log.head().sequence {
                    self.breaks(verified.last + 1, "the newest decisions are gone".to_owned());
                }
            }
            Err(error) => tracing::warn!(%error, "the journal could not be checked"),
        }
    }

    /// Whether the number of rows is not what it should be.
    async fn is_off(&self) -> bool {
        let Ok(count) = self.journal.store().count_decisions().await else { return false };
        // Old rows go when their time is over, and others append meanwhile.
        let expected = count.last.saturating_sub(count.first) + 1;
        count.rows != expected || count.last < self.log.head().sequence
    }

    /// Takes a page. True when nothing more can be taken now.
    fn take(&mut self, page: &[Row], taken: &mut Vec<Taken>) -> bool {
        let head = self.log.head();
        let Some(first) = page.first() else {
            if head.sequence > 0 {
                self.breaks(head.sequence, "the newest decisions are gone".to_owned());
            } else {
                self.health = Health::Whole;
            }
            return true;
        };
        if head.sequence == 0 {
            self.first = first.sequence;
            self.origin = Some(first.hash);
            if first.sequence > 1 {
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

    /// True: nothing more can be taken now.
    fn stop(&mut self, broken: Break) -> bool {
        let mut sequence = broken.sequence;
        if let Why::Gap { expected } = broken.why {
            sequence = expected;
            let since = *self.gap_since.get_or_insert_with(Instant::now);
            let may_come = !self.journal.store().reads_what_is_written();
            if may_come && since.elapsed() < GAP_PATIENCE {
                self.health = Health::Reading;
                return true;
            }
        }
        self.breaks(sequence, broken.why.to_string());
        true
    }

    fn breaks(&mut self, sequence: u64, reason: String) {
        tracing::error!(sequence, reason, "the journal is broken, nothing is decided any more");
        self.health = Health::Broken { sequence, reason };
    }
}
