//! Follows a rollout by events until it has ended.
//!
//! Every connection begins with a question for the rollout as it is, so that nothing that happened in between is missed. In
//! a terminal the last line is the present, drawn anew each second; what has happened stands above it. Elsewhere there is
//! a line for each thing that happened, and with `--output json` the rollout itself after each change.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use flyball_model::backoff::Backoff;
use flyball_service::shutdown;
use serde::Deserialize as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::rollout::{self, PATH, present, stage_words, step_words, verdict_words};
use super::{Context, hint, print};
use crate::api::steering::Rollout;
use crate::api::{root_cause, segment};
use crate::config::Output;
use crate::error::Error;
use crate::sse::Parser;
use crate::text::chart::bar;
use crate::text::table::{Tone, plain, render, toned};
use crate::text::{clean, units};

const BACKOFF_FLOOR: Duration = Duration::from_millis(250);
const BACKOFF_CAP: Duration = Duration::from_secs(10);
/// The collector sends a comment at least every 15 s; three missing ones mean that the connection is dead.
const SILENCE: Duration = Duration::from_secs(45);
/// The last line grows older when nothing arrives.
const REDRAW: Duration = Duration::from_secs(1);
/// Width of the bar of the present stage.
const BAR_CELLS: usize = 16;
/// Stages of a change for which all goes well, in their order.
const STAGES: [&str; 4] = ["applying", "holding", "judging", "sealing"];

/// What the caller hopes for; anything else is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// That the change stays.
    Stays,
    /// That the old values are in force again.
    Returns,
}

/// Tells of the rollout until it has ended.
///
/// # Errors
/// When it ends otherwise than wished, or the watching is interrupted.
pub(super) async fn follow(context: &Context, first: Value, wish: Wish) -> Result<(), Error> {
    let stop = shutdown::on_signal()?;
    let mut teller = Teller::new(context);
    teller.take(first)?;
    let mut backoff = Backoff::new(BACKOFF_FLOOR, BACKOFF_CAP).expect("0 < floor <= cap");
    while !teller.rollout.is_over() {
        let lost = tokio::select! {
            ended = connection(context, &mut teller, &mut backoff) => ended?,
            () = stop.cancelled() => return Err(teller.interrupted()),
        };
        if let Some(reason) = lost {
            let wait = backoff.next_delay(rand::random());
            teller.lost(&reason);
            wait_for(wait, &stop).await.map_err(|()| teller.interrupted())?;
        }
    }
    teller.ended(wish)
}

async fn wait_for(time: Duration, stop: &CancellationToken) -> Result<(), ()> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        () = stop.cancelled() => Err(()),
    }
}

/// One connection: `None` when the rollout has ended, else why the connection has.
async fn connection(
    context: &Context,
    teller: &mut Teller<'_>,
    backoff: &mut Backoff,
) -> Result<Option<String>, Error> {
    let opened = context.client.open("/api/performance/events", &[]).await;
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(error) => return Ok(Some(error.brief())),
    };
    if let Err(error) = ask(context, teller).await {
        return again(error);
    }
    let mut parser = Parser::default();
    let mut redraw = tokio::time::interval(REDRAW);
    let mut heard = tokio::time::Instant::now();
    while !teller.rollout.is_over() {
        let chunk = tokio::select! {
            chunk = stream.chunk() => chunk,
            _ = redraw.tick() => {
                if heard.elapsed() > SILENCE {
                    return Ok(Some(format!("silent for {} s", SILENCE.as_secs())));
                }
                teller.draw()?;
                continue;
            }
        };
        heard = tokio::time::Instant::now();
        let events = match chunk {
            Ok(Some(chunk)) => parser.push(&chunk),
            Ok(None) => return Ok(Some("the collector ended the stream".to_owned())),
            Err(error) => return Ok(Some(root_cause(&error))),
        };
        let Ok(events) = events else { return Ok(Some("events that cannot be read".to_owned())) };
        backoff.reset();
        for event in events {
            let Ok(event) = serde_json::from_str::<Value>(&event) else { continue };
            if event["type"] == "rollout" && event["id"] == teller.rollout.id.as_str() {
                teller.take(without_type(event))?;
            } else if event["type"] == "resync"
                && let Err(error) = ask(context, teller).await
            {
                return again(error);
            }
        }
    }
    Ok(None)
}

/// Only a collector that cannot be reached now is asked again.
fn again(error: Error) -> Result<Option<String>, Error> {
    match error {
        Error::Unreachable { reason, .. } => Ok(Some(reason)),
        Error::Api(problem) if matches!(problem.status, 429 | 500..) => {
            Ok(Some(problem.to_string()))
        }
        error => Err(error),
    }
}

async fn ask(context: &Context, teller: &mut Teller<'_>) -> Result<(), Error> {
    let path = format!("{PATH}/{}", segment(&teller.rollout.id));
    let body = context.client.get(&path, &[]).await?;
    teller.take(context.client.parse(&body)?)
}

/// An event is the rollout with its kind of event.
fn without_type(mut event: Value) -> Value {
    if let Value::Object(fields) = &mut event {
        fields.remove("type");
    }
    event
}

/// What was told so far.
struct Teller<'a> {
    context: &'a Context,
    rollout: Rollout,
    json: Value,
    /// What stands already.
    told: BTreeSet<(i64, String)>,
    /// The present stage, and since when it is known.
    stage: (String, i64),
    /// The last line is the present and is to be drawn over.
    is_drawn: bool,
    is_lost: bool,
}

impl<'a> Teller<'a> {
    fn new(context: &'a Context) -> Self {
        Self {
            context,
            rollout: Rollout::default(),
            json: Value::Null,
            told: BTreeSet::new(),
            stage: (String::new(), 0),
            is_drawn: false,
            is_lost: false,
        }
    }

