//! Questions about the present that memory answers: the newest value of series, and their recent samples.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use flyball_proto::series::{NodeName, Series};

use super::derive::{METRICS, Role};
use super::window::{Span, WindowUse};
use super::{Live, Node, Snapshot};

/// The newest sample of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct LastValue {
    /// The node.
    pub node: NodeName,
    /// What is measured.
    pub series: Arc<Series>,
    /// Time of the sample, milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// Its value; may be infinite or no number.
    pub value: f64,
}

/// How much of the recent past is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowStats {
    /// Time that is held, in milliseconds; 0: none. Less than the bounds allow while the collector has not run for long.
    pub span_ms: i64,
    /// Time that is held when memory allows it.
    pub configured_ms: i64,
    /// Bytes in use.
    pub bytes: usize,
    /// Bytes that may be used.
    pub max_bytes: usize,
}

/// True when the status of a node is computed from series like this.
pub(crate) fn says_status(series: &Series) -> bool {
    Role::of(series).is_some()
}

impl Live {
    /// Metrics that the status of nodes is computed from.
    pub(crate) const STATUS_METRICS: [&'static str; 5] = METRICS;

    /// Newest samples, at or after `oldest_ms`, of the series that `wanted` accepts: of `nodes`, or of all nodes when it is empty.
    pub fn last(
        &self,
        nodes: &[NodeName],
        oldest_ms: i64,
        wanted: impl Fn(&Series) -> bool,
    ) -> Vec<LastValue> {
        let mut found = Vec::new();
        let mut take = |node: &Arc<Node>| {
            let state = node.state.lock();
            for (series, ts_ms, value) in state.last() {
                if ts_ms >= oldest_ms && wanted(series) {
                    let (node, series) = (node.name.clone(), Arc::clone(series));
                    found.push(LastValue { node, series, ts_ms, value });
                }
            }
        };
        let known = self.0.nodes.read();
        if nodes.is_empty() {
            known.values().for_each(&mut take);
        } else {
            nodes.iter().filter_map(|name| known.get(name)).for_each(&mut take);
        }
        found
    }

    /// Recent samples of series of one node; `None` when some of `range_ms` may not be in memory.
    pub(crate) fn recent(&self, node: &str, ids: &[u64], range_ms: (i64, i64)) -> Option<Snapshot> {
        let name = NodeName::new(node).ok()?;
        let node = self.0.nodes.read().get(&name).map(Arc::clone)?;
        node.state.lock().recent(ids, range_ms, self.0.alone_from_ms.is_some())
    }

    /// A sample of the node was stored that did not come by its live stream.
    pub fn missed(&self, node: &NodeName, ts_ms: i64) {
        if let Some(node) = self.0.nodes.read().get(node) {
            node.state.lock().missed(ts_ms);
        }
    }

    /// How much of the recent past is in memory.
    pub fn window(&self) -> WindowStats {
        WindowStats {
            span_ms: self.span().ms().min(self.0.started.elapsed().as_millis() as i64),
            configured_ms: self.0.settings.window_ms as i64,
            bytes: self.0.window_bytes.load(Ordering::Relaxed),
            max_bytes: self.0.settings.window_bytes,
        }
    }

    /// Time that windows hold now.
    pub(super) fn span(&self) -> Span {
        Span::new(self.0.span_ms.load(Ordering::Relaxed))
    }

    /// Keeps all windows within their bounds; called once a second.
    pub(super) fn bound_windows(&self, now_ms: i64) {
        let span = self.span();
        let oldest_ms = (span != Span::OFF).then(|| now_ms - span.keep_ms());
        let (mut bytes, mut series) = (0, 0);
        for node in self.0.nodes.read().values() {
            let mut state = node.state.lock();
            bytes += state.prune(oldest_ms);
            series += state.status().series as usize;
        }
        let max_bytes = self.0.settings.window_bytes;
        let next = span.next(WindowUse { bytes, max_bytes, series }, self.0.settings.span());
        self.0.window_bytes.store(bytes, Ordering::Relaxed);
        self.0.span_ms.store(next.ms(), Ordering::Relaxed);
    }
}
