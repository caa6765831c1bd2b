//! Rollouts as a list and as a timeline, and a person's word on them: `rollouts`, `rollback`, `pause`, `resume`.

use std::fmt::Write as _;

use comfy_table::Cell;
use serde_json::json;

use super::{Context, caches, group, hint, print, watch};
use crate::api::segment;
use crate::api::steering::{Prediction, Rollout, RolloutsAnswer, Step, Verdict};
use crate::args::{DecideArgs, RolloutsArgs, WatchedArgs};
use crate::config::Output;
use crate::error::Error;
use crate::text::table::{Column, Screen, Tone, plain, render, toned};
use crate::text::values::{difference, interval, metric, promise, range, unit_of};
use crate::text::{UNKNOWN, clean, units};

const COLUMNS: [Column<'_>; 7] = [
    Column::Text("ID"),
    Column::Text("STATE"),
    Column::Number("BEGAN"),
    Column::Text("TARGET"),
    Column::Text("CHANGE"),
    Column::Text("SEEN"),
    Column::Text("WHAT"),
];

/// Where rollouts are.
pub(super) const PATH: &str = "/api/performance/rollouts";

/// Prints the rollouts that match.
///
/// # Errors
/// When the collector cannot be reached or refuses the filter.
pub(crate) async fn list(context: &Context, args: &RolloutsArgs) -> Result<(), Error> {
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
    let RolloutsAnswer { rollouts, next_cursor } = client.parse(&body)?;
    if rollouts.is_empty() {
        hint("no rollout is like that; one begins with `flyball confirm ID` of a suggestion");
        return Ok(());
    }
    print(&table(context.screen, &rollouts, units::now_ms()))?;
    if next_cursor.is_some() {
        hint(&format!("these are the newest {}; older ones with --limit", rollouts.len()));
    }
    Ok(())
}

/// Has the old values put back, and follows that if it is wanted.
///
/// # Errors
/// When the collector cannot be reached or refuses.
pub(crate) async fn rollback(context: &Context, args: &WatchedArgs) -> Result<(), Error> {
    let body = order(context, &args.id, "rollback", &args.note).await?;
    if args.watch {
        return watch::follow(context, context.client.parse(&body)?, watch::Wish::Returns).await;
    }
    told(
        context,
        &body,
        "is going back to the old values; `flyball show ID` tells when they are in force",
    )
}

/// Has a rollout go no further.
///
/// # Errors
/// When the collector cannot be reached or refuses.
pub(crate) async fn pause(context: &Context, args: &DecideArgs) -> Result<(), Error> {
    let body = order(context, &args.id, "pause", &args.note).await?;
    told(
        context,
        &body,
        "is paused; `flyball resume ID` has it go on, `flyball rollback ID` takes it back",
    )
}

/// Has a paused rollout go on.
///
/// # Errors
/// When the collector cannot be reached or refuses.
pub(crate) async fn resume(context: &Context, args: &DecideArgs) -> Result<(), Error> {
    let body = order(context, &args.id, "resume", &args.note).await?;
    told(context, &body, "goes on; `flyball show ID --watch` follows it")
}

async fn order(context: &Context, id: &str, order: &str, note: &str) -> Result<String, Error> {
    let path = format!("{PATH}/{}/{order}", segment(id));
    context.client.post(&path, &json!({ "note": note })).await.map_err(|error| match error {
        Error::Api(problem) if problem.status == 404 => {
            Error::NotFound(format!("no rollout is {}; `flyball rollouts` lists all", clean(id)))
        }
        other => other,
    })
}

fn told(context: &Context, body: &str, what: &str) -> Result<(), Error> {
    if context.output == Output::Json {
        return print(body);
    }
    let rollout: Rollout = context.client.parse(body)?;
    let id = clean(&rollout.id);
    print(&format!("rollout {id} {}", what.replace("ID", &id)))
}

fn table(screen: Screen, rollouts: &[Rollout], now_ms: i64) -> String {
    render(screen, &COLUMNS, rollouts.iter().map(|of| row(of, now_ms)).collect())
}

fn row(of: &Rollout, now_ms: i64) -> Vec<Cell> {
    let seen = of.verdict().and_then(|verdict| {
        let observed = verdict.observed.as_ref()?;
        Some(format!("{} {}", verdict.result, interval(observed, unit_of(&verdict.metric))))
    });
    let what = if of.reason.is_empty() { stage_words(of) } else { of.reason.clone() };
    vec![
        plain(&of.id),
        state(of),
        plain(format!("{} ago", units::age(now_ms, Some(of.started_at_ms)))),
        plain(of.place().unwrap_or_else(|| UNKNOWN.to_owned())),
        plain(of.change_words()),
        plain(seen.unwrap_or_else(|| UNKNOWN.to_owned())),
        plain(what),
    ]
}

