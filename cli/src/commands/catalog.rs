//! `flyball metrics` without a metric, or with a pattern: the metrics that exist.

use serde_json::{Value, json};

use super::{Context, hint, print};
use crate::api::types::{CatalogMetric, entries};
use crate::args::MetricsArgs;
use crate::config::Output;
use crate::error::Error;
use crate::text::pattern;
use crate::text::table::{Column, Screen, plain, render};

const COLUMNS: [Column<'_>; 6] = [
    Column::Text("METRIC"),
    Column::Text("UNIT"),
    Column::Text("KIND"),
    Column::Number("NODES"),
    Column::Number("SERIES"),
    Column::Text("ATTRIBUTES"),
];

/// Prints the metrics that match.
///
/// # Errors
/// When the collector cannot be reached, or nothing matches.
pub(super) async fn run(context: &Context, args: &MetricsArgs) -> Result<(), Error> {
    let client = &context.client;
    let body = client.get("/api/performance/catalog", &[]).await?;
    let filtered = args.metric.is_some() || !args.node.is_empty();
    if context.output == Output::Json && !filtered {
        return print(&body);
    }
    let all = entries(client.parse(&body)?, "metrics");
    let all: Vec<(Value, CatalogMetric)> = all.map_err(|e| Error::Foreign {
        server: client.server().to_owned(),
        reason: e.to_string(),
    })?;
    let metrics: Vec<_> = all.into_iter().filter(|(_, metric)| wanted(metric, args)).collect();
    if metrics.is_empty() && filtered {
        return Err(Error::NotFound("no metric matches; `flyball metrics` lists all".to_owned()));
    }
    if context.output == Output::Json {
        let metrics: Vec<Value> = metrics.into_iter().map(|(json, _)| json).collect();
        return print(&json!({ "metrics": metrics }).to_string());
    }
    if metrics.is_empty() {
        hint("no metric has been reported yet; start `flyball-agent --collector http://HOST:7400`");
        return Ok(());
    }
    print(&table(context.screen, metrics.iter().map(|(_, metric)| metric)))
}

fn wanted(metric: &CatalogMetric, args: &MetricsArgs) -> bool {
    args.metric.as_deref().is_none_or(|p| pattern::matches(p, &metric.name))
        && (args.node.is_empty() || metric.nodes.iter().any(|node| args.node.contains(node)))
}

fn table<'a>(screen: Screen, metrics: impl Iterator<Item = &'a CatalogMetric>) -> String {
    let row = |metric: &CatalogMetric| {
        vec![
            plain(&metric.name),
            plain(&metric.unit),
            plain(&metric.kind),
            plain(metric.nodes.len().to_string()),
            plain(metric.series.to_string()),
            plain(metric.attributes.join(", ")),
        ]
    };
    render(screen, &COLUMNS, metrics.map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, nodes: &[&str]) -> CatalogMetric {
        CatalogMetric {
            name: name.into(),
            unit: "By".into(),
            kind: "gauge".into(),
            nodes: nodes.iter().map(|n| (*n).to_owned()).collect(),
            attributes: vec!["system.device".into(), "disk.io.direction".into()],
            series: 4,
        }
    }

    fn args(pattern: Option<&str>, node: &[&str]) -> MetricsArgs {
        let node = node.iter().map(|n| (*n).to_owned()).collect();
        MetricsArgs { metric: pattern.map(Into::into), node, ..MetricsArgs::default() }
    }

    #[test]
    fn metrics_are_chosen_by_name_and_node() {
        let disk = metric("system.disk.io", &["a", "b"]);
        assert!(wanted(&disk, &args(None, &[])));
        assert!(wanted(&disk, &args(Some("system.disk.*"), &["b", "c"])));
        assert!(!wanted(&disk, &args(Some("system.cpu.*"), &[])));
        assert!(!wanted(&disk, &args(None, &["c"])));
    }

    #[test]
    fn each_metric_has_a_row() {
        let metrics = [metric("system.disk.io", &["a", "b"]), metric("x", &[])];
        let text = table(Screen { terminal: false, color: false }, metrics.iter());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "METRIC          UNIT  KIND   NODES  SERIES  ATTRIBUTES");
        assert_eq!(
            lines[1],
            "system.disk.io  By    gauge      2       4  system.device, disk.io.direction"
        );
        assert_eq!(lines.len(), 3);
    }
}
