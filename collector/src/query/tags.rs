//! What kept answers are invalidated by: late samples of their nodes and times, and whatever an operator names.
//!
//! An entry has few tags, whatever it covers: a question about few nodes and hours has one for each node and hour, a larger one is tagged by day, then by fleet and hour, and so on. So a late sample
//! invalidates little where little is kept, and a tag of each of these sizes is stamped for it.

use std::collections::BTreeSet;

use super::fold::Within;
use super::{Buckets, MetricsQuery, sql};
use crate::cache::Tag;
use crate::store::{DAY_MS, HOUR_MS, LateMark};

/// Most tags of one entry for its nodes and times.
const MAX_TAGS: i64 = 32;
/// Late marks of one batch above which everything that late samples may change is invalidated.
const MAX_MARKS: usize = 256;
/// Nodes of an entry that are named by tags of their own, for operators.
const MAX_NODES: usize = 16;

/// Size of a piece of time that has a tag.
#[derive(Debug, Clone, Copy)]
enum Time {
    Hour(i64),
    Day(i64),
    Any,
}

/// The tags of an entry that covers these buckets.
pub(super) fn of_query(query: &MetricsQuery, buckets: Buckets) -> Vec<Tag> {
    let hashes: BTreeSet<u16> = query.series.iter().map(|series| series.id.node_hash()).collect();
    let names: BTreeSet<&str> = query.series.iter().map(|series| &*series.node).collect();
    let mut tags = vec![Tag::new("late"), metric(&query.metric)];
    if names.len() > MAX_NODES {
        tags.push(Tag::new("fleet"));
    } else {
        tags.extend(names.into_iter().map(node));
    }
    // The rate of a bucket depends on samples beside it.
    let gap_ms = sql::gap_ms(buckets.step_ms());
    let around_ms = if query.fold.within == Within::Rate { gap_ms } else { 0 };
    let from_ms = (buckets.first_ms() - around_ms).max(0);
    let to_ms = buckets.end_ms() + around_ms;
    let pieces = |width_ms: i64| (from_ms / width_ms)..=((to_ms - 1) / width_ms);
    let count = |width_ms: i64| pieces(width_ms).end() - pieces(width_ms).start() + 1;
    let nodes = hashes.len().max(1) as i64;
    // Without names a node that is not there yet may have late samples too.
    let of_nodes = query.names_nodes && nodes * count(HOUR_MS).min(count(DAY_MS)) <= MAX_TAGS;
    let scopes: Vec<Option<u16>> =
        if of_nodes { hashes.into_iter().map(Some).collect() } else { vec![None] };
    let scale = scopes.len().max(1) as i64;
    let times: Vec<Time> = if scale * count(HOUR_MS) <= MAX_TAGS {
        pieces(HOUR_MS).map(Time::Hour).collect()
    } else if scale * count(DAY_MS) <= MAX_TAGS {
        pieces(DAY_MS).map(Time::Day).collect()
    } else {
        vec![Time::Any]
    };
    tags.extend(scopes.iter().flat_map(|scope| times.iter().map(|time| late(*scope, *time))));
    tags
}

/// The tags that late samples invalidate.
pub(super) fn of_marks(marks: &[LateMark]) -> Vec<Tag> {
    if marks.len() > MAX_MARKS {
        return vec![Tag::new("late")];
    }
    let mut tags = BTreeSet::new();
    for mark in marks {
        let (hour, day) = (mark.span_ms / HOUR_MS, mark.span_ms / DAY_MS);
        for scope in [Some(mark.node), None] {
            for time in [Time::Hour(hour), Time::Day(day), Time::Any] {
                tags.insert(late(scope, time));
            }
        }
    }
    tags.into_iter().collect()
}

/// The tags that an operator means: `all`, `metric:NAME` or `node:NAME`.
pub fn of_operator(text: &str) -> Option<Vec<Tag>> {
    if text == "all" {
        return Some(vec![Tag::ALL]);
    }
    if let Some(name) = text.strip_prefix("metric:").filter(|name| !name.is_empty()) {
        return Some(vec![metric(name)]);
    }
    let name = text.strip_prefix("node:").filter(|name| !name.is_empty())?;
    Some(vec![node(name), Tag::new("fleet")])
}

fn metric(name: &str) -> Tag {
    Tag::new(&format!("metric:{name}"))
}

fn node(name: &str) -> Tag {
    Tag::new(&format!("node:{name}"))
}

