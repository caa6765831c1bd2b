//! What the catalog's lock protects: entries of 32 bytes, an arena of attributes, and the ways in by id, metric and node.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use flyball_proto::series::{Kind, NodeName, Scale, Series};

use super::id::SeriesId;
use super::strings::{Strings, Symbol};
use super::{MetricEntry, SelectedSeries, Selection, Selector, Unknown};

/// Salts tried before giving up; each one is a fresh draw of 28 bits among the few series of one metric on one node.
const MAX_SALT: u64 = 1_000;

/// All series of the catalog.
#[derive(Debug, Default)]
pub(super) struct Index {
    strings: Strings,
    entries: Vec<Entry>,
    attributes: Vec<(Symbol, Symbol)>,
    by_id: HashMap<SeriesId, u32>,
    by_metric: HashMap<Symbol, Vec<u32>>,
    by_node: HashMap<Symbol, Vec<u32>>,
}

#[derive(Debug)]
struct Entry {
    id: SeriesId,
    metric: Symbol,
    node: Symbol,
    unit: Symbol,
    first_attribute: u32,
    attribute_count: u8,
    kind: Kind,
    scale: Scale,
    written: bool,
    /// Set when a stream asked for it: that stream goes on using the id.
    used: AtomicBool,
}

/// Where a series was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Stream,
    Table,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn has_id(&self, id: SeriesId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Id and whether the row is unwritten; `None` when the series is new or its description changed.
    pub(super) fn find(&self, node: &NodeName, series: &Series) -> Option<(SeriesId, bool)> {
        let entry = self.entry(self.position(node, series).ok()?);
        entry.used.store(true, Relaxed);
        let same = entry.kind == series.kind
            && entry.scale == series.scale
            && **self.strings.text(entry.unit) == *series.unit;
        same.then_some((entry.id, !entry.written))
    }

    pub(super) fn contains(&self, node: &NodeName, series: &Series) -> bool {
        self.position(node, series).is_ok()
    }

    /// Adds the series, or takes over its new description.
    pub(super) fn insert(&mut self, node: &NodeName, series: &Series) -> SeriesId {
        match self.position(node, series) {
            Ok(position) => {
                let unit = self.strings.intern(&series.unit);
                let entry = &mut self.entries[position as usize];
                let same =
                    entry.kind == series.kind && entry.scale == series.scale && entry.unit == unit;
                entry.written &= same;
                (entry.kind, entry.scale, entry.unit) = (series.kind, series.scale, unit);
                entry.id
            }
            Err(id) => {
                self.add(id, node.as_str(), series, Origin::Stream);
                id
            }
        }
    }

    /// Adds a row of the table.
    pub(super) fn load(&mut self, id: SeriesId, node: &NodeName, series: &Series) {
        if !self.has_id(id) {
            self.add(id, node.as_str(), series, Origin::Table);
        }
    }

    pub(super) fn mark_written(&mut self, id: SeriesId) {
        if let Some(&position) = self.by_id.get(&id) {
            self.entries[position as usize].written = true;
        }
    }

    /// Forgets those of `ids` that no stream has used. Gives the ones that are gone.
    pub(super) fn remove_unused(&mut self, ids: &[SeriesId]) -> Vec<SeriesId> {
        let unused = |id: &SeriesId| {
            self.by_id.get(id).is_some_and(|&at| !self.entry(at).used.load(Relaxed))
        };
        let gone: HashSet<SeriesId> = ids.iter().copied().filter(unused).collect();
        if gone.is_empty() {
            return Vec::new();
        }
        // A new index, because positions and symbols are dense. Seconds at most, once a day.
        let mut kept = Self::default();
        for entry in self.entries.iter().filter(|entry| !gone.contains(&entry.id)) {
            let Some((node, series)) = self.describe(entry.id) else { continue };
            kept.add(entry.id, &node, &series, Origin::Table);
            let copy = kept.entries.last_mut().expect("it was just added");
            (copy.written, copy.used) = (entry.written, AtomicBool::new(entry.used.load(Relaxed)));
        }
        *self = kept;
        gone.into_iter().collect()
    }

    pub(super) fn describe(&self, id: SeriesId) -> Option<(Arc<str>, Series)> {
        let entry = self.entry(*self.by_id.get(&id)?);
        let text = |symbol| self.strings.text(symbol).to_string();
        let series = Series {
            metric: text(entry.metric),
            unit: text(entry.unit),
            kind: entry.kind,
            scale: entry.scale,
            attributes: self.pairs(entry).iter().map(|&(k, v)| (text(k), text(v))).collect(),
        };
        Some((Arc::clone(self.strings.text(entry.node)), series))
    }

    pub(super) fn select(&self, selector: &Selector<'_>) -> Result<Selection, Unknown> {
        let unknown_metric = || Unknown::Metric(selector.metric.to_owned());
        let metric = self.strings.find(selector.metric).ok_or_else(unknown_metric)?;
        let all = self.by_metric.get(&metric).ok_or_else(unknown_metric)?;
        let nodes = self.known_nodes(selector.nodes)?;
        let filters = self.known_filters(all, selector.filters)?;

        let of_nodes: usize = nodes.iter().map(|node| self.by_node[node].len()).sum();
        let positions: Box<dyn Iterator<Item = u32>> = if nodes.is_empty() || all.len() <= of_nodes
        {
            Box::new(all.iter().copied())
        } else {
            Box::new(nodes.iter().flat_map(|node| self.by_node[node].iter().copied()))
        };
        let mut series: Vec<_> = positions
            .map(|position| self.entry(position))
            .filter(|e| e.metric == metric && (nodes.is_empty() || nodes.contains(&e.node)))
            .filter(|e| filters.iter().all(|filter| filter.matches(self.pairs(e))))
            .map(|e| self.selected(e))
            .collect();
        series.sort_unstable_by_key(|s| s.id);

        let newest = self.entry(*all.last().expect("a metric is indexed with its first series"));
        Ok(Selection {
            unit: Arc::clone(self.strings.text(newest.unit)),
            kind: newest.kind,
            series,
        })
    }

    pub(super) fn metrics(&self) -> Vec<MetricEntry> {
        let mut metrics: Vec<_> =
            self.by_metric.iter().map(|(&name, all)| self.metric_entry(name, all)).collect();
        metrics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        metrics
    }

    pub(super) fn nodes(&self) -> Vec<Arc<str>> {
        self.texts(self.by_node.keys().copied())
    }

    /// Position of a series that is known, or else the id that it is to get.
    fn position(&self, node: &NodeName, series: &Series) -> Result<u32, SeriesId> {
        for salt in 0..MAX_SALT {
            let id = SeriesId::derive(node.as_str(), series, salt);
            match self.by_id.get(&id) {
                None => return Err(id),
                Some(&position) if self.is(self.entry(position), node, series) => {
                    return Ok(position);
                }
                Some(_) => {}
            }
        }
        unreachable!("{MAX_SALT} ids in a row are taken, each of 2^28")
    }

    fn is(&self, entry: &Entry, node: &NodeName, series: &Series) -> bool {
        let is = |symbol, text: &str| **self.strings.text(symbol) == *text;
        let pairs = self.pairs(entry);
        is(entry.metric, &series.metric)
            && is(entry.node, node.as_str())
            && pairs.len() == series.attributes.len()
            && pairs.iter().zip(&series.attributes).all(|(p, a)| is(p.0, &a.0) && is(p.1, &a.1))
    }

    fn add(&mut self, id: SeriesId, node: &str, series: &Series, origin: Origin) {
        let position = u32::try_from(self.entries.len()).expect("fewer than 2^32 series");
        let first_attribute = u32::try_from(self.attributes.len()).expect("fewer than 2^32 pairs");
        for (key, value) in &series.attributes {
            let pair = (self.strings.intern(key), self.strings.intern(value));
            self.attributes.push(pair);
        }
        let entry = Entry {
            id,
            metric: self.strings.intern(&series.metric),
            node: self.strings.intern(node),
            unit: self.strings.intern(&series.unit),
            first_attribute,
            attribute_count: series.attributes.len() as u8,
            kind: series.kind,
            scale: series.scale,
            written: origin == Origin::Table,
            used: AtomicBool::new(origin == Origin::Stream),
        };
        self.by_id.insert(id, position);
        self.by_metric.entry(entry.metric).or_default().push(position);
        self.by_node.entry(entry.node).or_default().push(position);
        self.entries.push(entry);
    }

    fn entry(&self, position: u32) -> &Entry {
        &self.entries[position as usize]
    }

    fn pairs(&self, entry: &Entry) -> &[(Symbol, Symbol)] {
        let first = entry.first_attribute as usize;
        &self.attributes[first..first + usize::from(entry.attribute_count)]
    }

    fn known_nodes(&self, names: &[String]) -> Result<Vec<Symbol>, Unknown> {
        let known = |name: &String| {
            let symbol = self.strings.find(name).filter(|node| self.by_node.contains_key(node));
            symbol.ok_or_else(|| Unknown::Node(name.clone()))
        };
        let mut nodes = names.iter().map(known).collect::<Result<Vec<_>, _>>()?;
        nodes.sort_unstable();
        nodes.dedup();
        Ok(nodes)
    }

    fn known_filters(
        &self,
        all: &[u32],
        pairs: &[(String, String)],
    ) -> Result<Vec<Filter>, Unknown> {
        let mut filters: Vec<Filter> = Vec::new();
        for (key, value) in pairs {
            let has = |key: Symbol| {
                all.iter().any(|&p| self.pairs(self.entry(p)).iter().any(|pair| pair.0 == key))
            };
            let symbol = self.strings.find(key).filter(|&key| has(key));
            let key = symbol.ok_or_else(|| Unknown::Attribute(key.clone()))?;
            let value = self.strings.find(value);
            match filters.iter_mut().find(|filter| filter.key == key) {
                Some(filter) => filter.values.extend(value),
                None => filters.push(Filter { key, values: value.into_iter().collect() }),
            }
        }
        Ok(filters)
    }

    fn selected(&self, entry: &Entry) -> SelectedSeries {
        let text = |symbol| Arc::clone(self.strings.text(symbol));
        SelectedSeries {
            id: entry.id,
            node: text(entry.node),
            attributes: self.pairs(entry).iter().map(|&(k, v)| (text(k), text(v))).collect(),
        }
    }

    fn metric_entry(&self, name: Symbol, all: &[u32]) -> MetricEntry {
        let nodes: BTreeSet<_> = all.iter().map(|&p| self.entry(p).node).collect();
        let keys: BTreeSet<_> =
            all.iter().flat_map(|&p| self.pairs(self.entry(p)).iter().map(|pair| pair.0)).collect();
        let newest = self.entry(*all.last().expect("a metric is indexed with its first series"));
        MetricEntry {
            name: Arc::clone(self.strings.text(name)),
            unit: Arc::clone(self.strings.text(newest.unit)),
            kind: newest.kind,
            nodes: self.texts(nodes.into_iter()),
            attributes: self.texts(keys.into_iter()),
            series: all.len(),
        }
    }

    fn texts(&self, symbols: impl Iterator<Item = Symbol>) -> Vec<Arc<str>> {
        let mut texts: Vec<_> = symbols.map(|s| Arc::clone(self.strings.text(s))).collect();
        texts.sort_unstable();
        texts
    }
}

/// An attribute that must have one of some values; with no value that exists, nothing matches.
struct Filter {
    key: Symbol,
    values: Vec<Symbol>,
}

impl Filter {
    fn matches(&self, pairs: &[(Symbol, Symbol)]) -> bool {
        pairs.iter().any(|(key, value)| *key == self.key && self.values.contains(value))
    }
}
