//! `flyball show`: all about one suggestion or rollout.

use std::fmt::Write as _;

use comfy_table::Cell;

use super::suggestions::{risk, status};
use super::{Context, cache, group, print, rollout, watch};
use crate::api::segment;
use crate::api::steering::{Evidence, Suggestion, TrackRecord};
use crate::args::ShowArgs;
use crate::config::Output;
use crate::error::Error;
use crate::text::curve::{Mark, picture};
use crate::text::table::{Column, Screen, plain, render};
use crate::text::values::{human, metric, promise, range};
use crate::text::{clean, units};

/// Prints it.
///
/// # Errors
/// When the collector cannot be reached, or knows neither a suggestion nor a rollout of this id.
pub(crate) async fn run(context: &Context, args: &ShowArgs) -> Result<(), Error> {
    let client = &context.client;
    let id = segment(&args.id);
    let paths = [super::suggestions::PATH, rollout::PATH].map(|path| format!("{path}/{id}"));
    let is_rollout = args.id.starts_with("r-");
    let order = if is_rollout { [1, 0] } else { [0, 1] };
    for (turn, kind) in order.into_iter().enumerate() {
        let body = match client.get(&paths[kind], &[]).await {
            Ok(body) => body,
            Err(Error::Api(problem)) if problem.status == 404 && turn == 0 => continue,
            Err(Error::Api(problem)) if problem.status == 404 => break,
            Err(error) => return Err(error),
        };
        if kind == 1 && args.watch {
            return watch::follow(context, client.parse(&body)?, watch::Wish::Stays).await;
        }
        if args.watch {
            let id = client.parse::<Suggestion>(&body)?.rollout_id;
            let id = id.ok_or_else(|| {
                Error::Usage(format!(
                    "{} has no rollout to watch: nobody has confirmed it",
                    args.id
                ))
            })?;
            let body = client.get(&format!("{}/{}", rollout::PATH, segment(&id)), &[]).await?;
            return watch::follow(context, client.parse(&body)?, watch::Wish::Stays).await;
        }
        if context.output == Output::Json {
            return print(&body);
        }
        let now_ms = units::now_ms();
        return print(&match kind {
            0 => suggestion(context.screen, &client.parse(&body)?, now_ms),
            _ => rollout::detail(context.screen, &client.parse(&body)?, now_ms),
        });
    }
    Err(unknown(&args.id))
}

/// Nothing has this id.
fn unknown(id: &str) -> Error {
    let hint = if id.contains(':') {
        format!("`flyball caches {id}` shows a cache")
    } else {
        "`flyball suggestions` and `flyball rollouts` list all".to_owned()
    };
    Error::NotFound(format!("no suggestion or rollout is {}; {hint}", clean(id)))
}

/// A suggestion as text.
pub(super) fn suggestion(screen: Screen, of: &Suggestion, now_ms: i64) -> String {
    let mut text = format!("{}\n\n", clean(&of.title));
    text.push_str(&render(screen, &[], facts(of, now_ms)));
    text.push_str(&group::members(screen, &of.members));
    text.push('\n');
    text.push_str(&render(screen, &EVIDENCE, of.evidence.iter().map(evidence).collect()));
    if let Some(curve) = of.curve() {
        let size = of.change.iter().find(|change| change.parameter == "maxmemory");
        let number = |text: &str| text.parse::<f64>().ok();
        let marks: Vec<Mark> = size
            .into_iter()
            .flat_map(|change| [(number(&change.from), "now"), (number(&change.to), "then")])
            .filter_map(|(bytes, name)| Some(Mark { bytes: bytes?, name }))
            .collect();
        if let Some(picture) = picture(&curve, &marks, screen.width()) {
            let now = marks.first().map(|mark| mark.bytes);
            let words = cache::words(Some(&curve), now, now_ms);
            let _ = write!(text, "\nhit ratio by memory limit\n{picture}{words}\n");
        }
    }
    let id = clean(&of.id);
    if of.status == "proposed" && !of.by_hand {
        let _ =
            write!(text, "\nflyball confirm {id} --watch   or   flyball reject {id} --note WHY\n");
    } else if of.status == "proposed" {
        let _ =
            write!(text, "\nno agent can do this: do it, then flyball reject {id} --note 'done'\n");
    } else if let Some(rollout) = &of.rollout_id {
        let _ = write!(text, "\nflyball show {}\n", clean(rollout));
    }
    text
}

const EVIDENCE: [Column<'_>; 4] = [
    Column::Text("EVIDENCE"),
    Column::Number("VALUE"),
    Column::Number("OVER"),
    Column::Text("HOW TO REPEAT IT"),
];

fn evidence(of: &Evidence) -> Vec<Cell> {
    let over = if of.window_ms > 0 {
        units::duration(std::time::Duration::from_millis(of.window_ms.unsigned_abs()))
    } else {
        "a reading".to_owned()
    };
    vec![plain(metric(&of.name)), plain(human(of.value, &of.unit)), plain(over), plain(&of.query)]
}

