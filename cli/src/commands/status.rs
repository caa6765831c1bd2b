//! `flyball status`: is the collector ready, and how is the fleet.

use comfy_table::Cell;
use serde_json::{Value, json};

use super::alerts;
use super::{Context, print};
use crate::api::types::{
    AccountingTotals, Alert, AlertsAnswer, FleetStatus, NodeStatus, Readiness,
};
use crate::config::Output;
use crate::error::Error;
use crate::text::table::{Screen, Tone, plain, render, toned};
use crate::text::{UNKNOWN, clean, units};

/// Most names of nodes that are listed.
const NAMES: usize = 5;

/// Prints the summary.
///
/// # Errors
/// When the collector cannot be reached or is not ready.
pub(crate) async fn run(context: &Context) -> Result<(), Error> {
    let client = &context.client;
    // Without ClickHouse the collector is not ready, yet it answers both: 503 has the same body as 200.
    let (code, body) = client.get_any("/readyz", &[]).await?;
    let ready_json: Value = client.parse(&body)?;
    let readiness: Readiness = client.parse(&body)?;
    let body = client.get("/api/performance/status", &[]).await?;
    let firing = client.get(alerts::PATH, &[("state", "firing".to_owned())]).await?;
    match context.output {
        Output::Json => {
            let status: Value = client.parse(&body)?;
            let alerts: Value = client.parse(&firing)?;
            let all = json!({"server": client.server(), "readyz": ready_json, "status": status, "alerts": alerts});
            print(&all.to_string())?;
        }
        Output::Table => {
            let told = Told {
                server: client.server(),
                readiness: &readiness,
                fleet: &client.parse(&body)?,
                alerts: &client.parse::<AlertsAnswer>(&firing)?.alerts,
            };
            print(&summary(context.screen, &told, units::now_ms()))?;
        }
    }
    if code.is_success() {
        return Ok(());
    }
    Err(Error::NotReady { server: client.server().to_owned(), reason: reason(&readiness) })
}

/// The failed checks in one line.
fn reason(readiness: &Readiness) -> String {
    let failed = readiness.checks.iter().filter(|check| !check.is_ok());
    let told: Vec<_> = failed
        .map(|check| match check.detail.as_deref().filter(|d| !d.is_empty()) {
            Some(detail) => format!("{}: {}", clean(&check.name), clean(detail)),
            None => format!("{}: {}", clean(&check.name), clean(&check.status)),
        })
        .collect();
    if told.is_empty() { clean(&readiness.status) } else { told.join("; ") }
}

/// What the collector told.
struct Told<'a> {
    server: &'a str,
    readiness: &'a Readiness,
    fleet: &'a FleetStatus,
    /// Those that fire.
    alerts: &'a [Alert],
}

fn summary(screen: Screen, told: &Told<'_>, now_ms: i64) -> String {
    let Told { server, readiness, fleet, alerts } = *told;
    let tone = |good| if good { Tone::Good } else { Tone::Bad };
    let row = |name: &str, value: Cell, rest: String| vec![plain(name), value, plain(rest)];
    let ready = tone(readiness.status == "ready");
    let mut rows = vec![row("collector", toned(&readiness.status, ready), server.to_owned())];
    for check in &readiness.checks {
        let detail = check.detail.clone().unwrap_or_default();
        rows.push(row(
            &format!("  {}", check.name),
            toned(&check.status, tone(check.is_ok())),
            detail,
        ));
    }
    let totals = fleet.totals;
    let all_up = totals.nodes_up == totals.nodes;
    let up = format!("{} of {} up", totals.nodes_up, totals.nodes);
    rows.push(row("nodes", toned(&up, tone(all_up)), down(&fleet.nodes, now_ms)));
    let rate = format!("{} samples/s", units::number(totals.samples_per_second));
    rows.push(row("series", plain(units::number(totals.series as f64)), rate));
    rows.push(samples(&fleet.accounting));
    rows.push(firing(alerts));
    let cpu = highest(&fleet.nodes, |n| n.cpu_utilization);
    let memory = highest(&fleet.nodes, |n| n.memory_utilization);
    for (name, (value, node)) in [("highest cpu", cpu), ("highest memory", memory)] {
        rows.push(row(name, toned(&units::percent(value), Tone::of_share(value)), node));
    }
    render(screen, &[], rows)
}

/// The equation over the fleet.
fn samples(sums: &AccountingTotals) -> Vec<Cell> {
    let number = |samples: u64| units::number(samples as f64);
    let verdict = match (sums.nodes, sums.gap, sums.shed) {
        (0, ..) => plain(UNKNOWN),
        (_, 0, 0) => toned("all accounted for", Tone::Good),
        (_, 0, shed) => toned(&format!("{} shed", number(shed)), Tone::Warning),
        (_, gap, _) => {
            let nodes = if sums.nodes_with_gap == 1 { "node" } else { "nodes" };
            let text =
                format!("{} unaccounted for on {} {nodes}", number(gap), sums.nodes_with_gap);
            toned(&text, Tone::Bad)
        }
    };
    let equation = match sums.nodes {
        0 => String::new(),
        _ => format!(
            "{} produced = {} stored + {} in flight + {} shed",
            number(sums.produced),
            number(sums.stored),
            number(sums.in_flight),
            number(sums.shed)
        ),
    };
    vec![plain("samples"), verdict, plain(equation)]
}

