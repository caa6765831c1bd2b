//! `flyball nodes`: the nodes and their last values.

use comfy_table::Cell;
use serde_json::{Value, json};

use super::{Context, hint, print};
use crate::api::types::{Accounting, NodeStatus, entries};
use crate::args::{NodeState, NodesArgs};
use crate::config::Output;
use crate::error::Error;
use crate::sort::SortKey;
use crate::text::table::{Column, Screen, Tone, plain, render, toned};
use crate::text::units::{self, Quantity};
use crate::text::{UNKNOWN, pattern};

const COLUMNS: [Column<'_>; 12] = [
    Column::Text("NODE"),
    Column::Text("STATE"),
    Column::Number("SEEN"),
    Column::Number("CPU"),
    Column::Number("MEMORY"),
    Column::Number("LOAD"),
    Column::Number("RECEIVED"),
    Column::Number("SENT"),
    Column::Number("READ"),
    Column::Number("WRITTEN"),
    Column::Text("SAMPLES"),
    Column::Text("AGENT"),
];

/// Prints the nodes.
///
/// # Errors
/// When the collector cannot be reached, or nothing matches the names that were given.
pub(crate) async fn run(context: &Context, args: &NodesArgs) -> Result<(), Error> {
    let client = &context.client;
    let body = client.get("/api/performance/status", &[]).await?;
    let all = entries(client.parse(&body)?, "nodes");
    let all = all.map_err(|e| Error::Foreign {
        server: client.server().to_owned(),
        reason: e.to_string(),
    })?;
    let fleet_is_empty = all.is_empty();
    let nodes = select(all, args);
    if nodes.is_empty() && !args.patterns.is_empty() {
        let names = args.patterns.join(", ");
        return Err(Error::NotFound(format!("no node is {names}; `flyball nodes` lists all")));
    }
    if context.output == Output::Json {
        let nodes: Vec<Value> = nodes.into_iter().map(|(json, _)| json).collect();
        return print(&json!({ "nodes": nodes }).to_string());
    }
    if fleet_is_empty {
        hint("no node has reported yet; start `flyball-agent --collector http://HOST:7400`");
        return Ok(());
    }
    let nodes: Vec<NodeStatus> = nodes.into_iter().map(|(_, node)| node).collect();
    print(&table(context.screen, &nodes, units::now_ms()))
}

/// The nodes that are asked for, in order.
fn select(all: Vec<(Value, NodeStatus)>, args: &NodesArgs) -> Vec<(Value, NodeStatus)> {
    let wanted = |node: &NodeStatus| {
        pattern::any(&args.patterns, &node.node)
            && args.state.is_none_or(|state| (state == NodeState::Up) == node.up)
    };
    let mut nodes: Vec<_> = all.into_iter().filter(|(_, node)| wanted(node)).collect();
    nodes.sort_by(|(_, a), (_, b)| args.sort.compare(a, b));
    nodes
}

/// The nodes as a table, in their order.
pub(crate) fn table(screen: Screen, nodes: &[NodeStatus], now_ms: i64) -> String {
    render(screen, &COLUMNS, nodes.iter().map(|node| row(node, now_ms)).collect())
}

/// All nodes as a table, in the order of `sort`.
pub(crate) fn sorted_table(
    screen: Screen,
    mut nodes: Vec<NodeStatus>,
    sort: SortKey,
    now_ms: i64,
) -> String {
    nodes.sort_by(|a, b| sort.compare(a, b));
    table(screen, &nodes, now_ms)
}

fn row(node: &NodeStatus, now_ms: i64) -> Vec<Cell> {
    let share = |share| toned(&units::percent(share), Tone::of_share(share));
    let traffic = |value| plain(Quantity::BytesPerSecond.format(value));
    vec![
        plain(&node.node),
        if node.up { toned("up", Tone::Good) } else { toned("down", Tone::Bad) },
        plain(units::age(now_ms, node.last_seen_ms)),
        share(node.cpu_utilization),
        share(node.memory_utilization),
        plain(Quantity::Number.format(node.load_1m)),
        traffic(node.network_receive_bytes_per_second),
        traffic(node.network_transmit_bytes_per_second),
        traffic(node.disk_read_bytes_per_second),
        traffic(node.disk_write_bytes_per_second),
        samples(node.accounting.as_ref()),
        plain(node.agent_version.as_deref().unwrap_or(UNKNOWN)),
    ]
}

/// Whether every sample is stored or on its way, or else how many are not.
fn samples(accounting: Option<&Accounting>) -> Cell {
    let Some(Accounting { shed, gap }) = accounting else { return plain(UNKNOWN) };
    let shed: u64 = shed.values().sum();
    let number = |samples: u64| units::number(samples as f64);
    match (*gap, shed) {
        (0, 0) => toned("ok", Tone::Good),
        (0, _) => toned(&format!("{} shed", number(shed)), Tone::Warning),
        (1.., _) => toned(&format!("{} missing", number(gap.unsigned_abs())), Tone::Bad),
        (..=-1, _) => toned(&format!("{} twice", number(gap.unsigned_abs())), Tone::Bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot;

    fn fleet() -> Vec<(Value, NodeStatus)> {
        let json = json!({"nodes": [
            {"node": "web-2", "up": true, "last_seen_ms": 9_500, "agent_version": "0.1.0", "cpu_utilization": 0.93,
             "memory_utilization": 0.5, "load_1m": 3.25, "network_receive_bytes_per_second": 1536.0,
             "network_transmit_bytes_per_second": 0.0, "disk_read_bytes_per_second": null, "disk_write_bytes_per_second": 2e6,
             "accounting": {"shed": {}, "gap": 0}},
            {"node": "web-1", "up": true, "last_seen_ms": 9_500, "cpu_utilization": 0.1, "accounting": {"shed": {"full": 48_000, "thinned": 500}, "gap": 0}},
            {"node": "db-1", "up": false, "last_seen_ms": null, "cpu_utilization": null},
            {"node": "db-2", "up": false, "accounting": {"shed": {"full": 1}, "gap": 17}},
        ]});
        entries(json, "nodes").unwrap()
    }

    fn names(args: &NodesArgs) -> Vec<String> {
        select(fleet(), args).into_iter().map(|(_, node)| node.node).collect()
    }

    #[test]
    fn nodes_are_chosen_by_name_and_state() {
        let mut args = NodesArgs { patterns: vec![], sort: SortKey::Name, state: None };
        assert_eq!(names(&args), ["db-1", "db-2", "web-1", "web-2"]);
        args.sort = SortKey::Cpu;
        assert_eq!(names(&args), ["web-2", "web-1", "db-1", "db-2"]);
        args.state = Some(NodeState::Down);
        assert_eq!(names(&args), ["db-1", "db-2"]);
        args = NodesArgs { patterns: vec!["web-*".into()], sort: SortKey::Name, state: None };
        assert_eq!(names(&args), ["web-1", "web-2"]);
    }

    #[test]
    fn unknown_values_are_dashes() {
        let nodes = fleet().into_iter().map(|(_, node)| node).collect();
        let screen = Screen { terminal: false, color: false };
        snapshot::check("nodes", &sorted_table(screen, nodes, SortKey::Name, 10_000));
    }
}
