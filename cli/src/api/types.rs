//! Answers of the API, as far as they are shown. Fields that this version does not know are passed over, missing ones are unknown.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// `/api/performance/status`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct FleetStatus {
    /// All nodes that have ever reported.
    pub nodes: Vec<NodeStatus>,
    /// Sums over them.
    #[serde(default)]
    pub totals: Totals,
    /// Where their samples are.
    #[serde(default)]
    pub accounting: AccountingTotals,
}

/// Where the samples of the fleet are, as the agents reported it: produced = stored + in flight + shed + gap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct AccountingTotals {
    /// Nodes whose agent has reported.
    pub nodes: u64,
    /// Nodes whose samples do not add up.
    pub nodes_with_gap: u64,
    /// Samples measured.
    pub produced: u64,
    /// Samples acknowledged as stored.
    pub stored: u64,
    /// Samples that wait in the agents.
    pub in_flight: u64,
    /// Samples given up.
    pub shed: u64,
    /// Samples accounted for nowhere, or twice.
    pub gap: u64,
}

/// Where the samples of one node are.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Accounting {
    /// Samples given up, by reason.
    pub shed: BTreeMap<String, u64>,
    /// Samples accounted for nowhere; below zero twice.
    pub gap: i64,
}

/// `/api/performance/alerts`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct AlertsAnswer {
    /// Those that fire, the worst first, then those that are over.
    pub alerts: Vec<Alert>,
}

/// One alert.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Alert {
    /// What is wrong.
    pub name: String,
    /// `critical` or `warning`.
    pub severity: String,
    /// On which node; `None` when it is the collector's own.
    pub node: Option<String>,
    /// `firing` or `resolved`.
    pub state: String,
    /// Since when, epoch milliseconds.
    pub since_ms: i64,
    /// What is known.
    pub text: String,
}

impl Alert {
    /// True when it still is so.
    pub(crate) fn is_firing(&self) -> bool {
        self.state == "firing"
    }
}

/// Sums over the fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Totals {
    /// Nodes that have ever reported.
    pub nodes: u64,
    /// Those that are up.
    pub nodes_up: u64,
    /// Series of all nodes.
    pub series: u64,
    /// Samples per second of all nodes.
    pub samples_per_second: f64,
}

/// One node's last values; `None` is unknown, which is not zero.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct NodeStatus {
    /// Name, unique in the fleet.
    pub node: String,
    /// Its samples arrive.
    pub up: bool,
    /// Time of the last frame, epoch milliseconds.
    pub last_seen_ms: Option<i64>,
    /// Version of its agent.
    pub agent_version: Option<String>,
    /// Share of all processors that is not idle, 0 to 1.
    pub cpu_utilization: Option<f64>,
    /// Share of memory in use, 0 to 1.
    pub memory_utilization: Option<f64>,
    /// Load average over one minute.
    pub load_1m: Option<f64>,
    /// Received bytes per second.
    pub network_receive_bytes_per_second: Option<f64>,
    /// Sent bytes per second.
    pub network_transmit_bytes_per_second: Option<f64>,
    /// Bytes read per second.
    pub disk_read_bytes_per_second: Option<f64>,
    /// Bytes written per second.
    pub disk_write_bytes_per_second: Option<f64>,
    /// The machine.
    pub host: Option<Host>,
    /// Where its samples are; `None` until its agent has reported.
    pub accounting: Option<Accounting>,
}

/// What does not change while a machine runs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Host {
    /// Name and version of the operating system.
    pub os_description: Option<String>,
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// Processors.
    pub cpus: Option<u64>,
    /// Size of memory.
    pub memory_bytes: Option<u64>,
    /// Start of the system, epoch milliseconds.
    pub boot_time_ms: Option<i64>,
}

/// `/readyz`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct Readiness {
    /// `ready` or a word for what it is instead.
    pub status: String,
    /// What was checked.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// One thing that the collector needs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Check {
    /// What was checked.
    pub name: String,
    /// `ok` or a word for what it is instead.
    pub status: String,
    /// What is wrong.
    pub detail: Option<String>,
}

impl Check {
    /// True when nothing is wrong.
    pub(crate) fn is_ok(&self) -> bool {
        self.status == "ok"
    }
}