fn facts(of: &Suggestion, now_ms: i64) -> Vec<Vec<Cell>> {
    let row = |name: &str, value: String| vec![plain(name), plain(value)];
    let prediction = &of.prediction;
    let sure = (prediction.confidence * 100.0).round();
    let interval = match range(prediction.low, prediction.high, &prediction.unit) {
        _ if prediction.low >= prediction.high => String::new(),
        range => format!("; {range} in {sure} % of cases"),
    };
    let mut rows = vec![
        row("suggestion", format!("{} ({})", of.id, of.kind)),
        vec![plain("status"), status(&of.status)],
    ];
    if !of.proposed_by.is_empty() {
        rows.push(row("proposed", said(&of.proposed_by, of.why())));
    }
    if of.status == "proposed" {
        let left = of.expires_at_ms.saturating_sub(now_ms).max(0).unsigned_abs();
        let left = units::duration(std::time::Duration::from_millis(left));
        rows.push(row("expires", format!("in {left} if nobody decides")));
    }
    if let Some(decided) = &of.decided {
        let from = match decided.address.as_str() {
            "" => String::new(),
            address => format!(" from {address}"),
        };
        let age = units::age(now_ms, Some(decided.at_ms));
        let who = format!("{}{from}, {age} ago", decided.by);
        rows.push(row("decided", said(&who, &decided.note)));
    }
    rows.extend([
        row("target", format!("{} ({})", of.place(), of.target.id)),
        row("change", of.change_words()),
        row("promise", format!("{} {}{interval}", metric(&prediction.metric), promise(prediction))),
        row("record", record(&of.track_record, &prediction.unit)),
        vec![plain("risk"), risk(&of.risk.level)],
    ]);
    rows.extend(of.risk.reasons.iter().map(|reason| row("", reason.clone())));
    rows.push(row("undo", of.undo.clone()));
    rows
}

/// Who, and what they said.
fn said(who: &str, note: &str) -> String {
    if note.is_empty() { format!("by {who}") } else { format!("by {who}: {note}") }
}

/// How well such predictions came true: here, and everywhere.
fn record(of: &TrackRecord, unit: &str) -> String {
    let times = |n: u64| if n == 1 { "once".to_owned() } else { format!("{n} times") };
    let mut text = match of.tried {
        0 => "never tried here before".to_owned(),
        tried => format!("tried {} here, promoted {}", times(tried), of.promoted),
    };
    if let Some(error) = of.mean_abs_error {
        let error = match unit {
            "ratio" => format!("{:.1} points", error * 100.0),
            _ => human(error, unit),
        };
        let _ = write!(text, ", on average {error} off");
    }
    if let Some(coverage) = of.coverage.filter(|_| of.judged > 0) {
        let held = (coverage * of.judged as f64).round();
        let _ = write!(text, "; everywhere {held} of {} came out as predicted", of.judged);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot;

    const PIPE: Screen = Screen { terminal: false, color: false };

    #[test]
    fn a_suggestion_with_all_that_it_rests_on() {
        let body = include_str!("../../answers/suggestion.json");
        let of: Suggestion = serde_json::from_str(body).unwrap();
        snapshot::check("show-suggestion", &suggestion(PIPE, &of, of.created_at_ms + 65_000));
    }

    #[test]
    fn a_suggestion_for_several_lists_each_with_its_values() {
        let body = include_str!("../../answers/suggestion-group.json");
        let of: Suggestion = serde_json::from_str(body).unwrap();
        snapshot::check("show-suggestion-group", &suggestion(PIPE, &of, of.created_at_ms + 65_000));
    }

    #[test]
    fn a_suggestion_that_only_people_can_carry_out() {
        let body = include_str!("../../answers/suggestion.json");
        let mut of: Suggestion = serde_json::from_str(body).unwrap();
        of.by_hand = true;
        let text = suggestion(PIPE, &of, of.created_at_ms);
        assert!(
            text.contains("no agent can do this") && !text.contains("flyball confirm"),
            "{text}"
        );
    }

    #[test]
    fn a_suggestion_of_a_person_names_them_and_promises_no_gain() {
        let body = include_str!("../../answers/suggestion-by-hand.json");
        let of: Suggestion = serde_json::from_str(body).unwrap();
        let text = suggestion(PIPE, &of, of.created_at_ms + 65_000);
        snapshot::check("show-suggestion-by-hand", &text);
    }

    #[test]
    fn a_record_is_told_of_here_and_everywhere() {
        let mut of = TrackRecord::default();
        assert_eq!(record(&of, "ratio"), "never tried here before");
        of.tried = 2;
        of.promoted = 1;
        of.mean_abs_error = Some(0.012);
        of.coverage = Some(0.75);
        of.judged = 4;
        assert_eq!(
            record(&of, "ratio"),
            "tried 2 times here, promoted 1, on average 1.2 points off; everywhere 3 of 4 came out as predicted"
        );
    }
}
