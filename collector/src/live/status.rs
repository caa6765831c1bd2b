//! The fleet's last values as HTTP and gRPC give them. What is not known is `None`, which is not zero.

use std::sync::Arc;

use flyball_proto::v1;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::account::{Accounting, AccountingTotals};

/// Last values of the fleet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct FleetStatus {
    /// Nodes by name.
    #[serde(serialize_with = "each")]
    #[schema(value_type = Vec<NodeStatus>)]
    pub nodes: Vec<Arc<NodeStatus>>,
    /// Sums over all nodes above.
    pub totals: Totals,
    /// Where the samples of all nodes above are, as their agents reported it.
    pub accounting: AccountingTotals,
}

/// Sums over nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
pub struct Totals {
    /// Nodes that are known.
    pub nodes: u32,
    /// Nodes whose agent is connected and whose last frame is recent.
    pub nodes_up: u32,
    /// Series that the nodes report.
    pub series: u64,
    /// Samples per second of all nodes that are up.
    pub samples_per_second: f64,
}

/// One node's last values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct NodeStatus {
    /// Name of the node.
    pub node: String,
    /// An agent is connected and its last frame is younger than three intervals and five seconds.
    pub up: bool,
    /// Time of the newest frame, milliseconds since the Unix epoch.
    pub last_seen_ms: Option<i64>,
    /// Version of the agent.
    pub agent_version: Option<String>,
    /// Revision of the policy in force; 0 without one.
    pub policy_revision: u64,
    /// Share of all processors that is neither idle nor waiting for I/O, 0 to 1.
    pub cpu_utilization: Option<f64>,
    /// Share of memory in use, 0 to 1.
    pub memory_utilization: Option<f64>,
    /// Load average over one minute.
    pub load_1m: Option<f64>,
    /// Bytes received per second over all interfaces but loopback.
    pub network_receive_bytes_per_second: Option<f64>,
    /// Bytes sent per second over all interfaces but loopback.
    pub network_transmit_bytes_per_second: Option<f64>,
    /// Bytes read per second from all whole disks.
    pub disk_read_bytes_per_second: Option<f64>,
    /// Bytes written per second to all whole disks.
    pub disk_write_bytes_per_second: Option<f64>,
    /// Series that the node reports.
    pub series: u32,
    /// Samples per second over the last frames; 0 when the node is not up.
    pub samples_per_second: f64,
    /// What the node is; null until its agent connects to this collector.
    #[serde(serialize_with = "shared")]
    #[schema(value_type = Option<HostStatus>)]
    pub host: Option<Arc<HostStatus>>,
    /// Where the node's samples are; null until its agent reports to this collector.
    #[serde(serialize_with = "shared")]
    #[schema(value_type = Option<Accounting>)]
    pub accounting: Option<Arc<Accounting>>,
}

/// Identity of a host. Empty texts and zeros from the agent mean unknown and become null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct HostStatus {
    /// `host.name`
    pub name: Option<String>,
    /// `host.id`
    pub id: Option<String>,
    /// `host.arch`
    pub arch: Option<String>,
    /// `os.type`
    pub os_type: Option<String>,
    /// `os.description`
    pub os_description: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Logical processors.
    pub cpus: Option<u32>,
    /// Physical memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Time of the last boot, milliseconds since the Unix epoch.
    pub boot_time_ms: Option<i64>,
    /// `host.cpu.model.name`
    pub cpu_model: Option<String>,
    /// `host.ip`: addresses of its interfaces without those of the loopback and of single links.
    pub addresses: Vec<String>,
}

// === impl Totals ===

impl Totals {
    /// Sums over `nodes`.
    pub fn of<'a>(nodes: impl IntoIterator<Item = &'a NodeStatus>) -> Self {
        let mut totals = Self::default();
        nodes.into_iter().for_each(|node| totals.add(node));
        totals
    }

    /// Adds a node.
    pub fn add(&mut self, node: &NodeStatus) {
        self.nodes += 1;
        self.nodes_up += u32::from(node.up);
        self.series += u64::from(node.series);
        self.samples_per_second += node.samples_per_second;
    }
}

// === impl NodeStatus ===

impl NodeStatus {
    /// True when something is known of what the node does.
    pub(super) const fn has_values(&self) -> bool {
        self.cpu_utilization.is_some()
            || self.memory_utilization.is_some()
            || self.load_1m.is_some()
    }

    /// Forgets what frames say; who the node is stays.
    pub(super) fn forget_values(&mut self) {
        *self = Self {
            node: std::mem::take(&mut self.node),
            up: self.up,
            last_seen_ms: self.last_seen_ms,
            agent_version: self.agent_version.take(),
            policy_revision: self.policy_revision,
            host: self.host.take(),
            accounting: self.accounting.take(),
            ..Self::default()
        };
    }
}

// === impl HostStatus ===

impl From<v1::Host> for HostStatus {
    fn from(host: v1::Host) -> Self {
        let text = |text: String| (!text.is_empty()).then_some(text);
        Self {
            name: text(host.name),
            id: text(host.id),
            arch: text(host.arch),
            os_type: text(host.os_type),
            os_description: text(host.os_description),
            kernel: text(host.kernel),
            cpus: (host.cpus > 0).then_some(host.cpus),
            memory_bytes: (host.memory_bytes > 0).then_some(host.memory_bytes),
            boot_time_ms: (host.boot_time_ms > 0).then_some(host.boot_time_ms),
            cpu_model: text(host.cpu_model),
            addresses: host.addresses,
        }
    }
}

