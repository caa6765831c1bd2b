//! Alerts: what is wrong now and what was a moment ago, in one bounded book.
//!
//! An alert is a kind of trouble on one node. It fires from the first finding that says so to the first one that does not; then it stays in the
//! book as resolved, the newest [`MAX_RESOLVED`]. The book is memory: after a restart the next reports of the agents fill it again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flyball_proto::series::NodeName;
use flyball_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

/// Most alerts that fire at once; further ones are counted and logged only.
const MAX_FIRING: usize = 2_000;
/// Most resolved alerts that are kept.
const MAX_RESOLVED: usize = 200;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Samples of a node do not add up.
    AccountingGap,
    /// A node's agent gave up samples.
    SamplesShed,
    /// Parts of a node's spool cannot be read.
    SpoolCorrupt,
    /// A node's clock jumped.
    ClockStep,
    /// A node's spool will soon be full.
    SpoolFilling,
    /// A node's spool cannot be written.
    SpoolUnwritable,
    /// A node has more series than it may; the others are kept as sums.
    SeriesOverflow,
    /// The collector has as many series as it may; new ones are kept as sums.
    CatalogFull,
    /// ClickHouse refuses to store what some series are.
    SeriesRefused,
    /// The journal of decisions is not whole: nothing is decided.
    JournalBroken,
    /// Collectors date decisions by clocks that differ: one of them ends what it should not.
    ClocksDiffer,
    /// Changes of a target have failed too often, or it is not known what is in force there.
    TargetLocked,
    /// A rollout waits for a person.
    RolloutAsks,
    /// Control of a pool has frozen by itself.
    ControlFrozen,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something to look at.
    Warning,
    /// Data was or is being lost, or what is decided is not sure.
    Critical,
}

/// Whether it still is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// It is so now.
    Firing,
    /// It is over.
    Resolved,
}

/// One alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Alert {
    /// Names this occurrence, also across restarts of the collector.
    #[schema(example = "1785585600000-1")]
    pub id: String,
    /// What is wrong.
    #[schema(example = "samples.shed")]
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// On which node; null when it is the collector's own.
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "node_name")]
    pub node: Option<NodeName>,
    /// Whether it still is so.
    pub state: AlertState,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// When its text last changed.
    pub updated_ms: i64,
    /// When it was over; null while it fires.
    pub resolved_ms: Option<i64>,
    /// What is known, for people.
    pub text: String,
}

/// Whether an alert fires: with its text when it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) text: Option<String>,
}

/// What a finding changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// It fires from now on.
    Raised(Arc<Alert>),
    /// It fires on with another text.
    Updated(Arc<Alert>),
    /// It is over.
    Resolved(Arc<Alert>),
    /// It fires and the book is full.
    Dropped,
}

/// All alerts.
#[derive(Debug)]
pub(super) struct Book {
    firing: BTreeMap<(Kind, Option<NodeName>), Arc<Alert>>,
    /// The newest last.
    resolved: VecDeque<Arc<Alert>>,
    started_ms: i64,
    raised: u64,
}

// === impl Kind ===

impl Kind {
    /// All kinds.
    pub(super) const ALL: [Self; 14] = [
        Self::AccountingGap,
        Self::SamplesShed,
        Self::SpoolCorrupt,
        Self::ClockStep,
        Self::SpoolFilling,
        Self::SpoolUnwritable,
        Self::SeriesOverflow,
        Self::CatalogFull,
        Self::SeriesRefused,
        Self::JournalBroken,
        Self::ClocksDiffer,
        Self::TargetLocked,
        Self::RolloutAsks,
        Self::ControlFrozen,
    ];

