//! The catalog: every series that is stored, in memory.
//!
//! The table `series` is the authority; this is a copy of it that ingest resolves ids against and queries select from, so that neither asks
//! ClickHouse. Strings are interned and attributes lie in one arena: about 80 bytes for a series with two attributes.
//!
//! A series is its metric, node and attributes. Unit, kind and scale describe it and may change when an agent is upgraded; then the series
//! counts as unwritten again and its row is replaced. An id stays *unwritten* until [`Catalog::mark_written`] says that its row is durable, so a
//! stream that ends between the two loses nothing: the next one that defines the series writes the row.
//!
//! The number of series is bounded. Beyond the bound new ones are refused and the known ones go on.

mod id;
mod index;
mod strings;

use std::sync::Arc;

use flyball_proto::series::{Kind, NodeName, Series};
use parking_lot::RwLock;
use prometheus_client::metrics::gauge::Gauge;

pub use self::id::SeriesId;
use self::index::Index;
use super::rows::SeriesRow;

/// In-memory copy of the table `series`. Shared as `Arc`; its lock is held for lookups only.
#[derive(Debug)]
pub struct Catalog {
    index: RwLock<Index>,
    max_series: usize,
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
        Self { index: RwLock::new(Index::default()), max_series, size }
    }

    /// The id of a series, and whether its row is still to be written: it is new, it changed, or nobody called [`Catalog::mark_written`] yet.
    ///
    /// # Errors
    /// When the series is new and the catalog is full.
    pub fn resolve(
        &self,
        node: &NodeName,
        series: &Series,
    ) -> Result<(SeriesId, bool), CatalogFull> {
        if let Some(found) = self.index.read().find(node, series) {
            return Ok(found);
        }
        let mut index = self.index.write();
        let known = index.contains(node, series);
        if !known && index.len() >= self.max_series {
            return Err(CatalogFull { max_series: self.max_series });
        }
        let id = index.insert(node, series);
        self.size.set(index.len() as i64);
        Ok((id, true))
    }

    /// Says that the rows of these series are durable.
    pub fn mark_written(&self, ids: &[SeriesId]) {
        let mut index = self.index.write();
        for &id in ids {
            index.mark_written(id);
        }
    }

    /// Forgets those of `ids` that no stream has asked for since the catalog was loaded. Gives the ones that are gone.
    pub fn remove_unused(&self, ids: &[SeriesId]) -> Vec<SeriesId> {
        let mut index = self.index.write();
        let gone = index.remove_unused(ids);
        self.size.set(index.len() as i64);
        gone
    }

    /// Takes over a row of the table. The first row of an id is kept. False when the row breaks a rule or the catalog is full; it is left out then.
    pub fn load(&self, row: SeriesRow) -> bool {
        let Ok((id, node, series)) = row.into_series() else { return false };
        let mut index = self.index.write();
        if index.len() >= self.max_series && !index.has_id(id) {
            return false;
        }
        index.load(id, &node, &series);
        self.size.set(index.len() as i64);
        true
    }

    /// The series that a selector means, ordered by id.
    ///
    /// # Errors
    /// When it names a metric, a node or an attribute that does not exist. An attribute's value that does not exist selects nothing.
    pub fn select(&self, selector: &Selector<'_>) -> Result<Selection, Unknown> {
        self.index.read().select(selector)
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
