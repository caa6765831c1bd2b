//! The order of nodes.
//!
//! Properties, each a test: unknown values come last; equal ones are ordered by name, so that rows do not jump; any floating point value has its place.

use std::cmp::Ordering;

use crate::api::types::NodeStatus;

/// What nodes are ordered by: names from a to z, everything else from the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SortKey {
    /// Share of all processors.
    Cpu,
    /// Share of memory.
    Memory,
    /// Load average over one minute.
    Load,
    /// Bytes per second, both ways.
    Network,
    /// Bytes per second, both ways.
    Disk,
    /// Time without a frame.
    Seen,
    /// Name.
    Name,
}

const CYCLE: [SortKey; 7] = [
    SortKey::Cpu,
    SortKey::Memory,
    SortKey::Load,
    SortKey::Network,
    SortKey::Disk,
    SortKey::Seen,
    SortKey::Name,
];

impl SortKey {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Load => "load",
            Self::Network => "network",
            Self::Disk => "disk",
            Self::Seen => "seen",
            Self::Name => "name",
        }
    }

    /// The key `by` steps further, around.
    pub(crate) fn step(self, by: isize) -> Self {
        let at = CYCLE.iter().position(|key| *key == self).unwrap_or(0);
        CYCLE[(at as isize + by).rem_euclid(CYCLE.len() as isize) as usize]
    }

    /// What a larger one of comes first; `None` for unknown.
    fn value(self, node: &NodeStatus) -> Option<f64> {
        let value = match self {
            Self::Cpu => node.cpu_utilization,
            Self::Memory => node.memory_utilization,
            Self::Load => node.load_1m,
            Self::Network => {
                sum(node.network_receive_bytes_per_second, node.network_transmit_bytes_per_second)
            }
            Self::Disk => sum(node.disk_read_bytes_per_second, node.disk_write_bytes_per_second),
            Self::Seen => node.last_seen_ms.map(|ms| -(ms as f64)),
            Self::Name => None,
        };
        value.filter(|v| !v.is_nan())
    }

    /// Order of two nodes.
    pub(crate) fn compare(self, a: &NodeStatus, b: &NodeStatus) -> Ordering {
        let by_value = match (self.value(a), self.value(b)) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        by_value.then_with(|| a.node.cmp(&b.node))
    }
}

/// Sum of what is known of the two.
fn sum(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (None, None) => None,
        _ => Some(a.unwrap_or(0.0) + b.unwrap_or(0.0)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(name: &str, cpu: Option<f64>) -> NodeStatus {
        NodeStatus { node: name.into(), cpu_utilization: cpu, ..NodeStatus::default() }
    }

    fn sorted(mut nodes: Vec<NodeStatus>, key: SortKey) -> Vec<String> {
        nodes.sort_by(|a, b| key.compare(a, b));
        nodes.into_iter().map(|n| n.node).collect()
    }

    #[test]
    fn the_largest_is_first_and_unknown_last() {
        let nodes = vec![
            node("d", None),
            node("a", Some(0.1)),
            node("c", Some(f64::NAN)),
            node("z", Some(0.9)),
            node("b", Some(0.1)),
        ];
        assert_eq!(sorted(nodes.clone(), SortKey::Cpu), ["z", "a", "b", "c", "d"]);
        assert_eq!(sorted(nodes, SortKey::Name), ["a", "b", "c", "d", "z"]);
    }

    #[test]
    fn half_known_traffic_counts_and_the_longest_silence_is_first() {
        let network = |name: &str, receive, transmit| NodeStatus {
            network_receive_bytes_per_second: receive,
            network_transmit_bytes_per_second: transmit,
            last_seen_ms: receive.map(|r: f64| r as i64),
            ..node(name, None)
        };
        let nodes = vec![
            network("a", None, None),
            network("b", Some(5.0), None),
            network("c", Some(3.0), Some(4.0)),
        ];
        assert_eq!(sorted(nodes.clone(), SortKey::Network), ["c", "b", "a"]);
        assert_eq!(sorted(nodes, SortKey::Seen), ["c", "b", "a"]);
    }

    #[test]
    fn steps_go_through_every_key_and_around() {
        let mut key = SortKey::Cpu;
        for _ in 0..CYCLE.len() {
            assert_eq!(key.step(1).step(-1), key);
            key = key.step(1);
        }
        assert_eq!(key, SortKey::Cpu);
        assert_eq!(SortKey::Cpu.step(-1), SortKey::Name);
    }

    proptest! {
        #[test]
        fn the_order_is_total(values in prop::collection::vec(prop::option::of(prop::num::f64::ANY), 0..20)) {
            let nodes: Vec<_> = values.iter().enumerate().map(|(i, v)| node(&format!("{i:03}"), *v)).collect();
            let once = sorted(nodes.clone(), SortKey::Cpu);
            let mut turned = nodes;
            turned.reverse();
            prop_assert_eq!(once, sorted(turned, SortKey::Cpu));
        }
    }
}