    /// Takes it as it is now, and tells what is new.
    fn take(&mut self, json: Value) -> Result<(), Error> {
        let rollout = Rollout::deserialize(&json).map_err(|e| Error::Foreign {
            server: self.context.client.server().to_owned(),
            reason: e.to_string(),
        })?;
        self.is_lost = false;
        if json == self.json {
            return Ok(());
        }
        (self.rollout, self.json) = (rollout, json);
        if self.context.output == Output::Json {
            return print(&self.json.to_string());
        }
        for (at_ms, what, tone, words) in self.news() {
            self.line(at_ms, &what, tone, &words)?;
        }
        self.draw()
    }

    /// What happened and was not told yet, oldest first.
    fn news(&mut self) -> Vec<(i64, String, Tone, String)> {
        let of = &self.rollout;
        let mut all = Vec::new();
        if self.told.is_empty() {
            all.push((of.started_at_ms, "began".to_owned(), Tone::Plain, of.name().to_owned()));
        }
        for step in &of.steps {
            all.push((step.started_at_ms, "step".to_owned(), Tone::Plain, step_words(of, step)));
            for verdict in &step.verdicts {
                let tone = rollout::verdict_tone(verdict);
                all.push((verdict.at_ms, verdict.result.clone(), tone, verdict_words(verdict)));
            }
        }
        let mut news: Vec<_> = all
            .into_iter()
            .filter(|(at, what, ..)| self.told.insert((*at, what.clone())))
            .collect();
        let stage = if of.paused { "paused".to_owned() } else { of.stage.clone() };
        if stage != self.stage.0 {
            let now_ms = units::now_ms();
            if let Some(ended) = of.ended_at_ms {
                let reason = if of.reason.is_empty() { stage_words(of) } else { of.reason.clone() };
                news.push((ended, of.state.clone(), rollout::state_tone(of), reason));
            } else {
                let reason =
                    if of.reason.is_empty() { String::new() } else { format!(": {}", of.reason) };
                let words = format!("{}{reason}", present(of, now_ms));
                news.push((now_ms, stage.clone(), Tone::Plain, words));
            }
            self.stage = (stage, now_ms);
        }
        news
    }

    /// A line that stays.
    fn line(&mut self, at_ms: i64, what: &str, tone: Tone, words: &str) -> Result<(), Error> {
        self.clear()?;
        let wide = format!("{what:<12}");
        let cells = vec![plain(units::utc(at_ms)), toned(&wide, tone), plain(words)];
        print(&render(self.context.screen, &[], vec![cells]))
    }

    /// The present as the last line, in a terminal.
    fn draw(&mut self) -> Result<(), Error> {
        let screen = self.context.screen;
        let is_wanted = screen.terminal && self.context.output == Output::Table;
        if !is_wanted || self.rollout.is_over() {
            return Ok(());
        }
        self.clear()?;
        let text = self.present(units::now_ms());
        let short: String = text.chars().take(screen.width().saturating_sub(1)).collect();
        let mut out = std::io::stdout().lock();
        write!(out, "{short}")?;
        out.flush()?;
        self.is_drawn = true;
        Ok(())
    }

    /// `applying › holding › [judging] › sealing  ████▌       12m03s left at most`
    fn present(&self, now_ms: i64) -> String {
        let of = &self.rollout;
        let (stage, since_ms) = (&self.stage.0, self.stage.1);
        let way = if STAGES.contains(&stage.as_str()) {
            let name =
                |name: &str| if name == stage { format!("[{name}]") } else { name.to_owned() };
            STAGES.map(name).join(" › ")
        } else {
            format!("[{}]", clean(stage))
        };
        if self.is_lost {
            return format!("{way}  the collector is not heard, trying again");
        }
        let Some(until) = of.stage_until_ms.filter(|until| !of.paused && *until > now_ms) else {
            return format!("{way}  {}", clean(&present(of, now_ms)));
        };
        let whole = (until - since_ms).max(1) as f64;
        let left = Duration::from_millis((until - now_ms).unsigned_abs());
        let share = (now_ms - since_ms) as f64 / whole;
        format!("{way}  {}▏{} left at most", bar(Some(share), BAR_CELLS), units::duration(left))
    }

    fn clear(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.is_drawn) {
            let mut out = std::io::stdout().lock();
            write!(out, "\r\u{1b}[2K")?;
            out.flush()?;
        }
        Ok(())
    }

    fn lost(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.is_lost, true) && !self.context.screen.terminal {
            hint(&format!("the collector is not heard ({reason}); trying again"));
        }
        // A terminal that is gone is found out when the next line is told.
        let _ = self.draw();
    }

    fn interrupted(&mut self) -> Error {
        let _ = self.clear();
        let id = clean(&self.rollout.id);
        Error::Ended(format!(
            "rollout {id} goes on without being watched; `flyball show {id}` tells how it does"
        ))
    }

    fn ended(mut self, wish: Wish) -> Result<(), Error> {
        self.clear()?;
        let of = &self.rollout;
        let is_so = match wish {
            Wish::Stays => of.state == "promoted",
            Wish::Returns => of.state == "rolled_back",
        };
        if is_so {
            return Ok(());
        }
        let (id, state) = (clean(&of.id), clean(&of.state).replace('_', " "));
        let next = match of.state.as_str() {
            "failed" => {
                format!("; look which values are in force, then `{}`", of.unlocking())
            }
            _ => String::new(),
        };
        Err(Error::Ended(format!("rollout {id} has {state}: {}{next}", clean(&stage_words(of)))))
    }
}