fn late(scope: Option<u16>, time: Time) -> Tag {
    let scope = scope.map_or_else(|| "fleet".to_owned(), |node| node.to_string());
    Tag::new(&match time {
        Time::Hour(hour) => format!("late:{scope}:hour:{hour}"),
        Time::Day(day) => format!("late:{scope}:day:{day}"),
        Time::Any => format!("late:{scope}"),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flyball_proto::series::Kind;
    use proptest::prelude::*;

    use super::*;
    use crate::query::validate::By;
    use crate::query::{Agg, Fold};
    use crate::store::SeriesId;
    use crate::store::catalog::SelectedSeries;

    fn id(node: u16) -> SeriesId {
        SeriesId::from(u64::from(node) << 28 | 7)
    }

    fn query(nodes: &[u16], buckets: Buckets) -> MetricsQuery {
        let series = nodes.iter().map(|&node| SelectedSeries {
            id: id(node),
            node: format!("n{node}").into(),
            attributes: Vec::new(),
        });
        MetricsQuery {
            metric: "m".into(),
            unit: "1".into(),
            kind: Kind::Gauge,
            fold: Fold::from(Agg::Avg),
            buckets,
            by: By::Series,
            top: None,
            names_nodes: true,
            series: series.collect(),
        }
    }

    proptest! {
        #[test]
        fn a_late_sample_invalidates_every_entry_that_it_changes(
            nodes in prop::collection::btree_set(0..500_u16, 1..200),
            from_ms in 0..90 * DAY_MS,
            span_ms in 1..60 * DAY_MS,
            place in 0.0..1.0,
            which in any::<prop::sample::Index>(),
        ) {
            let nodes: Vec<_> = nodes.into_iter().collect();
            let buckets = Buckets::covering(from_ms, from_ms + span_ms, 60_000);
            let is_named: bool = span_ms % 2 == 0;
            let query = MetricsQuery { names_nodes: is_named, ..query(&nodes, buckets) };
            let tags = of_query(&query, buckets);
            prop_assert!(tags.len() <= MAX_TAGS as usize + MAX_NODES + 2);
            let ts_ms = buckets.first_ms() + ((buckets.end_ms() - buckets.first_ms() - 1) as f64 * place) as i64;
            let node = nodes[which.index(nodes.len())];
            let mark = LateMark { span_ms: ts_ms - ts_ms % LateMark::SPAN_MS, node };
            let late: BTreeSet<_> = of_marks(&[mark]).into_iter().collect();
            prop_assert!(tags.iter().any(|tag| late.contains(tag)));
            // A node that nobody knew when the question was asked.
            let mark = LateMark { node: 9_999, ..mark };
            let late: BTreeSet<_> = of_marks(&[mark]).into_iter().collect();
            prop_assert!(is_named || tags.iter().any(|tag| late.contains(tag)));
        }
    }

    #[test]
    fn a_small_question_is_not_invalidated_by_other_nodes_and_times() {
        let buckets = Buckets::covering(10 * HOUR_MS, 12 * HOUR_MS, 60_000);
        let tags = of_query(&query(&[1, 2], buckets), buckets);
        let touched = |span_ms, node| {
            let late = of_marks(&[LateMark { span_ms, node }]);
            tags.iter().any(|tag| late.contains(tag))
        };
        assert!(touched(11 * HOUR_MS, 1) && touched(10 * HOUR_MS, 2));
        assert!(!touched(11 * HOUR_MS, 3), "another node");
        assert!(!touched(20 * HOUR_MS, 1), "another time");
    }

    #[test]
    fn an_operator_names_what_is_there() {
        let buckets = Buckets::covering(0, HOUR_MS, 60_000);
        let few = of_query(&query(&[1], buckets), buckets);
        let many = of_query(&query(&(0..100).collect::<Vec<_>>(), buckets), buckets);
        let hit =
            |text: &str, tags: &[Tag]| of_operator(text).unwrap().iter().any(|t| tags.contains(t));
        assert!(hit("metric:m", &few) && hit("metric:m", &many) && !hit("metric:x", &few));
        assert!(hit("node:n1", &few) && !hit("node:n2", &few) && hit("node:n2", &many));
        assert_eq!(of_operator("all"), Some(vec![Tag::ALL]));
        for wrong in ["", "node:", "metric:", "nodes:a", "late"] {
            assert_eq!(of_operator(wrong), None, "{wrong}");
        }
    }
}
