//! The whole chain checked, a page at a time.

use flyball_model::journal::{Head, Why, verify_after};
use serde::Serialize;
use utoipa::ToSchema;

use super::Journal;
use crate::store::{StoreError, hex};

/// What a check of the whole chain found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verified {
    /// Whether every row follows from the one before.
    pub intact: bool,
    /// Rows that were checked and are right.
    pub rows: u64,
    /// Number of the first one that is kept; 0: there is none.
    pub first: u64,
    /// Number of the last one that is right.
    pub last: u64,
    /// Hash of that one, in hexadecimal: kept elsewhere it shows whether the chain was made anew.
    pub hash: String,
    /// Number of the first row that is wrong; 0: none is.
    pub broken_at: u64,
    /// What is wrong with it, in words.
    pub problem: Option<String>,
    /// Number of the row that is missing, if that is what is wrong.
    #[serde(skip)]
    pub(super) gap: Option<u64>,
}

impl Journal {
    /// Reads all rows and checks them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn verify(&self) -> Result<Verified, StoreError> {
        let (mut page, mut more) = self.page(0).await?;
        let first = page.first().map_or(0, |row| row.sequence);
        let mut head = page.first().map_or_else(Head::default, Head::before);
        if first == 1 {
            head = Head::default();
        }
        let (mut rows, mut broken) = (0_u64, None);
        loop {
            if let Err(found) = verify_after(head, &page) {
                broken = Some(found);
                page.retain(|row| row.sequence < found.sequence);
            }
            let before = head.sequence;
            head = verify_after(head, &page).unwrap_or(head);
            rows += head.sequence - before;
            if broken.is_some() || !more {
                break;
            }
            (page, more) = self.page(head.sequence).await?;
        }
        let gap = broken.and_then(|broken| match broken.why {
            Why::Gap { expected } => Some(expected),
            _ => None,
        });
        let place = gap.or(broken.map(|broken| broken.sequence));
        Ok(Verified {
            intact: broken.is_none(),
            rows,
            first,
            last: head.sequence,
            hash: hex::encode(&head.hash),
            broken_at: place.unwrap_or(0),
            problem: broken.map(|broken| broken.why.to_string()),
            gap,
        })
    }
}
