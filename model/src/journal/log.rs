//! A journal that is followed: the state that its rows give, and the end of its chain.

use super::chain::{Break, Head};
use super::convert::{Unreadable, name, row};
use super::row::Row;
use crate::rollout::{Misfit, State, Transition};

/// A state with the end of the chain that it was read from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Log {
    head: Head,
    state: State,
}

/// A row that is in the chain but changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Odd {
    /// Its `inputs` cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It does not fit the state.
    #[error("row {sequence}: {misfit}")]
    Misfit {
        /// Number of the row.
        sequence: u64,
        /// Why not.
        misfit: Misfit,
    },
    /// It did change the state, but its columns tell something else than its `inputs`.
    #[error("row {sequence}: its columns do not say what its inputs say")]
    Columns {
        /// Number of the row.
        sequence: u64,
    },
}

impl Log {
    /// A journal whose older rows are gone: it goes on after this end.
    pub fn after(head: Head) -> Self {
        Self { head, state: State::starting_after(head.sequence) }
    }

    /// Reads rows in the order of their numbers. Also what was odd about them.
    ///
    /// # Errors
    /// Names the first row that breaks the chain.
    pub fn replay(rows: &[Row]) -> Result<(Self, Vec<Odd>), Break> {
        super::chain::verify(rows)?;
        let mut log = match rows.first() {
            Some(first) if first.sequence > 1 => Self::after(Head::before(first)),
            _ => Self::default(),
        };
        let mut odd = Vec::new();
        for row in rows {
            odd.extend(log.admit(row)?);
        }
        Ok((log, odd))
    }

    /// What the rows say.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Where the chain ends.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The row to append for a transition. Nothing has changed yet: another collector may be first.
    ///
    /// # Errors
    /// When it does not fit the state.
    pub fn row(&self, transition: &Transition) -> Result<Row, Misfit> {
        let mut after = self.state.clone();
        after.apply(transition)?;
        Ok(row(self.head, transition, name(&self.state, transition), &after))
    }

    /// Takes the next row that the journal has. The last one once more changes nothing. Some when the
    /// row is odd: it is part of the chain, and what can be taken from it is.
    ///
    /// # Errors
    /// When it breaks the chain. Then nothing has changed.
    pub fn admit(&mut self, next: &Row) -> Result<Option<Odd>, Break> {
        let head = self.head.follow(next)?;
        if head == self.head {
            return Ok(None);
        }
        let sequence = next.sequence;
        let odd = match Transition::try_from(next) {
            Ok(transition) => {
                let from = name(&self.state, &transition);
                match self.state.apply(&transition) {
                    Ok(()) => {
                        let same = row(self.head, &transition, from, &self.state).columns_of(next);
                        (!same).then_some(Odd::Columns { sequence })
                    }
                    Err(misfit) => Some(Odd::Misfit { sequence, misfit }),
                }
            }
            Err(unreadable) => {
                self.state.skip();
                Some(unreadable.into())
            }
        };
        self.head = head;
        Ok(odd)
    }

    /// Drops what ended before this time from memory; see [`State::forget`].
    pub fn forget(&mut self, before_ms: i64) {
        self.state.forget(before_ms);
    }
}

impl Row {
    /// Whether the columns are equal apart from how the JSON texts are written.
    fn columns_of(&self, other: &Self) -> bool {
        let strip = |row: &Self| Self {
            change: String::new(),
            inputs: String::new(),
            hash: [0; 32],
            ..row.clone()
        };
        strip(self) == strip(other)
    }
}
