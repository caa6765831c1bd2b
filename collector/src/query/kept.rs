//! What the caches keep of questions: parts of answers, in this process and in Redis, and whole answers ready to be sent.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::{Answer, Tier};
use super::table::{GroupKey, Table};
use super::{Buckets, QueryError};
use crate::cache::{Failure, Key, Value};
use crate::query::MetricsAsk;

/// How long it is not tried again to ask for what is too much.
const TOO_EXPENSIVE: Duration = Duration::from_secs(10);

/// Values of some buckets of a question.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) tier: Tier,
    pub(super) table: Table,
    /// How they were fetched, for who explains.
    pub(super) spent: Option<super::slow::Spent>,
}

/// As it is in Redis.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    tier: Tier,
    first_ms: i64,
    end_ms: i64,
    step_ms: i64,
    rows: Vec<(GroupKey, Vec<f64>)>,
}

impl Value for Arc<Values> {
    fn bytes(&self) -> usize {
        self.table.bytes()
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let buckets = self.table.buckets;
        let rows = self.table.rows.iter().map(|(key, values)| (key.clone(), values.to_vec()));
        let stored = Stored {
            tier: self.tier,
            first_ms: buckets.first_ms(),
            end_ms: buckets.end_ms(),
            step_ms: buckets.step_ms(),
            rows: rows.collect(),
        };
        postcard::to_stdvec(&stored).ok()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let Stored { tier, first_ms, end_ms, step_ms, rows } = postcard::from_bytes(bytes).ok()?;
        let is_sound = first_ms >= 0 && step_ms > 0 && first_ms < end_ms;
        let buckets = is_sound.then(|| Buckets::covering(first_ms, end_ms, step_ms))?;
        let width = buckets.count() as usize;
        let mut table = Table::new(buckets);
        for (key, values) in rows {
            let row = table.push(key).ok()?;
            (values.len() == width).then(|| row.copy_from_slice(&values))?;
        }
        Some(Self::new(Values { tier, table, spent: None }))
    }
}

impl Value for Arc<Answer> {
    fn bytes(&self) -> usize {
        Answer::bytes(self)
    }
}

impl Failure for QueryError {
    fn keep_for(&self) -> Duration {
        if matches!(self, Self::TooExpensive(_)) { TOO_EXPENSIVE } else { Duration::ZERO }
    }

    fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Busy)
    }
}

/// What tells a question from all others that are not the same: everything but its grid. The order of nodes, groups and filters does not matter.
pub(super) fn identity(kind: &str, ask: &MetricsAsk, buckets: Buckets) -> Key {
    let sorted = |texts: &[String]| {
        let mut texts: Vec<String> = texts.to_vec();
        texts.sort_unstable();
        texts.dedup();
        texts
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let lists = [&ask.nodes, &ask.by, &ask.filter].map(|list| sorted(list));
    let key = Key::builder(kind).text(&text(&ask.metric)).text(&text(&ask.agg));
    let key = key.text(&text(&ask.within)).number(ask.top.unwrap_or_default() as i64);
    let key = lists.iter().fold(key, |key, list| key.texts(list.iter().map(String::as_str)));
    key.number(buckets.first_ms()).number(buckets.end_ms()).number(buckets.step_ms()).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were_stored() {
        let mut table = Table::new(Buckets::covering(0, 30, 10));
        let key = GroupKey::from([("node".to_owned(), "a".to_owned())]);
        table.push(key).unwrap().copy_from_slice(&[1.5, f64::NAN, -0.0]);
        let values = Arc::new(Values { tier: Tier::Minute, table, spent: None });
        let back = Arc::<Values>::decode(&values.encode().unwrap()).unwrap();
        assert_eq!((back.tier, back.table.buckets), (values.tier, values.table.buckets));
        let bits = |values: &Values| {
            values.table.rows[0].1.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(bits(&back), bits(&values));
        assert!(Arc::<Values>::decode(b"garbage").is_none());
    }

    #[test]
    fn the_same_question_is_the_same_key_in_whatever_order_it_is_asked() {
        let ask = |nodes: &[&str], filter: &[&str]| MetricsAsk {
            metric: Some("m".into()),
            nodes: nodes.iter().map(|n| (*n).to_owned()).collect(),
            filter: filter.iter().map(|n| (*n).to_owned()).collect(),
            ..MetricsAsk::default()
        };
        let grid = Buckets::covering(0, 30, 10);
        let key = |ask: &MetricsAsk| identity("a", ask, grid);
        assert_eq!(key(&ask(&["a", "b"], &["x=1"])), key(&ask(&["b", "a", "a"], &["x=1"])));
        assert_ne!(key(&ask(&["a"], &["b"])), key(&ask(&["a", "b"], &[])));
        let asked = ask(&["a"], &[]);
        assert_ne!(
            identity("a", &asked, grid),
            identity("a", &asked, Buckets::covering(0, 40, 10))
        );
        assert_ne!(identity("a", &asked, grid), identity("b", &asked, grid));
        let top = MetricsAsk { top: Some(1), ..asked.clone() };
        assert_ne!(key(&asked), key(&top));
    }
}