/// How many alerts fire, and the first of them.
fn firing(alerts: &[Alert]) -> Vec<Cell> {
    let tone = match alerts.iter().any(|alert| alert.severity == "critical") {
        _ if alerts.is_empty() => Tone::Good,
        true => Tone::Bad,
        false => Tone::Warning,
    };
    let count = if alerts.is_empty() { "none".to_owned() } else { alerts.len().to_string() };
    let name = |alert: &Alert| match &alert.node {
        Some(node) => format!("{} on {node}", alert.name),
        None => alert.name.clone(),
    };
    let names: Vec<_> = alerts.iter().take(NAMES).map(name).collect();
    let more = alerts.len().saturating_sub(NAMES);
    let rest = match more {
        0 => names.join(", "),
        _ => format!("{} and {more} more: flyball alerts", names.join(", ")),
    };
    vec![plain("alerts"), toned(&count, tone), plain(rest)]
}

/// The highest known value among nodes that are up: the last value of a node that is down says nothing about now.
fn highest(nodes: &[NodeStatus], value: fn(&NodeStatus) -> Option<f64>) -> (Option<f64>, String) {
    let known = nodes.iter().filter(|n| n.up).filter_map(|n| Some((value(n)?, n)));
    match known.max_by(|(a, _), (b, _)| a.total_cmp(b)) {
        Some((value, node)) => (Some(value), node.node.clone()),
        None => (None, String::new()),
    }
}

/// Names of the nodes that are down.
fn down(nodes: &[NodeStatus], now_ms: i64) -> String {
    let mut down: Vec<_> = nodes.iter().filter(|n| !n.up).collect();
    down.sort_by(|a, b| a.node.cmp(&b.node));
    let name = |n: &&NodeStatus| format!("{} ({})", n.node, units::age(now_ms, n.last_seen_ms));
    let names: Vec<_> = down.iter().take(NAMES).map(name).collect();
    let more = down.len().saturating_sub(NAMES);
    match (names.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!("down: {}", names.join(", ")),
        (false, _) => format!("down: {} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{Check, Totals};
    use crate::snapshot;

    const PIPE: Screen = Screen { terminal: false, color: false };

    fn node(name: &str, up: bool, cpu: Option<f64>) -> NodeStatus {
        NodeStatus {
            node: name.into(),
            up,
            last_seen_ms: Some(0),
            cpu_utilization: cpu,
            ..NodeStatus::default()
        }
    }

    fn alert(name: &str, node: &str) -> Alert {
        let (severity, state) = ("critical".into(), "firing".into());
        Alert { name: name.into(), node: Some(node.into()), severity, state, ..Alert::default() }
    }

    fn check(name: &str, status: &str, detail: &str) -> Check {
        Check { name: name.into(), status: status.into(), detail: Some(detail.into()) }
    }

    fn not_ready() -> Readiness {
        let checks =
            vec![check("clickhouse", "failed", "connection refused"), check("queue", "ok", "")];
        Readiness { status: "not ready".into(), checks }
    }

    #[test]
    fn the_summary_of_a_fleet_with_trouble() {
        let fleet = FleetStatus {
            nodes: vec![
                node("web-1", true, Some(0.35)),
                node("web-2", true, Some(0.93)),
                node("db-1", false, Some(0.99)),
            ],
            totals: Totals { nodes: 3, nodes_up: 2, series: 12_345, samples_per_second: 1234.5 },
            accounting: AccountingTotals {
                nodes: 3,
                nodes_with_gap: 1,
                produced: 12_345_678,
                stored: 12_000_000,
                in_flight: 345_600,
                shed: 61,
                gap: 17,
            },
        };
        let alerts: Vec<_> = (0..7).map(|n| alert("samples.shed", &format!("web-{n}"))).collect();
        let (server, readiness) = ("http://h:1", &not_ready());
        let told = Told { server, readiness, fleet: &fleet, alerts: &alerts };
        snapshot::check("status", &summary(PIPE, &told, 250_000));
    }

    #[test]
    fn the_summary_of_a_fleet_in_which_all_is_well() {
        let checks = vec![check("clickhouse", "ok", "25.8 answers in 2 ms")];
        let readiness = &Readiness { status: "ready".into(), checks };
        let accounting =
            AccountingTotals { nodes: 1, produced: 500, stored: 500, ..Default::default() };
        let nodes = vec![node("web-1", true, Some(0.35))];
        let totals = Totals { nodes: 1, nodes_up: 1, series: 300, samples_per_second: 300.0 };
        let fleet = &FleetStatus { nodes, totals, accounting };
        let told = Told { server: "http://h:1", readiness, fleet, alerts: &[] };
        snapshot::check("status-well", &summary(PIPE, &told, 250_000));
    }

    #[test]
    fn a_node_that_is_down_is_not_the_busiest() {
        let nodes =
            [node("a", false, Some(0.9)), node("b", true, Some(0.1)), node("c", true, None)];
        assert_eq!(highest(&nodes, |n| n.cpu_utilization), (Some(0.1), "b".into()));
        assert_eq!(highest(&nodes[2..], |n| n.cpu_utilization), (None, String::new()));
    }

    #[test]
    fn only_the_checks_that_fail_are_the_reason() {
        assert_eq!(reason(&not_ready()), "clickhouse: connection refused");
        assert_eq!(reason(&Readiness { status: "draining".into(), checks: vec![] }), "draining");
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let nodes: Vec<_> = (0..8).map(|i| node(&format!("n{i}"), false, None)).collect();
        let text = down(&nodes, 1_000);
        assert!(text.starts_with("down: n0 (1s), ") && text.ends_with(" and 3 more"), "{text}");
    }
}
