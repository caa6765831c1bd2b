//! The catalog: every series that is stored, in memory.
//!
//! The table `series` is the authority; this is a copy of it that ingest resolves ids against and queries select from, so that neither asks
//! ClickHouse. Strings and definitions are interned, so a series of a definition that other nodes share takes some 45 bytes.
//!
//! A series is its metric, node and attributes. Unit, kind and scale describe it and may change when an agent is upgraded; then the series
//! counts as unwritten again and its row is replaced. An id stays *unwritten* until [`Catalog::mark_written`] says that its row is durable, so a
//! stream that ends between the two loses nothing: the next one that defines the series writes the row.
//!
//! The number of series is bounded. Beyond the bound new ones are refused and the known ones go on; overflow series, which keep the sums of refused
//! ones, have a tenth of the bound on top.
//!
//! Streams count as users of the series that they send. What nobody uses and what has no sample any more is forgotten: see `prune`.

mod id;
mod index;
mod select;
mod shapes;
mod strings;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flyball_proto::series::{Kind, NodeName, Series};
use parking_lot::RwLock;
use prometheus_client::metrics::gauge::Gauge;

pub use self::id::SeriesId;
use self::index::Index;
use super::rows::SeriesRow;

/// So much of the bound, one part in this many, is kept for overflow series on top of it.
const OVERFLOW_SHARE: usize = 10;

/// In-memory copy of the table `series`. Shared as `Arc`; its lock is held for lookups only.
#[derive(Debug)]
pub struct Catalog {
    index: RwLock<Index>,
    max_series: usize,
    turned_away: AtomicU64,
    /// Number of series, as the store's metrics show it.
    size: Gauge,
}

/// The catalog holds as many series as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the catalog is full: {max_series} series")]
pub struct CatalogFull {
    /// The bound.
    pub max_series: usize,
}

/// Which series of one metric a query is about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selector<'a> {
    /// Name of the metric.
    pub metric: &'a str,
    /// Names of nodes; empty means all.
    pub nodes: &'a [String],
    /// Attributes that must have these values. A key that occurs more than once matches any of its values.
    pub filters: &'a [(String, String)],
}

/// What a selector names that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No series has this metric.
    #[error("no such metric: {0}")]
    Metric(String),
    /// No series is on this node.
    #[error("no such node: {0}")]
    Node(String),
    /// No series of the metric has this attribute.
    #[error("the metric has no such attribute: {0}")]
    Attribute(String),
}

/// Series that a selector found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Unit of the metric.
    pub unit: Arc<str>,
    /// Counter or gauge.
    pub kind: Kind,
    /// The series, by id; may be empty.
    pub series: Vec<SelectedSeries>,
}

/// One series of a [`Selection`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedSeries {
    /// Id in the store.
    pub id: SeriesId,
    /// Name of the node.
    pub node: Arc<str>,
    /// Sorted by key.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
}

/// One metric that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricEntry {
    /// Name of the metric.
    pub name: Arc<str>,
    /// Unit in UCUM.
    pub unit: Arc<str>,
    /// Counter or gauge.
    pub kind: Kind,
    /// Nodes that have it, sorted.
    pub nodes: Vec<Arc<str>>,
    /// Keys of its attributes, sorted.
    pub attributes: Vec<Arc<str>>,
    /// Number of its series.
    pub series: usize,
}

impl Catalog {
    /// An empty catalog that takes at most `max_series` series.
    pub fn new(max_series: usize) -> Self {
        Self::counted(max_series, Gauge::default())
    }

    /// An empty catalog whose number of series `size` shows.
    pub(super) fn counted(max_series: usize, size: Gauge) -> Self {
        size.set(0);
        Self { index: RwLock::default(), max_series, turned_away: AtomicU64::new(0), size }
    }

    /// The id of a series, and whether its row is still to be written: it is new, it changed, or nobody called [`Catalog::mark_written`] yet.
    /// The caller uses the series until it calls [`Catalog::release`].
    ///
    /// # Errors
    /// When the series is new and the catalog is full.
    pub fn resolve(
        &self,
        node: &NodeName,
        series: &Series,
    ) -> Result<(SeriesId, bool), CatalogFull> {
        self.resolve_within(self.max_series, node, series)
    }

    /// Like [`Catalog::resolve`] for a series that keeps the sums of others: there is a tenth more room for them.
    ///
    /// # Errors
    /// When the series is new and that room is used up too.
    pub fn resolve_overflow(
        &self,
        node: &NodeName,
        series: &Series,
    ) -> Result<(SeriesId, bool), CatalogFull> {
        self.resolve_within(self.max_with_overflow(), node, series)
    }

