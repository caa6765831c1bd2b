//! `flyball suggestions` and `flyball optimize`: what would do the fleet good.

use std::collections::BTreeMap;

use comfy_table::Cell;
use serde_json::json;

use super::{Context, caches, hint, print};
use crate::api::steering::{OptimizeAnswer, Skipped, Suggestion, SuggestionsAnswer};
use crate::args::{OptimizeArgs, SuggestionsArgs};
use crate::config::Output;
use crate::error::Error;
use crate::text::table::{Column, Screen, Tone, plain, render, toned};
use crate::text::units;
use crate::text::values::{promise, range};

const COLUMNS: [Column<'_>; 7] = [
    Column::Text("ID"),
    Column::Text("STATUS"),
    Column::Number("AGE"),
    Column::Text("TARGET"),
    Column::Text("CHANGE"),
    Column::Text("PROMISE"),
    Column::Text("RISK"),
];

/// Where suggestions are.
pub(super) const PATH: &str = "/api/performance/suggestions";

/// Prints the suggestions that match.
///
/// # Errors
/// When the collector cannot be reached or refuses the filter.
pub(crate) async fn list(context: &Context, args: &SuggestionsArgs) -> Result<(), Error> {
    let client = &context.client;
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.status.iter().map(|status| ("status", status.clone())));
    query.extend(args.kind.iter().map(|kind| ("kind", kind.clone())));
    if let Some(target) = &args.target {
        query.push(("target", caches::target_id(context, target).await?));
    }
    let body = client.get(PATH, &query).await?;
    if context.output == Output::Json {
        return print(&body);
    }
    let SuggestionsAnswer { suggestions, next_cursor } = client.parse(&body)?;
    if suggestions.is_empty() {
        let filtered = args.status.is_some() || args.kind.is_some() || args.target.is_some();
        hint(if filtered {
            "no suggestion is like that; `flyball suggestions` lists all"
        } else {
            "nothing was suggested yet; `flyball optimize` looks now and tells why"
        });
        return Ok(());
    }
    print(&table(context.screen, &suggestions, units::now_ms()))?;
    if next_cursor.is_some() {
        hint(&format!("these are the newest {}; older ones with --limit", suggestions.len()));
    }
    Ok(())
}

/// Has the advisors look, and prints what they found and what not.
///
/// # Errors
/// When the collector cannot be reached, knows no such target, or cannot decide at present.
pub(crate) async fn optimize(context: &Context, args: &OptimizeArgs) -> Result<(), Error> {
    let client = &context.client;
    let target = match &args.target {
        Some(target) => Some(caches::target_id(context, target).await?),
        None => None,
    };
    let ask = json!({"scope": args.scope.name(), "target": target, "dry_run": args.dry_run});
    let body = client.post("/api/performance/optimize", &ask).await?;
    if context.output == Output::Json {
        return print(&body);
    }
    let answer: OptimizeAnswer = client.parse(&body)?;
    print(&found(context.screen, &answer, units::now_ms()))?;
    if answer.suggestions.is_empty() && answer.skipped.is_empty() {
        hint("there is nothing to look at; `flyball caches` lists what is watched");
    } else if args.dry_run {
        hint("only tried: nothing was written down; without --dry-run these can be confirmed");
    } else if let Some(first) = answer.suggestions.first() {
        hint(&format!("`flyball show {}` tells why, `flyball confirm ID` has it done", first.id));
    }
    Ok(())
}

fn found(screen: Screen, answer: &OptimizeAnswer, now_ms: i64) -> String {
    let mut text = String::new();
    if !answer.suggestions.is_empty() {
        text.push_str(&table(screen, &answer.suggestions, now_ms));
    }
    if !answer.skipped.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        let columns = [Column::Text("PASSED OVER"), Column::Text("KIND"), Column::Text("WHY")];
        text.push_str(&render(screen, &columns, reasons(&answer.skipped)));
    }
    text
}

/// Reasons by target; kinds with the same one are together.
fn reasons(skipped: &[Skipped]) -> Vec<Vec<Cell>> {
    let mut by_reason: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for Skipped { target, kind, reason } in skipped {
        by_reason.entry((target, reason)).or_default().push(kind);
    }
    let mut last = "";
    let row = |((target, reason), kinds): ((&str, &str), Vec<&str>)| {
        vec![plain(target), plain(kinds.join(", ")), plain(reason)]
    };
    by_reason
        .into_iter()
        .map(|((target, reason), kinds)| {
            let shown = if std::mem::replace(&mut last, target) == target { "" } else { target };
            row(((shown, reason), kinds))
        })
        .collect()
}

fn table(screen: Screen, suggestions: &[Suggestion], now_ms: i64) -> String {
    render(screen, &COLUMNS, suggestions.iter().map(|of| row(of, now_ms)).collect())
}

fn row(of: &Suggestion, now_ms: i64) -> Vec<Cell> {
    let prediction = &of.prediction;
    let interval = match range(prediction.low, prediction.high, &prediction.unit) {
        _ if prediction.low >= prediction.high => String::new(),
        range => format!(" ({range})"),
    };
    let by_hand = if of.by_hand { " (by hand)" } else { "" };
    vec![
        plain(&of.id),
        status(&of.status),
        plain(units::age(now_ms, Some(of.created_at_ms))),
        plain(of.place()),
        plain(format!("{}{by_hand}", of.change_words())),
        plain(format!("{}{interval}", promise(prediction))),
        risk(&of.risk.level),
    ]
}

/// What became of a suggestion.
pub(super) fn status(status: &str) -> Cell {
    let tone = match status {
        "proposed" => Tone::Warning,
        "confirmed" => Tone::Good,
        _ => Tone::Plain,
    };
    toned(status, tone)
}

/// How bad it would be.
pub(super) fn risk(level: &str) -> Cell {
    let tone = match level {
        "low" => Tone::Good,
        "medium" => Tone::Warning,
        _ => Tone::Bad,
    };
    toned(level, tone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot;

    const PIPE: Screen = Screen { terminal: false, color: false };

    #[test]
    fn what_a_look_found_and_why_not_more() {
        let body = include_str!("../../answers/optimize.json");
        let answer: OptimizeAnswer = serde_json::from_str(body).unwrap();
        let now_ms = answer.suggestions[0].created_at_ms + 1_000;
        snapshot::check("optimize", &found(PIPE, &answer, now_ms));
    }

    #[test]
    fn each_suggestion_is_a_row() {
        let body = include_str!("../../answers/suggestions.json");
        let answer: SuggestionsAnswer = serde_json::from_str(body).unwrap();
        let now_ms = answer.suggestions[0].created_at_ms + 3_700_000;
        snapshot::check("suggestions", &table(PIPE, &answer.suggestions, now_ms));
    }

    #[test]
    fn a_group_is_a_row_that_tells_how_many_nodes() {
        let of: Suggestion =
            serde_json::from_str(include_str!("../../answers/suggestion-group.json")).unwrap();
        let now_ms = of.created_at_ms + 60_000;
        snapshot::check("suggestions-group", &table(PIPE, &[of], now_ms));
    }
}