impl From<&HostStatus> for v1::Host {
    fn from(host: &HostStatus) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            name: text(&host.name),
            id: text(&host.id),
            arch: text(&host.arch),
            os_type: text(&host.os_type),
            os_description: text(&host.os_description),
            kernel: text(&host.kernel),
            cpus: host.cpus.unwrap_or_default(),
            memory_bytes: host.memory_bytes.unwrap_or_default(),
            boot_time_ms: host.boot_time_ms.unwrap_or_default(),
            cpu_model: text(&host.cpu_model),
            addresses: host.addresses.clone(),
        }
    }
}

// === conversions for gRPC ===

impl From<&NodeStatus> for v1::NodeStatus {
    fn from(node: &NodeStatus) -> Self {
        Self {
            node: node.node.clone(),
            up: node.up,
            last_seen_ms: node.last_seen_ms.unwrap_or_default(),
            agent_version: node.agent_version.clone().unwrap_or_default(),
            policy_revision: node.policy_revision,
            cpu_utilization: node.cpu_utilization,
            memory_utilization: node.memory_utilization,
            load_1m: node.load_1m,
            network_receive_bytes_per_second: node.network_receive_bytes_per_second,
            network_transmit_bytes_per_second: node.network_transmit_bytes_per_second,
            disk_read_bytes_per_second: node.disk_read_bytes_per_second,
            disk_write_bytes_per_second: node.disk_write_bytes_per_second,
            series: node.series,
            samples_per_second: node.samples_per_second,
            host: node.host.as_deref().map(Into::into),
            accounting: node.accounting.as_deref().map(Into::into),
        }
    }
}

/// As another collector sent it. Where the samples of its node are is told where its agent is.
impl From<v1::NodeStatus> for NodeStatus {
    fn from(node: v1::NodeStatus) -> Self {
        let time = |ms: i64| (ms != 0).then_some(ms);
        Self {
            node: node.node,
            up: node.up,
            last_seen_ms: time(node.last_seen_ms),
            agent_version: (!node.agent_version.is_empty()).then_some(node.agent_version),
            policy_revision: node.policy_revision,
            cpu_utilization: node.cpu_utilization,
            memory_utilization: node.memory_utilization,
            load_1m: node.load_1m,
            network_receive_bytes_per_second: node.network_receive_bytes_per_second,
            network_transmit_bytes_per_second: node.network_transmit_bytes_per_second,
            disk_read_bytes_per_second: node.disk_read_bytes_per_second,
            disk_write_bytes_per_second: node.disk_write_bytes_per_second,
            series: node.series,
            samples_per_second: node.samples_per_second,
            host: node.host.map(|host| Arc::new(host.into())),
            accounting: None,
        }
    }
}

impl From<Totals> for v1::StatusTotals {
    fn from(totals: Totals) -> Self {
        Self {
            nodes: totals.nodes,
            nodes_up: totals.nodes_up,
            series: totals.series,
            samples_per_second: totals.samples_per_second,
        }
    }
}

impl From<&FleetStatus> for v1::StatusResponse {
    fn from(fleet: &FleetStatus) -> Self {
        Self {
            nodes: fleet.nodes.iter().map(|node| node.as_ref().into()).collect(),
            totals: Some(fleet.totals.into()),
            accounting: Some(fleet.accounting.into()),
        }
    }
}

/// Serializes what is behind the pointers (serde's `rc` feature is for owners of both ends; here nothing is read back).
pub(super) fn each<T: Serialize, S: Serializer>(
    items: &[Arc<T>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(items.iter().map(Arc::as_ref))
}

/// Serializes what is behind the pointer.
pub(super) fn one<T: Serialize, S: Serializer>(
    item: &Arc<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    item.as_ref().serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde hands over the field by reference")]
fn shared<T: Serialize, S: Serializer>(
    item: &Option<Arc<T>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    item.as_deref().serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_null_and_shared_parts_are_written_in_place() {
        let host = HostStatus::from(v1::Host {
            name: "web".into(),
            cpus: 2,
            addresses: vec!["10.0.0.1".into()],
            ..Default::default()
        });
        assert_eq!(v1::Host::from(&host).addresses, ["10.0.0.1"]);
        let node = NodeStatus {
            node: "web-1".into(),
            up: true,
            host: Some(Arc::new(host)),
            ..Default::default()
        };
        let totals = Totals::of([&node]);
        let accounting = AccountingTotals::default();
        let fleet = FleetStatus { nodes: vec![Arc::new(node)], totals, accounting };
        let json = serde_json::to_value(&fleet).unwrap();
        let node = &json["nodes"][0];
        assert_eq!(node["cpu_utilization"], serde_json::Value::Null);
        assert_eq!(node["last_seen_ms"], serde_json::Value::Null);
        assert_eq!(node["host"]["name"], "web");
        assert_eq!(node["host"]["kernel"], serde_json::Value::Null);
        assert_eq!(node["accounting"], serde_json::Value::Null);
        assert_eq!(json["totals"]["nodes_up"], 1);
    }
}