/// One metric of `/api/performance/catalog`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct CatalogMetric {
    /// Name.
    pub name: String,
    /// Unit in UCUM.
    pub unit: String,
    /// counter or gauge.
    pub kind: String,
    /// Nodes that have reported it.
    pub nodes: Vec<String>,
    /// Keys of its attributes.
    pub attributes: Vec<String>,
    /// Series in all.
    pub series: u64,
}

/// `/api/performance/metrics`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct MetricsAnswer {
    /// Name of the metric.
    pub metric: String,
    /// Unit of the values in UCUM.
    pub unit: String,
    /// Time that a point stands for.
    pub step_ms: u64,
    /// Which table answered.
    #[serde(default)]
    pub tier: String,
    /// One for each group.
    pub series: Vec<AnswerSeries>,
    /// How the answer was made.
    pub explain: Option<Explain>,
}

/// How an answer was made.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Explain {
    /// What was computed.
    pub fold: String,
    /// Series that the question selects.
    pub series: u64,
    /// Their nodes.
    pub nodes: u64,
    /// Parts of the range.
    pub parts: Vec<ExplainPart>,
    /// Time it took.
    pub elapsed_ms: f64,
}

/// A part of the range.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct ExplainPart {
    /// Start, epoch milliseconds.
    pub from_ms: i64,
    /// End.
    pub to_ms: i64,
    /// Where its values come from, in words.
    pub outcome: String,
    /// Tables that have it.
    pub sources: Vec<ExplainSource>,
    /// Rows that the store read.
    pub rows_read: Option<u64>,
    /// Time that the store took.
    pub store_ms: Option<f64>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct ExplainSource {
    /// Its name.
    pub tier: String,
}

/// One line of a chart.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct AnswerSeries {
    /// What sets it apart.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Epoch milliseconds and value.
    pub points: Vec<(i64, Option<f64>)>,
}

/// One sample of a live frame.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct LiveSample {
    /// Name of the metric.
    pub metric: String,
    /// What sets the series apart.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Counters are cumulative.
    pub value: Option<f64>,
}

/// One event of `/api/performance/events`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum LiveEvent {
    /// Nodes whose status changed; the first after connecting holds all.
    Status {
        /// The nodes.
        nodes: Vec<NodeStatus>,
        /// Sums over the fleet.
        #[serde(default)]
        totals: Totals,
    },
    /// One frame of the node that was asked for.
    Samples {
        /// Name of the node.
        node: String,
        /// Time of the samples, epoch milliseconds.
        ts_ms: i64,
        /// The samples.
        samples: Vec<LiveSample>,
    },
    /// Events were lost.
    Resync,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

/// The objects of the array `key` of an answer as they are and as `T`, for output that filters what the API gave.
pub(crate) fn entries<T: serde::de::DeserializeOwned>(
    answer: Value,
    key: &str,
) -> Result<Vec<(Value, T)>, serde_json::Error> {
    let Value::Object(mut answer) = answer else {
        return Err(serde::de::Error::custom("not an object"));
    };
    let Some(Value::Array(entries)) = answer.remove(key) else {
        return Err(serde::de::Error::custom(format!("no array {key}")));
    };
    entries.into_iter().map(|v| Ok((v.clone(), serde_json::from_value(v)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_not_zero_and_new_fields_do_no_harm() {
        let node: NodeStatus =
            serde_json::from_str(r#"{"node":"a","up":true,"cpu_utilization":null,"new":1}"#)
                .unwrap();
        assert_eq!((node.cpu_utilization, node.load_1m), (None, None));
    }

    #[test]
    fn events_are_read_by_their_type() {
        let event = |text| serde_json::from_str::<LiveEvent>(text).unwrap();
        assert_eq!(event(r#"{"type":"resync"}"#), LiveEvent::Resync);
        assert_eq!(event(r#"{"type":"rollout","id":3}"#), LiveEvent::Other);
        let text = r#"{"type":"samples","node":"a","ts_ms":5,"samples":[{"metric":"m","attributes":{"k":"v"},"value":1.5}]}"#;
        let LiveEvent::Samples { node, ts_ms, samples } = event(text) else { panic!("{text}") };
        assert_eq!((node.as_str(), ts_ms), ("a", 5));
        assert_eq!((samples[0].attributes["k"].as_str(), samples[0].value), ("v", Some(1.5)));
    }
}