    fn resolve_within(
        &self,
        max_series: usize,
        node: &NodeName,
        series: &Series,
    ) -> Result<(SeriesId, bool), CatalogFull> {
        if let Some(found) = self.index.read().find(node, series) {
            return Ok(found);
        }
        let mut index = self.index.write();
        if index.len() >= max_series && !index.contains(node, series) {
            self.turned_away.fetch_add(1, Relaxed);
            return Err(CatalogFull { max_series });
        }
        let found = index.insert(node, series);
        self.size.set(index.len() as i64);
        Ok(found)
    }

    /// Ends the use of series, once for each time that they were resolved.
    pub fn release(&self, ids: impl IntoIterator<Item = SeriesId>) {
        let index = self.index.read();
        ids.into_iter().for_each(|id| index.release(id));
    }

    /// True when the series is known by this description: unit, and the codes of kind and scale as the table has them.
    pub fn knows(&self, id: SeriesId, unit: &str, kind: i8, scale: i8) -> bool {
        self.index.read().knows(id, unit, kind, scale)
    }

    /// Says that the rows of these series are durable.
    pub fn mark_written(&self, ids: &[SeriesId]) {
        let index = self.index.read();
        for &id in ids {
            index.mark_written(id);
        }
    }

    /// Says that the rows of these series are not there any more: whoever defines them next writes them.
    pub fn mark_unwritten(&self, ids: &[SeriesId]) {
        let index = self.index.read();
        for &id in ids {
            index.mark_unwritten(id);
        }
    }

    /// Ids of the series whose rows are durable and that streams use or, with `used` false, that none does. In order.
    pub fn written_ids(&self, used: bool) -> Vec<SeriesId> {
        self.index.read().ids(|written, is_used| written && is_used == used)
    }

    /// Ids of the series whose rows are not durable and that no stream uses. In order.
    pub fn unwritten_ids(&self) -> Vec<SeriesId> {
        self.index.read().ids(|written, used| !written && !used)
    }

    /// Forgets those of `ids` that no stream uses. Gives the ones that are gone.
    pub fn remove_unused(&self, ids: &[SeriesId]) -> Vec<SeriesId> {
        let mut index = self.index.write();
        let gone = index.remove_unused(ids);
        self.size.set(index.len() as i64);
        gone
    }

    /// Takes over a row of the table, at the start or when another collector wrote it. The description of a series that streams use stays as they gave it.
    /// False when the row breaks a rule, its id is another series' here, or the catalog is full; it is left out then.
    pub fn load(&self, row: SeriesRow) -> bool {
        let Ok((id, node, series)) = row.into_series() else { return false };
        let mut index = self.index.write();
        if index.len() >= self.max_with_overflow() && !index.has_id(id) {
            return false;
        }
        let is_loaded = index.load(id, &node, &series);
        self.size.set(index.len() as i64);
        is_loaded
    }

    /// Series that were refused because the catalog was full, since it was made.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Relaxed)
    }

    /// Most series, without those that keep sums of others.
    pub fn max_series(&self) -> usize {
        self.max_series
    }

    /// The nodes with the most series, and how many each has.
    pub fn largest_nodes(&self, count: usize) -> Vec<(Arc<str>, usize)> {
        self.index.read().largest_nodes(count)
    }

    fn max_with_overflow(&self) -> usize {
        self.max_series + self.max_series.div_ceil(OVERFLOW_SHARE)
    }

    /// The series that a selector means, ordered by id.
    ///
    /// # Errors
    /// When it names a metric, a node or an attribute that does not exist. An attribute's value that does not exist selects nothing.
    pub fn select(&self, selector: &Selector<'_>) -> Result<Selection, Unknown> {
        self.index.read().select(selector)
    }

    /// True when a series has this metric.
    pub fn has_metric(&self, name: &str) -> bool {
        self.index.read().has_metric(name)
    }

    /// What a series is: its node and its definition.
    pub fn describe(&self, id: SeriesId) -> Option<(Arc<str>, Series)> {
        self.index.read().describe(id)
    }

    /// All metrics by name.
    pub fn metrics(&self) -> Vec<MetricEntry> {
        self.index.read().metrics()
    }

    /// All nodes by name.
    pub fn nodes(&self) -> Vec<Arc<str>> {
        self.index.read().nodes()
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.index.read().len()
    }

    /// True when there is no series.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
