//! Questions to the index: which series a selector means, and which metrics and nodes there are.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::index::{Entry, Index};
use super::strings::Symbol;
use super::{MetricEntry, SelectedSeries, Selection, Selector, Unknown};

impl Index {
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
            .filter(|e| nodes.is_empty() || nodes.contains(&e.node))
            .filter(|e| self.shape(e).metric == metric)
            .filter(|e| filters.iter().all(|filter| filter.matches(self.pairs(e))))
            .map(|e| self.selected(e))
            .collect();
        series.sort_unstable_by_key(|s| s.id);

        let newest = self.entry(*all.last().expect("a metric is indexed with its first series"));
        Ok(Selection {
            unit: Arc::clone(self.strings.text(self.shape(newest).unit)),
            kind: self.shape(newest).kind,
            series,
        })
    }

    pub(super) fn metrics(&self) -> Vec<MetricEntry> {
        let mut metrics: Vec<_> =
            self.by_metric.iter().map(|(&name, all)| self.metric_entry(name, all)).collect();
        metrics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        metrics
    }

    pub(super) fn has_metric(&self, name: &str) -> bool {
        self.strings.find(name).is_some_and(|metric| self.by_metric.contains_key(&metric))
    }

    pub(super) fn nodes(&self) -> Vec<Arc<str>> {
        self.texts(self.by_node.keys().copied())
    }

    /// The nodes with the most series, and how many each has.
    pub(super) fn largest_nodes(&self, count: usize) -> Vec<(Arc<str>, usize)> {
        let mut nodes: Vec<_> =
            self.by_node.iter().map(|(&node, all)| (all.len(), self.strings.text(node))).collect();
        nodes.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        nodes.into_iter().take(count).map(|(series, node)| (Arc::clone(node), series)).collect()
    }

    fn pairs(&self, entry: &Entry) -> &[(Symbol, Symbol)] {
        &self.shape(entry).attributes
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
            unit: Arc::clone(self.strings.text(self.shape(newest).unit)),
            kind: self.shape(newest).kind,
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
