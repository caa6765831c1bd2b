//! `flyball policies`: what is wanted of each node, and what is in force there.

use std::collections::BTreeMap;

use comfy_table::Cell;

use super::{Context, hint, print};
use crate::api::steering::{NodePolicy, PoliciesAnswer, TargetState};
use crate::args::PoliciesArgs;
use crate::config::Output;
use crate::error::Error;
use crate::text::UNKNOWN;
use crate::text::table::{Column, Screen, Tone, plain, render, toned};
use crate::text::values::setting;

const COLUMNS: [Column<'_>; 7] = [
    Column::Text("NODE"),
    Column::Text("AGENT"),
    Column::Number("WANTED"),
    Column::Number("IN FORCE"),
    Column::Text("TARGET"),
    Column::Text("SETTINGS"),
    Column::Text("RESULT"),
];

/// Prints the policies.
///
/// # Errors
/// When the collector cannot be reached or knows no such node.
pub(crate) async fn run(context: &Context, args: &PoliciesArgs) -> Result<(), Error> {
    let client = &context.client;
    let query: Vec<_> = args.node.iter().map(|node| ("node", node.clone())).collect();
    let body = client.get("/api/performance/policies", &query).await?;
    if context.output == Output::Json {
        return print(&body);
    }
    let PoliciesAnswer { policies } = client.parse(&body)?;
    if policies.is_empty() {
        hint(
            "no agent watches for policies; with `steer = true` in its [[redis]] it may be steered",
        );
        return Ok(());
    }
    print(&table(context.screen, &policies))
}

fn table(screen: Screen, policies: &[NodePolicy]) -> String {
    render(screen, &COLUMNS, policies.iter().flat_map(rows).collect())
}

/// A row for each target, the first with what is of the node.
fn rows(policy: &NodePolicy) -> Vec<Vec<Cell>> {
    let revision =
        |revision: u64| if revision == 0 { UNKNOWN.to_owned() } else { revision.to_string() };
    let (word, tone) = if policy.connected { ("watches", Tone::Good) } else { ("away", Tone::Bad) };
    let head = || {
        vec![
            plain(&policy.node),
            toned(word, tone),
            plain(revision(policy.wanted_revision)),
            plain(revision(policy.in_force_revision)),
        ]
    };
    let blank = || vec![plain(""), plain(""), plain(""), plain("")];
    if policy.targets.is_empty() {
        let reason = policy.reason.as_deref().unwrap_or_default();
        return vec![[head(), vec![plain(UNKNOWN), plain(""), plain(reason)]].concat()];
    }
    let row = |(at, target): (usize, &TargetState)| {
        let first = if at == 0 { head() } else { blank() };
        [first, of_target(target)].concat()
    };
    policy.targets.iter().enumerate().map(row).collect()
}

fn of_target(target: &TargetState) -> Vec<Cell> {
    let wanted = target.wanted.as_ref().filter(|wanted| !wanted.is_empty());
    let trial = if target.canary { " (on trial)" } else { "" };
    let shown = match wanted {
        Some(wanted) => format!("{}{trial}", settings(wanted)),
        None if target.in_force.is_empty() => UNKNOWN.to_owned(),
        None => settings(&target.in_force),
    };
    let result = match (&target.barred, &target.result) {
        (Some(barred), _) => toned(&format!("may not be set: {barred}"), Tone::Warning),
        (None, Some(result)) => {
            let tone = match result.as_str() {
                "applied" => Tone::Good,
                "applying" => Tone::Plain,
                _ => Tone::Bad,
            };
            let because = target.reason.as_ref().map(|reason| format!(": {reason}"));
            toned(&format!("{result}{}", because.unwrap_or_default()), tone)
        }
        (None, None) if wanted.is_some() => plain("not told yet"),
        (None, None) => plain("may be set, nothing is wanted"),
    };
    vec![plain(format!("{} {}", target.kind, target.name)), plain(shown), result]
}

fn settings(all: &BTreeMap<String, String>) -> String {
    let one = |(name, value): (&String, &String)| format!("{name} {}", setting(name, value, ""));
    all.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot;

    #[test]
    fn each_target_is_a_row() {
        let body = include_str!("../../answers/policies.json");
        let mut answer: PoliciesAnswer = serde_json::from_str(body).unwrap();
        let barred = TargetState {
            kind: "redis".into(),
            name: "queue".into(),
            barred: Some("steer = true is not set".into()),
            ..TargetState::default()
        };
        answer.policies[0].targets.push(barred);
        answer.policies.push(NodePolicy { node: "web-2".into(), ..NodePolicy::default() });
        let screen = Screen { terminal: false, color: false };
        snapshot::check("policies", &table(screen, &answer.policies));
    }
}