    /// Its name in the API, in `/metrics` and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccountingGap => "accounting.gap",
            Self::SamplesShed => "samples.shed",
            Self::SpoolCorrupt => "spool.corrupt",
            Self::ClockStep => "clock.step",
            Self::SpoolFilling => "spool.filling",
            Self::SpoolUnwritable => "spool.unwritable",
            Self::SeriesOverflow => "series.overflow",
            Self::CatalogFull => "catalog.full",
            Self::SeriesRefused => "series.refused",
            Self::JournalBroken => "journal.broken",
            Self::ClocksDiffer => "clocks.differ",
            Self::TargetLocked => "target.locked",
            Self::RolloutAsks => "rollout.asks",
            Self::ControlFrozen => "control.frozen",
        }
    }

    /// How bad it is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::AccountingGap
            | Self::SamplesShed
            | Self::SpoolCorrupt
            | Self::SeriesRefused
            | Self::JournalBroken
            | Self::ClocksDiffer => Severity::Critical,
            Self::ClockStep
            | Self::SpoolFilling
            | Self::SpoolUnwritable
            | Self::SeriesOverflow
            | Self::CatalogFull
            | Self::TargetLocked
            | Self::RolloutAsks
            | Self::ControlFrozen => Severity::Warning,
        }
    }
}

// === impl Severity, AlertState, Alert ===

impl Severity {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl AlertState {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }

    /// Reads what [`AlertState::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Firing, Self::Resolved].into_iter().find(|state| state.as_str() == text)
    }
}

impl From<&Alert> for v1::Alert {
    fn from(alert: &Alert) -> Self {
        Self {
            id: alert.id.clone(),
            name: alert.name.to_owned(),
            severity: alert.severity.as_str().to_owned(),
            node: alert.node.as_ref().map(|node| node.as_str().to_owned()).unwrap_or_default(),
            state: alert.state.as_str().to_owned(),
            since_ms: alert.since_ms,
            updated_ms: alert.updated_ms,
            resolved_ms: alert.resolved_ms,
            text: alert.text.clone(),
        }
    }
}

// === impl Finding ===

impl Finding {
    /// Fires with the text when `fires`.
    pub(super) fn of(kind: Kind, fires: bool, text: impl FnOnce() -> String) -> Self {
        Self { kind, text: fires.then(text) }
    }

    /// Does not fire.
    pub(super) const fn over(kind: Kind) -> Self {
        Self { kind, text: None }
    }
}

// === impl Book ===

impl Book {
    /// An empty book. `started_ms` makes ids differ from those of an earlier process.
    pub(super) const fn new(started_ms: i64) -> Self {
        Self { firing: BTreeMap::new(), resolved: VecDeque::new(), started_ms, raised: 0 }
    }

    /// Takes a finding over. `None` when it changes nothing.
    pub(super) fn take(
        &mut self,
        node: Option<&NodeName>,
        finding: Finding,
        now_ms: i64,
    ) -> Option<Change> {
        let key = (finding.kind, node.cloned());
        let Some(text) = finding.text else {
            let mut alert = self.firing.remove(&key)?;
            let over = Arc::make_mut(&mut alert);
            (over.state, over.resolved_ms) = (AlertState::Resolved, Some(now_ms));
            self.resolved.push_back(Arc::clone(&alert));
            if self.resolved.len() > MAX_RESOLVED {
                self.resolved.pop_front();
            }
            return Some(Change::Resolved(alert));
        };
        if let Some(alert) = self.firing.get_mut(&key) {
            if alert.text == text {
                return None;
            }
            let changed = Arc::make_mut(alert);
            (changed.text, changed.updated_ms) = (text, now_ms);
            return Some(Change::Updated(Arc::clone(alert)));
        }
        if self.firing.len() >= MAX_FIRING {
            return Some(Change::Dropped);
        }
        self.raised += 1;
        let alert = Arc::new(Alert {
            id: format!("{}-{}", self.started_ms, self.raised),
            name: finding.kind.name(),
            severity: finding.kind.severity(),
            node: key.1.clone(),
            state: AlertState::Firing,
            since_ms: now_ms,
            updated_ms: now_ms,
            resolved_ms: None,
            text,
        });
        self.firing.insert(key, Arc::clone(&alert));
        Some(Change::Raised(alert))
    }

    /// Those that fire, the worst first and then the newest; then the resolved ones, the newest first.
    pub(super) fn list(&self) -> Vec<Arc<Alert>> {
        let mut alerts: Vec<_> = self.firing.values().cloned().collect();
        alerts.sort_by_key(|alert| std::cmp::Reverse((alert.severity, alert.since_ms)));
        alerts.extend(self.resolved.iter().rev().cloned());
        alerts
    }

