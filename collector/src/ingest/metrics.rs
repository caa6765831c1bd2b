//! The ingest path's own metrics, `flyball_ingest_*`.
//!
//! For each node: received = stored + in flight + rejected, each counted where it happens, so that the equation can be checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Label of the nodes that came after the bound was reached.
const OTHER_NODES: &str = "(other)";

/// Counters of the ingest path; clones share them.
#[derive(Debug, Clone)]
pub struct IngestMetrics {
    /// Streams that are open.
    pub(super) streams: Gauge,
    /// Streams that ended, by the status they ended with.
    pub(super) streams_ended: Family<Code, Counter>,
    /// Streams that a newer one of the same node replaced.
    pub(super) streams_replaced: Counter,
    /// Frames decoded.
    pub(super) frames: Counter,
    /// Frames that the agent knew to be durable, decoded for their state only.
    pub(super) frames_repeated: Counter,
    /// Bytes of frames.
    pub(super) bytes: Counter,
    /// Frames and definitions that were refused, by reason.
    pub(super) decode_errors: Family<Reason, Counter>,
    /// Samples that were added to sums because of a cap.
    pub(super) samples_summed: Counter,
    /// Times that an agent was asked for a keyframe.
    pub(super) resyncs: Counter,
    /// Rows of a flush.
    pub(super) batch_rows: Histogram,
    /// Time from a batch's first frame to its acknowledgement.
    pub(super) flush_seconds: Histogram,
    /// Failed attempts to write a block.
    pub(super) write_retries: Counter,
    /// Ten minutes of nodes that were marked to be rolled up again.
    pub(super) late_marks: Counter,
    /// Rows between a stream and the acknowledgement.
    pub(super) queue_rows: Gauge,
    /// 1 while agents are told to pause.
    pub(super) credits_withheld: Gauge,
    /// Times that agents were told to pause.
    pub(super) pauses: Counter,
    nodes: Nodes,
}

/// Samples by node.
#[derive(Debug, Clone)]
struct Nodes {
    received: Family<Node, Counter>,
    stored: Family<Node, Counter>,
    rejected: Family<Node, Counter>,
    in_flight: Family<Node, Gauge>,
    max: usize,
    known: Arc<AtomicUsize>,
}

