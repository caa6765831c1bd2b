//! Accounts and alerts at `/metrics`, written from the accounts themselves on each scrape: 10,000 nodes cost no memory for labels between scrapes.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::alert::Kind;
use super::report::Accounting;
use super::{Accounts, Inner};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Node {
    node: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeReason {
    node: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    alert: &'static str,
}

/// Writes the accounts as they are at the scrape.
#[derive(Debug)]
pub(super) struct Scrape(pub(super) Accounts);

/// A metric with one value for each node.
type Column = (&'static str, &'static str, bool, fn(&Accounting) -> i64);

const COLUMNS: [Column; 9] = [
    (
        "agent_samples_produced",
        "Samples that the node's agent encoded; equals stored + in flight + shed",
        true,
        |a| a.produced as i64,
    ),
    (
        "agent_samples_stored",
        "Samples that were acknowledged to the node's agent as stored",
        true,
        |a| a.stored as i64,
    ),
    ("agent_samples_in_flight", "Samples that wait in the node's agent", false, |a| {
        a.in_flight as i64
    }),
    (
        "agent_samples_gap",
        "Samples produced and neither stored nor in flight nor shed; 0 when all is well",
        false,
        |a| a.gap,
    ),
    ("agent_spool_bytes", "Bytes in the spool of the node's agent", false, |a| {
        a.spool_bytes as i64
    }),
    ("agent_spool_limit_bytes", "Bytes that the spool may hold", false, |a| {
        a.spool_limit_bytes as i64
    }),
    ("agent_backlog_segments", "Segments that wait to be sent after the live frames", false, |a| {
        a.backlog_segments as i64
    }),
    (
        "agent_corrupt_segments",
        "Segments of the spool that could not be read in whole",
        true,
        |a| a.corrupt_segments as i64,
    ),
    ("agent_clock_steps", "Times that the node's clock jumped", true, |a| {
        a.clock_steps.forward.saturating_add(a.clock_steps.backward) as i64
    }),
];

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Accounts(inner) = &self.0;
        let accounts = inner.accountings();
        for (name, help, is_counter, value) in COLUMNS {
            let kind = if is_counter { MetricType::Counter } else { MetricType::Gauge };
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for (node, accounting) in &accounts {
                let label = Node { node: node.clone() };
                let sample = metric.encode_family(&label)?;
                let value = value(accounting);
                if is_counter {
                    ConstCounter::new(value as u64).encode(sample)?;
                } else {
                    ConstGauge::new(value).encode(sample)?;
                }
            }
        }
        encode_shed(&mut encoder, &accounts)?;
        encode_alerts(&mut encoder, inner)
    }
}

fn encode_shed(
    encoder: &mut DescriptorEncoder<'_>,
    accounts: &[(String, Arc<Accounting>)],
) -> fmt::Result {
    let help = "Samples that the node's agent gave up, by reason";
    let mut metric =
        encoder.encode_descriptor("agent_samples_shed", help, None, MetricType::Counter)?;
    for (node, accounting) in accounts {
        for (reason, samples) in &accounting.shed {
            let label = NodeReason { node: node.clone(), reason: reason.clone() };
            ConstCounter::new(*samples).encode(metric.encode_family(&label)?)?;
        }
    }
    Ok(())
}

fn encode_alerts(encoder: &mut DescriptorEncoder<'_>, inner: &Inner) -> fmt::Result {
    let help = "Alerts that fire, by name";
    let mut metric = encoder.encode_descriptor("alerts_firing", help, None, MetricType::Gauge)?;
    for (kind, firing) in inner.firing() {
        let label = Name { alert: kind.name() };
        ConstGauge::new(firing as i64).encode(metric.encode_family(&label)?)?;
    }
    let help = "Alerts that began to fire, by name";
    let mut metric = encoder.encode_descriptor("alerts_raised", help, None, MetricType::Counter)?;
    for kind in Kind::ALL {
        let label = Name { alert: kind.name() };
        ConstCounter::new(inner.raised(kind)).encode(metric.encode_family(&label)?)?;
    }
    let help = "Alerts that the book had no room for";
    let metric = encoder.encode_descriptor("alerts_dropped", help, None, MetricType::Counter)?;
    ConstCounter::new(inner.dropped()).encode(metric)
}