    /// Number of those that fire, by kind.
    pub(super) fn firing(&self, kind: Kind) -> usize {
        self.firing.range((kind, None)..).take_while(|((k, _), _)| *k == kind).count()
    }
}

#[expect(clippy::ref_option, reason = "serde hands over the field by reference")]
fn node_name<S: serde::Serializer>(
    node: &Option<NodeName>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    node.as_ref().map(NodeName::as_str).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: usize) -> NodeName {
        NodeName::new(&format!("web-{number}")).unwrap()
    }

    fn fires(text: &str) -> Finding {
        Finding::of(Kind::SamplesShed, true, || text.to_owned())
    }

    #[test]
    fn an_alert_is_raised_updated_and_resolved_and_then_raised_anew() {
        let mut book = Book::new(7);
        let web = node(1);
        let Some(Change::Raised(first)) = book.take(Some(&web), fires("a"), 10) else { panic!() };
        assert_eq!((first.id.as_str(), first.since_ms, first.resolved_ms), ("7-1", 10, None));
        assert_eq!(book.take(Some(&web), fires("a"), 11), None);
        let Some(Change::Updated(next)) = book.take(Some(&web), fires("b"), 12) else { panic!() };
        assert_eq!((&next.id, next.since_ms, next.updated_ms), (&first.id, 10, 12));
        let over = Finding::over(Kind::SamplesShed);
        let Some(Change::Resolved(gone)) = book.take(Some(&web), over.clone(), 13) else {
            panic!()
        };
        assert_eq!((gone.state, gone.resolved_ms), (AlertState::Resolved, Some(13)));
        assert_eq!(book.take(Some(&web), over, 14), None);
        let Some(Change::Raised(again)) = book.take(Some(&web), fires("a"), 15) else { panic!() };
        assert_eq!(again.id, "7-2");
        let ids: Vec<_> = book.list().iter().map(|alert| alert.id.clone()).collect();
        assert_eq!(ids, ["7-2", "7-1"]);
    }

    #[test]
    fn the_worst_come_first_and_nodes_are_apart() {
        let mut book = Book::new(0);
        book.take(None, Finding::of(Kind::CatalogFull, true, String::new), 5);
        book.take(Some(&node(1)), fires("x"), 1);
        book.take(Some(&node(2)), fires("x"), 2);
        let names: Vec<_> = book.list().iter().map(|a| (a.name, a.since_ms)).collect();
        assert_eq!(names, [("samples.shed", 2), ("samples.shed", 1), ("catalog.full", 5)]);
        assert_eq!((book.firing(Kind::SamplesShed), book.firing(Kind::CatalogFull)), (2, 1));
        assert_eq!((book.firing(Kind::ClockStep), book.firing.len()), (0, 3));
    }

    #[test]
    fn both_halves_are_bounded() {
        let mut book = Book::new(0);
        for number in 0..MAX_FIRING {
            assert!(matches!(
                book.take(Some(&node(number)), fires("x"), 0),
                Some(Change::Raised(_))
            ));
        }
        let dropped = book.take(Some(&node(MAX_FIRING)), fires("x"), 0);
        assert_eq!(dropped, Some(Change::Dropped));
        for number in 0..MAX_FIRING {
            book.take(Some(&node(number)), Finding::over(Kind::SamplesShed), 1);
        }
        assert_eq!((book.firing.len(), book.list().len()), (0, MAX_RESOLVED));
    }

    #[test]
    fn it_is_written_as_the_interface_says() {
        let mut book = Book::new(0);
        book.take(Some(&node(1)), fires("5 samples"), 10);
        let json = serde_json::to_value(&*book.list()[0]).unwrap();
        let expected = serde_json::json!({
            "id": "0-1", "name": "samples.shed", "severity": "critical", "node": "web-1", "state": "firing",
            "since_ms": 10, "updated_ms": 10, "resolved_ms": null, "text": "5 samples",
        });
        assert_eq!(json, expected);
    }
}
