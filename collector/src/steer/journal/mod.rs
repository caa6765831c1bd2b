//! The journal of decisions: rows of `optimization_logs`, appended one by one, and nothing else.
//!
//! Several collectors append without another service between them. Row `n` is inserted with the
//! deduplication token `log/n`, of which ClickHouse takes the first insert and drops every later one.
//! Then row `n` is read back: if it has our hash, it is ours; if it has another one, another collector
//! was first, and what was decided has to be decided anew on what that row says. What the insert
//! itself answers decides nothing, so a retry, a lost answer and a dropped insert are all the same.
//!
//! Rests on: tokens are remembered for each partition by itself, so the partition follows from the
//! number (migration 0006); the table remembers 1,000 tokens, and an insert that is late by as many
//! rows has long been given up by both sides (timeouts of seconds). Should it happen all the same,
//! both rows stay visible, and a fork ends driving ([`Follower`]).
//!
//! A server that crashes between noting a token and committing the row spends the token on nothing.
//! Where a row is readable as soon as its insert is answered, that can be told for certain: the next
//! token `log/n/1` is then tried, in the same order by everybody. On replicas, where token and row are
//! committed together, it cannot happen.

mod follower;
mod verify;

use std::time::Duration;

use flyball_model::journal::Row;
use tokio::time::{Instant, sleep};

pub use self::follower::{Follower, Health, Taken};
pub use self::verify::Verified;
use crate::store::{Store, StoreError};

/// Rows that are read at once: some 20 MB at worst.
const PAGE: u64 = 500;
/// Longest time until a row that was inserted can be read on a lagging replica.
const VISIBLE: Duration = Duration::from_secs(10);
/// Time between two looks for it.
const LOOK: Duration = Duration::from_millis(50);
/// Tokens that are tried for one row.
const TOKENS: u32 = 4;

/// Why the journal did not take or give a row.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whether the row was taken is not known yet; reading on tells.
    #[error("decision {sequence} was sent and cannot be read yet")]
    Unseen {
        /// Number of the row.
        sequence: u64,
    },
    /// Two different rows have one number.
    #[error("there are two different decisions with the number {sequence}")]
    Fork {
        /// Their number.
        sequence: u64,
    },
}

/// Whose row it is that has the number now.
#[derive(Debug, Clone, PartialEq)]
pub enum Append {
    /// The one that was to be appended.
    Ours,
    /// Another one.
    Theirs(Box<Row>),
}

/// The journal in the store. Clones are the same journal.
#[derive(Debug, Clone)]
pub struct Journal {
    store: Store,
    page_rows: u64,
}

impl Journal {
    /// The journal of a store.
    pub fn new(store: &Store) -> Self {
        Self::paged(store, PAGE)
    }

    /// The same, read so many rows at once, at least three.
    pub fn paged(store: &Store, page_rows: u64) -> Self {
        Self { store: store.clone(), page_rows: page_rows.max(3) }
    }

    /// Appends a row at its number, unless another one has it.
    ///
    /// # Errors
    /// When the store fails before it is known whose row has the number: it may still become ours.
    pub async fn append(&self, row: &Row) -> Result<Append, JournalError> {
        for token in (0..TOKENS).map(|attempt| token(row.sequence, attempt)) {
            let inserted = self.store.insert_decision(row, &token).await;
            let found = self.found(row.sequence, inserted.is_ok()).await?;
            match found.as_slice() {
                [] => inserted?,
                [one] if one.hash == row.hash => return Ok(Append::Ours),
                [one] => return Ok(Append::Theirs(Box::new(one.clone()))),
                _ => return Err(JournalError::Fork { sequence: row.sequence }),
            }
            if !self.store.reads_what_is_written() {
                break;
            }
            let sequence = row.sequence;
            tracing::warn!(sequence, token, "a deduplication token was spent on nothing");
        }
        Err(JournalError::Unseen { sequence: row.sequence })
    }

    /// Rows with numbers from `from` on: one page of them, and whether there are more. Two rows with one
    /// number are on one page.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn page(&self, from: u64) -> Result<(Vec<Row>, bool), StoreError> {
        let mut rows = self.store.decisions(from, self.page_rows).await?;
        let more = rows.len() as u64 == self.page_rows;
        if more
            && let [.., before, last] = rows.as_slice()
            && before.sequence != last.sequence
        {
            rows.pop();
        }
        Ok((rows, more))
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What has this number. Where a row may be there and not yet readable, it is waited for.
    async fn found(&self, sequence: u64, must_be: bool) -> Result<Vec<Row>, StoreError> {
        let end = Instant::now() + VISIBLE;
        loop {
            let mut rows = self.store.decisions(sequence, 2).await?;
            rows.retain(|row| row.sequence == sequence);
            let wait = must_be && rows.is_empty() && !self.store.reads_what_is_written();
            if !wait || Instant::now() >= end {
                return Ok(rows);
            }
            sleep(LOOK).await;
        }
    }
}

fn token(sequence: u64, attempt: u32) -> String {
    if attempt == 0 { format!("log/{sequence}") } else { format!("log/{sequence}/{attempt}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_and_attempt_has_its_own_token() {
        assert_eq!(token(7, 0), "log/7");
        assert_eq!(token(7, 1), "log/7/1");
    }
}