/// Its state, with whether it is paused.
fn state(of: &Rollout) -> Cell {
    let paused = if of.paused && !of.is_over() { ", paused" } else { "" };
    toned(&format!("{}{paused}", of.state), state_tone(of))
}

/// How its state stands out.
pub(super) fn state_tone(of: &Rollout) -> Tone {
    match of.state.as_str() {
        "promoted" => Tone::Good,
        "failed" => Tone::Bad,
        "rolled_back" => Tone::Warning,
        _ => Tone::Plain,
    }
}

/// How the judge's word stands out.
pub(super) fn verdict_tone(of: &Verdict) -> Tone {
    match of.result.as_str() {
        "pass" => Tone::Good,
        "harm" => Tone::Bad,
        _ => Tone::Warning,
    }
}

/// Where it is within its state, in words.
pub(super) fn stage_words(of: &Rollout) -> String {
    match of.stage.as_str() {
        "applying" => "waiting for agents to put it into force".to_owned(),
        "holding" => "in force, held under hard stops".to_owned(),
        "judging" => "in force, the judge is looking".to_owned(),
        "sealing" => "passed; agents take the values for good".to_owned(),
        "restoring" => "going back to the old values".to_owned(),
        "over" => match of.state.as_str() {
            "promoted" => "it proved right and stays".to_owned(),
            "rolled_back" => "the old values were read back".to_owned(),
            _ => "it is not known which values are in force: look there".to_owned(),
        },
        other => other.to_owned(),
    }
}

/// A rollout as text: what it is, and what happened when.
pub(super) fn detail(screen: Screen, of: &Rollout, now_ms: i64) -> String {
    let mut text = format!("{}\n\n", clean(of.name()));
    text.push_str(&render(screen, &[], facts(of, now_ms)));
    text.push_str(&group::course(screen, of));
    text.push('\n');
    text.push_str(&render(screen, &[], timeline(of, now_ms)));
    let id = clean(&of.id);
    let next = match (of.is_over(), of.stage.as_str(), of.paused) {
        (true, ..) if of.state == "failed" => {
            format!("look which values are in force, then {}", of.unlocking())
        }
        (true, ..) => format!("flyball audit --subject {id} tells who decided what"),
        (_, "restoring", _) => format!("flyball show {id} --watch"),
        (_, _, true) => format!("flyball resume {id}   or   flyball rollback {id}"),
        _ => format!("flyball show {id} --watch   flyball pause {id}   flyball rollback {id}"),
    };
    let _ = write!(text, "\n{next}\n");
    text
}

fn facts(of: &Rollout, now_ms: i64) -> Vec<Vec<Cell>> {
    let row = |name: &str, value: String| vec![plain(name), plain(value)];
    let mut rows = vec![
        row("rollout", format!("{} of {}", of.id, of.suggestion_id)),
        vec![plain("state"), state(of)],
    ];
    if !of.is_over() {
        rows.push(row("now", present(of, now_ms)));
    }
    if let Some((target, place)) = of.target.as_ref().zip(of.place()) {
        rows.push(row("target", format!("{place} ({})", target.id)));
    }
    rows.push(row("change", of.change_words()));
    if let Some(promised) = &of.prediction {
        rows.push(row("promise", promise_words(promised)));
    }
    if let Some((verdict, observed)) = of.verdict().and_then(|v| Some((v, v.observed?))) {
        let unit = unit_of(&verdict.metric);
        let fits = of.prediction.as_ref().map_or("", |promised| agreement(promised, verdict));
        rows.push(row("seen", format!("{}{fits}", interval(&observed, unit))));
        let without = verdict.expected.as_ref().map(|expected| interval(expected, unit));
        rows.extend(without.map(|without| row("without it", without)));
    }
    rows.push(row("attempt", of.attempt.to_string()));
    rows
}

fn promise_words(of: &Prediction) -> String {
    format!("{} {}; {}", metric(&of.metric), promise(of), range(of.low, of.high, &of.unit))
}

/// Where what was seen lies against what was promised.
fn agreement(promised: &Prediction, verdict: &Verdict) -> &'static str {
    let Some(seen) = verdict.observed.filter(|_| verdict.metric == promised.metric) else {
        return "";
    };
    if seen.value < promised.low {
        ", less than promised"
    } else if seen.value > promised.high {
        ", more than promised"
    } else {
        ", as promised"
    }
}