/// The account of one node: received = stored + in flight + rejected.
#[derive(Debug, Clone)]
pub(super) struct NodeAccount {
    received: Counter,
    stored: Counter,
    rejected: Counter,
    in_flight: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Node {
    node: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Code {
    pub(super) code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
}

impl IngestMetrics {
    /// Metrics with accounts of at most `max_nodes` nodes; further ones share the account `(other)`.
    pub fn new(max_nodes: usize) -> Self {
        Self {
            streams: Gauge::default(),
            streams_ended: Family::default(),
            streams_replaced: Counter::default(),
            frames: Counter::default(),
            frames_repeated: Counter::default(),
            bytes: Counter::default(),
            decode_errors: Family::default(),
            samples_summed: Counter::default(),
            resyncs: Counter::default(),
            batch_rows: Histogram::new(exponential_buckets(100.0, 4.0, 8)),
            flush_seconds: Histogram::new([0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0, 30.0]),
            write_retries: Counter::default(),
            late_marks: Counter::default(),
            queue_rows: Gauge::default(),
            credits_withheld: Gauge::default(),
            pauses: Counter::default(),
            nodes: Nodes {
                received: Family::default(),
                stored: Family::default(),
                rejected: Family::default(),
                in_flight: Family::default(),
                max: max_nodes,
                known: Arc::default(),
            },
        }
    }

    /// Makes the metrics part of what a registry prints. The registry's prefix is `flyball`.
    pub fn register(&self, registry: &mut Registry) {
        let ingest = registry.sub_registry_with_prefix("ingest");
        ingest.register("streams", "Streams that are open", self.streams.clone());
        let help = "Streams that ended, by gRPC status";
        ingest.register("streams_ended", help, self.streams_ended.clone());
        let help = "Streams that a newer stream of the same node replaced";
        ingest.register("streams_replaced", help, self.streams_replaced.clone());
        ingest.register("frames", "Frames decoded", self.frames.clone());
        let help = "Frames known to be durable, decoded for their state only";
        ingest.register("frames_repeated", help, self.frames_repeated.clone());
        let help = "Encoded size of the frames";
        ingest.register_with_unit("frame", help, Unit::Bytes, self.bytes.clone());
        let help = "Frames and definitions refused, by reason";
        ingest.register("decode_errors", help, self.decode_errors.clone());
        let help = "Samples stored as part of a sum, because their series was over a cap";
        ingest.register("samples_summed", help, self.samples_summed.clone());
        let help = "Times that an agent was asked for a keyframe";
        ingest.register("resyncs", help, self.resyncs.clone());
        ingest.register("batch_rows", "Rows of a flush", self.batch_rows.clone());
        let help = "Time from a batch's first frame to its acknowledgement";
        ingest.register_with_unit("flush", help, Unit::Seconds, self.flush_seconds.clone());
        let help = "Failed attempts to write a block";
        ingest.register("write_retries", help, self.write_retries.clone());
        let help = "Ten minutes of nodes that late samples marked to be rolled up again";
        ingest.register("late_marks", help, self.late_marks.clone());
        let help = "Rows that are received and not yet acknowledged";
        ingest.register("queue_rows", help, self.queue_rows.clone());
        let help = "1 while agents are told to pause";
        ingest.register("credits_withheld", help, self.credits_withheld.clone());
        ingest.register("pauses", "Times that agents were told to pause", self.pauses.clone());
        self.nodes.register(ingest);
    }

    /// The account of a node.
    pub(super) fn account(&self, node: &str) -> NodeAccount {
        self.nodes.account(node)
    }

    /// Counts a refused frame or definition.
    pub(super) fn refused(&self, reason: &'static str) {
        self.decode_errors.get_or_create(&Reason { reason }).inc();
    }
}

impl Nodes {
    fn register(&self, ingest: &mut Registry) {
        let help = "Samples received, by node; equals stored + in flight + rejected";
        ingest.register("samples_received", help, self.received.clone());
        let help = "Samples that ClickHouse accepted, by node";
        ingest.register("samples_stored", help, self.stored.clone());
        let help = "Samples refused for good, by node";
        ingest.register("samples_rejected", help, self.rejected.clone());
        let help = "Samples received and neither stored nor rejected, by node";
        ingest.register("samples_in_flight", help, self.in_flight.clone());
    }

    fn account(&self, node: &str) -> NodeAccount {
        let mut label = Node { node: node.to_owned() };
        if self.received.get(&label).is_none()
            && self.known.fetch_add(1, Ordering::Relaxed) >= self.max
        {
            OTHER_NODES.clone_into(&mut label.node);
        }
        NodeAccount {
            received: self.received.get_or_create_owned(&label),
            stored: self.stored.get_or_create_owned(&label),
            rejected: self.rejected.get_or_create_owned(&label),
            in_flight: self.in_flight.get_or_create_owned(&label),
        }
    }
}

impl NodeAccount {
    pub(super) fn received(&self, samples: u64) {
        self.received.inc_by(samples);
        self.in_flight.inc_by(samples as i64);
    }

    pub(super) fn settled(&self, stored: u64, rejected: u64) {
        self.stored.inc_by(stored);
        self.rejected.inc_by(rejected);
        self.in_flight.dec_by((stored + rejected) as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &IngestMetrics) -> String {
        let mut registry = Registry::with_prefix("flyball");
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn the_account_of_a_node_adds_up() {
        let metrics = IngestMetrics::new(10);
        metrics.account("a").received(10);
        metrics.account("a").settled(6, 1);
        let text = text(&metrics);
        for line in [
            "flyball_ingest_samples_received_total{node=\"a\"} 10",
            "flyball_ingest_samples_stored_total{node=\"a\"} 6",
            "flyball_ingest_samples_rejected_total{node=\"a\"} 1",
            "flyball_ingest_samples_in_flight{node=\"a\"} 3",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn the_number_of_accounts_is_bounded() {
        let metrics = IngestMetrics::new(2);
        for node in ["a", "b", "c", "d", "a"] {
            metrics.account(node).received(1);
        }
        let text = text(&metrics);
        assert!(text.contains("samples_received_total{node=\"(other)\"} 2"), "{text}");
        assert!(text.contains("samples_received_total{node=\"a\"} 2"), "{text}");
    }
}
