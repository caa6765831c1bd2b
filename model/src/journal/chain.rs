//! The chain: each row's hash is the SHA-256 of the hash before it and its own bytes. Whoever changes,
//! drops, adds or moves a row breaks it at that row, unless all rows after it are made anew; the
//! newest hash, kept anywhere else, shows even that.

use sha2::{Digest, Sha256};

use super::row::Row;

/// Where the chain ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of the last row; 0 when there is none.
    pub sequence: u64,
    /// Its hash; zeros when there is none.
    pub hash: [u8; 32],
}

/// The first place where a chain is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("row {sequence}: {why}")]
pub struct Break {
    /// Number of the row.
    pub sequence: u64,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Rows before it are missing.
    #[error("row {expected} is missing")]
    Gap {
        /// Number of the first one.
        expected: u64,
    },
    /// It comes after a row with a higher number.
    #[error("it comes too late in the list")]
    OutOfOrder,
    /// Another row has the same number.
    #[error("there are two different rows with this number")]
    Fork,
    /// It is not what was hashed.
    #[error("its hash is not that of its contents")]
    WrongHash,
    /// It does not follow the row before.
    #[error("it names another hash than that of the row before it")]
    WrongLink,
}

impl Row {
    /// The hash that it should have.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.prev_hash);
        hash.update(self.bytes());
        hash.finalize().into()
    }

    /// The same row at the end of a chain.
    #[must_use]
    pub fn linked(mut self, to: Head) -> Self {
        self.sequence = to.sequence + 1;
        self.prev_hash = to.hash;
        self.hash = self.digest();
        self
    }
}

impl Head {
    /// The end of a chain whose older rows are gone: what its first row says was before it.
    pub fn before(first: &Row) -> Self {
        Self { sequence: first.sequence.saturating_sub(1), hash: first.prev_hash }
    }

    /// The end after this row. The last row once more changes nothing: a store may give one twice.
    ///
    /// # Errors
    /// When the row does not follow.
    pub fn follow(self, row: &Row) -> Result<Self, Break> {
        let broken = |why| Err(Break { sequence: row.sequence, why });
        if row.digest() != row.hash {
            return broken(Why::WrongHash);
        }
        if row.sequence == self.sequence {
            return if row.hash == self.hash { Ok(self) } else { broken(Why::Fork) };
        }
        if row.sequence < self.sequence {
            return broken(Why::OutOfOrder);
        }
        if row.sequence > self.sequence + 1 {
            return broken(Why::Gap { expected: self.sequence + 1 });
        }
        if row.prev_hash != self.hash {
            return broken(Why::WrongLink);
        }
        Ok(Self { sequence: row.sequence, hash: row.hash })
    }
}

/// Checks rows in the order of their numbers. Older rows may be gone, but none in between.
///
/// # Errors
/// Names the first row that is wrong. A fork is named before anything else that is wrong with its
/// rows.
pub fn verify(rows: &[Row]) -> Result<Head, Break> {
    let Some(first) = rows.first() else { return Ok(Head::default()) };
    let start = if first.sequence <= 1 { Head::default() } else { Head::before(first) };
    verify_after(start, rows)
}

/// The same for rows that follow a known end.
///
/// # Errors
/// Names the first row that is wrong.
pub fn verify_after(start: Head, rows: &[Row]) -> Result<Head, Break> {
    let mut head = start;
    for (at, row) in rows.iter().enumerate() {
        let forks = |next: &Row| next.sequence == row.sequence && next.hash != row.hash;
        if rows.get(at + 1).is_some_and(forks) {
            return Err(Break { sequence: row.sequence, why: Why::Fork });
        }
        head = head.follow(row)?;
    }
    Ok(head)
}