/// Where it is, and until when at most.
pub(super) fn present(of: &Rollout, now_ms: i64) -> String {
    if of.paused {
        return format!("paused while {}", stage_words(of));
    }
    let words = stage_words(of);
    match of.stage_until_ms {
        Some(until) if until > now_ms => {
            let left = std::time::Duration::from_millis((until - now_ms).unsigned_abs());
            format!("{words}, {} left at most", units::duration(left))
        }
        _ => words,
    }
}

/// What happened when, oldest first; the present last.
fn timeline(of: &Rollout, now_ms: i64) -> Vec<Vec<Cell>> {
    let mut rows = vec![moment(of.started_at_ms, "confirmed", Tone::Plain, String::new())];
    for step in &of.steps {
        rows.push(moment(step.started_at_ms, "step", Tone::Plain, step_words(of, step)));
        rows.extend(step.verdicts.iter().map(verdict_row));
    }
    let words = |stage: String| {
        if of.reason.is_empty() { stage } else { format!("{stage}: {}", of.reason) }
    };
    rows.push(if let Some(at_ms) = of.ended_at_ms {
        moment(at_ms, &of.state, state_tone(of), words(stage_words(of)))
    } else {
        vec![plain("now"), plain(&of.state), plain(words(present(of, now_ms)))]
    });
    rows
}

fn moment(at_ms: i64, what: &str, tone: Tone, words: String) -> Vec<Cell> {
    vec![plain(units::utc(at_ms)), toned(what, tone), plain(words)]
}

/// `1 of wave 1, offered to web-1 as revision 3`
pub(super) fn step_words(of: &Rollout, step: &Step) -> String {
    let wave = if of.wave_count() > 1 { format!(" of wave {}", step.wave) } else { String::new() };
    let (nodes, revision) = (step.nodes.join(", "), step.revision);
    format!("{}{wave}: offered to {nodes} as revision {revision}", step.place)
}

fn verdict_row(of: &Verdict) -> Vec<Cell> {
    moment(of.at_ms, &of.result, verdict_tone(of), verdict_words(of))
}

/// What was seen against what would have been, or else the judge's reason.
pub(super) fn verdict_words(of: &Verdict) -> String {
    let unit = unit_of(&of.metric);
    let (Some(observed), Some(expected)) = (&of.observed, &of.expected) else {
        return of.reason.clone();
    };
    format!(
        "{} {}, without the change {}: {}, of {} requests",
        metric(&of.metric),
        interval(observed, unit),
        interval(expected, unit),
        difference(expected.value, observed.value, unit),
        units::number(of.samples as f64)
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::snapshot;

    const PIPE: Screen = Screen { terminal: false, color: false };

    /// A rollout in an answer that a real collector gave.
    pub(in crate::commands) fn recorded(name: &str) -> Rollout {
        let body = match name {
            "promoted" => include_str!("../../answers/rollout-promoted.json"),
            "rolled_back" => include_str!("../../answers/rollout-rolled-back.json"),
            "group" => include_str!("../../answers/rollout-group.json"),
            _ => include_str!("../../answers/rollout-going.json"),
        };
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn the_life_of_a_rollout() {
        for name in ["promoted", "rolled_back", "going", "group"] {
            let of = recorded(name);
            let now_ms = of.ended_at_ms.unwrap_or(of.started_at_ms) + 1_000;
            snapshot::check(&format!("show-rollout-{name}"), &detail(PIPE, &of, now_ms));
        }
    }

    #[test]
    fn each_rollout_is_a_row() {
        let all = ["promoted", "rolled_back", "going", "group"].map(recorded);
        let now_ms = all.iter().map(|of| of.started_at_ms).max().unwrap() + 60_000;
        snapshot::check("rollouts", &table(PIPE, &all, now_ms));
    }

    #[test]
    fn what_was_seen_is_held_against_what_was_promised() {
        let of = recorded("promoted");
        let promised = of.prediction.clone().unwrap();
        let mut verdict = of.verdict().unwrap().clone();
        assert_eq!(agreement(&promised, &verdict), ", as promised");
        let mut seen = verdict.observed.unwrap();
        seen.value = promised.low - 0.01;
        verdict.observed = Some(seen);
        assert_eq!(agreement(&promised, &verdict), ", less than promised");
        verdict.metric = "other".into();
        assert_eq!(agreement(&promised, &verdict), "");
    }
}
