//! Marks of late samples: read, and taken back when their rollups are computed again.
//!
//! A mark names ten minutes of a node and the insert that was late. It is taken back by a row of the opposite sign with the same id, so that a mark that came while the
//! rollups were computed has another id and stays. Marks wait a little, because an agent that catches up sends many frames for the same ten minutes.

use std::collections::BTreeSet;

use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

use crate::store::{HOUR_MS, LateMark, Servers, StoreError};

/// Time that a mark waits, in seconds.
const WAIT_SECONDS: u32 = 15;
/// Most marks that are read at once.
const MAX_MARKS: usize = 50_000;

/// A mark as it is stored; `span` in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Row, Serialize, Deserialize)]
pub(super) struct Mark {
    span: u32,
    node: u16,
    id: u64,
    sign: i8,
}

/// The marks of one hour that are settled together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LateHour {
    /// Start of the first of its ten minutes.
    pub(super) from_ms: i64,
    /// End of the last of them.
    pub(super) to_ms: i64,
    /// Their nodes.
    pub(super) nodes: Vec<u16>,
    pub(super) marks: Vec<Mark>,
}

impl LateHour {
    /// Start of the hour.
    pub(super) const fn hour_ms(&self) -> i64 {
        self.from_ms - self.from_ms.rem_euclid(HOUR_MS)
    }

    /// The marks, each node and ten minutes once.
    pub(super) fn late_marks(&self) -> Vec<LateMark> {
        let mark =
            |mark: &Mark| LateMark { span_ms: i64::from(mark.span) * 1_000, node: mark.node };
        let all: BTreeSet<_> = self.marks.iter().map(mark).collect();
        all.into_iter().collect()
    }
}

/// Number of marks that wait, and the marks of the oldest hour that are due, of ten minutes that end before `until_ms`.
pub(super) async fn read(
    servers: &Servers,
    until_ms: i64,
    wait: bool,
) -> Result<(u64, Option<LateHour>), StoreError> {
    let wait_seconds = if wait { WAIT_SECONDS } else { 0 };
    let count = |client: Client| async move {
        let query = client.query("SELECT count() FROM rollup_marks WHERE sign = 1");
        Ok(query.fetch_one::<u64>().await?)
    };
    let waiting = servers.ask(count).await?;
    if waiting == 0 {
        return Ok((0, None));
    }
    let marks = |client: Client| async move {
        let sql = "SELECT ?fields FROM rollup_marks WHERE sign = 1 AND span < toDateTime(?, 'UTC') \
                   AND marked_at <= now64(3) - toIntervalSecond(?) ORDER BY span LIMIT ?";
        let query = client.query(sql).bind(until_ms / 1_000).bind(wait_seconds).bind(MAX_MARKS);
        Ok(query.fetch_all::<Mark>().await?)
    };
    Ok((waiting, oldest_hour(servers.ask(marks).await?)))
}

/// Takes marks back.
pub(super) async fn settle(servers: &Servers, marks: &[Mark]) -> Result<(), StoreError> {
    let insert = |client: Client| async move {
        let mut insert = client.insert::<Mark>("rollup_marks").await?;
        for mark in marks {
            insert.write(&Mark { sign: -1, ..*mark }).await?;
        }
        Ok(insert.end().await?)
    };
    servers.ask(insert).await
}

/// The marks of the first one's hour. `marks` are in the order of their times.
fn oldest_hour(marks: Vec<Mark>) -> Option<LateHour> {
    let start_ms = |mark: &Mark| i64::from(mark.span) * 1_000;
    let from_ms = start_ms(marks.first()?);
    let hour = from_ms / HOUR_MS;
    let marks: Vec<_> =
        marks.into_iter().take_while(|mark| start_ms(mark) / HOUR_MS == hour).collect();
    let to_ms = marks.iter().map(|mark| start_ms(mark) + LateMark::SPAN_MS).max()?;
    let nodes: BTreeSet<_> = marks.iter().map(|mark| mark.node).collect();
    Some(LateHour { from_ms, to_ms, nodes: nodes.into_iter().collect(), marks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_hour_is_settled_first_and_whole() {
        let mark = |span: u32, node| Mark { span, node, id: u64::from(span), sign: 1 };
        let marks = vec![mark(7_800, 3), mark(9_000, 1), mark(9_000, 3), mark(10_800, 9)];
        let hour = oldest_hour(marks).unwrap();
        assert_eq!((hour.from_ms, hour.to_ms, hour.hour_ms()), (7_800_000, 9_600_000, 7_200_000));
        assert_eq!((hour.nodes, hour.marks.len()), (vec![1, 3], 3));
        assert_eq!(oldest_hour(Vec::new()), None);
    }
}
