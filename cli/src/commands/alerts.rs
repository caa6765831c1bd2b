//! `flyball alerts`: what is wrong now, and what was lately.

use comfy_table::Cell;
use serde_json::Value;

use super::{Context, hint, print};
use crate::api::types::{Alert, AlertsAnswer};
use crate::args::{AlertState, AlertsArgs};
use crate::config::Output;
use crate::error::Error;
use crate::text::table::{Column, Screen, Tone, plain, render, toned};
use crate::text::units;

const COLUMNS: [Column<'_>; 6] = [
    Column::Text("SEVERITY"),
    Column::Text("STATE"),
    Column::Number("SINCE"),
    Column::Text("NODE"),
    Column::Text("ALERT"),
    Column::Text("WHAT"),
];

/// Where the alerts are.
pub(crate) const PATH: &str = "/api/performance/alerts";

/// Prints the alerts.
///
/// # Errors
/// When the collector cannot be reached or knows no such node.
pub(crate) async fn run(context: &Context, args: &AlertsArgs) -> Result<(), Error> {
    let client = &context.client;
    let mut query: Vec<_> = args.node.iter().map(|node| ("node", node.clone())).collect();
    let state = args.state.map(|state| match state {
        AlertState::Firing => "firing".to_owned(),
        AlertState::Resolved => "resolved".to_owned(),
    });
    query.extend(state.map(|state| ("state", state)));
    let body = client.get(PATH, &query).await?;
    if context.output == Output::Json {
        let answer: Value = client.parse(&body)?;
        return print(&answer.to_string());
    }
    let AlertsAnswer { alerts } = client.parse(&body)?;
    if alerts.is_empty() {
        hint("nothing is wrong");
        return Ok(());
    }
    print(&table(context.screen, &alerts, units::now_ms()))
}

fn table(screen: Screen, alerts: &[Alert], now_ms: i64) -> String {
    render(screen, &COLUMNS, alerts.iter().map(|alert| row(alert, now_ms)).collect())
}

fn row(alert: &Alert, now_ms: i64) -> Vec<Cell> {
    let tone = match (alert.is_firing(), alert.severity.as_str()) {
        (false, _) => Tone::Plain,
        (true, "critical") => Tone::Bad,
        (true, _) => Tone::Warning,
    };
    vec![
        toned(&alert.severity, tone),
        plain(&alert.state),
        plain(units::age(now_ms, Some(alert.since_ms))),
        plain(alert.node.as_deref().unwrap_or("(collector)")),
        plain(&alert.name),
        plain(&alert.text),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot;

    #[test]
    fn each_alert_is_a_row() {
        let alert = |name: &str, node: Option<&str>, severity: &str, state: &str| Alert {
            name: name.into(),
            severity: severity.into(),
            node: node.map(Into::into),
            state: state.into(),
            since_ms: 10_000,
            text: "the agent gave up 5 samples".into(),
        };
        let alerts = [
            alert("samples.shed", Some("web-1"), "critical", "firing"),
            alert("catalog.full", None, "warning", "resolved"),
        ];
        let screen = Screen { terminal: false, color: false };
        snapshot::check("alerts", &table(screen, &alerts, 260_000));
    }
}
