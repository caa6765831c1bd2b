//! More than can be served: a thousand clients with one question, and ten times the capacity.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::client::{Ask, Client};
use super::offer::{Asks, Report, Schedule, closed_loop, open_loop, percentile_of};
use super::say;
use super::status::mix;
use super::subject::{Subject, gauges};
use crate::bench::table::{Bar, Table};
use crate::load::{node_name, now_ms};

/// Counts the queries that reached the store.
const STORE_QUERIES: &str = "flyball_query_store_queries_total";
/// Connections of the closed loop that finds the capacity. Two parts of a question run at once, and four queries.
const CONNECTIONS: usize = 2;
/// Connections that offer ten times as much.
const MANY: usize = 1_000;
/// What somebody asks beside it, each second.
const USUAL: f64 = 100.0;
const METRICS: &str = "/api/performance/metrics?";
/// Memory that overload may add, with room for a thousand connections.
const GROWN: f64 = 1.25;
const DAY: Duration = Duration::from_hours(24);

/// All clients ask the same at once, which nobody has asked before.
pub(super) async fn herd(subject: &Subject, table: &mut Table, round: usize) -> Result<()> {
    let clients = subject.size.clients;
    let what = format!("{clients} clients with one new question");
    say(&what);
    let (to, used) = (now_ms() / 60_000 * 60_000 - 600_000, subject.used()?);
    let (from, gauges) = (subject.before(to, DAY / 4), gauges());
    let gauge = &gauges[gauges.len() - 1 - round];
    let ask = Ask::of(format!(
        "/api/performance/metrics?{gauge}&by=node&agg=max&step=60s&from={from}&to={to}"
    ));
    let before = subject.metric(STORE_QUERIES).await?;
    let barrier = Arc::new(Barrier::new(clients));
    let mut waiting = JoinSet::new();
    for _ in 0..clients {
        let (client, ask) = (Client::new(subject.base()), ask.clone());
        let barrier = Arc::clone(&barrier);
        waiting.spawn(async move {
            // Connected before all start.
            let connected = client.get(&Ask::of("/healthz")).await;
            barrier.wait().await;
            connected?;
            client.get(&ask).await
        });
    }
    let mut answers = Vec::new();
    while let Some(answer) = waiting.join_next().await {
        answers.push(answer?.ok());
    }
    let after = subject.metric(STORE_QUERIES).await?;
    let is_served = |answer: &&Option<_>| {
        answer.is_some_and(|answer: super::client::Answer| answer.status == 200)
    };
    let others = clients - answers.iter().filter(is_served).count();
    let one = Some(Bar::AtMost(1.0));
    match before.zip(after) {
        Some((before, after)) => {
            table.add(&format!("{what}: queries of the store"), after - before, one);
        }
        None => table.missing(&format!("{what}: queries of the store"), one),
    }
    let mut add = |name: &str, value, bar| table.add(&format!("{what}: {name}"), value, bar);
    add("not answered with 200", others as f64, Some(Bar::AtMost(0.0)));
    let ms = answers.iter().flatten().map(|answer| answer.took.as_secs_f64() * 1e3);
    add("p99 ms", percentile_of(ms, 0.99), None);
    subject.push_used(table, &what, &used)
}

/// Finds the capacity for questions that only the store can answer and offers ten times as many, while somebody looks at the fleet as usual.
pub(super) async fn overload(subject: &Subject, table: &mut Table, round: usize) -> Result<()> {
    let base = subject.base();
    let asks = uncached(subject, round as u64 * 2);
    let what = "new questions at capacity";
    say(what);
    let used = subject.used()?;
    let calm = closed_loop(base, subject.size.open_loop, CONNECTIONS, asks).await?;
    let capacity = calm.answers(&[200]).count() as f64 / calm.took.as_secs_f64();
    let p99_ms = sent_percentile(&calm, &[200], 0.99);
    let mut add = |name: &str, value, bar| table.add(&format!("{what}: {name}"), value, bar);
    add("answers/s", capacity, None);
    add("p50 ms", sent_percentile(&calm, &[200], 0.5), None);
    add("p99 ms", p99_ms, None);
    add("not answered with 200", calm.other_than(200) as f64, Some(Bar::AtMost(0.0)));
    subject.push_used(table, what, &used)?;

    let schedule = Schedule { rate: capacity * 10.0, time: subject.size.overload };
    say(&format!("ten times {capacity:.0} questions/s"));
    let (used, before) = (subject.used()?, subject.rss_mib()?);
    let asks = uncached(subject, round as u64 * 2 + 1);
    let usual = Schedule { rate: USUAL, time: subject.size.overload };
    let (storm, beside) = tokio::try_join!(
        open_loop(base, schedule, MANY, asks),
        open_loop(base, usual, CONNECTIONS, statuses(subject)),
    )?;
    report(table, &storm, schedule, p99_ms);
    let what = "status of one node beside it";
    table.add(&format!("{what}: p99 ms"), beside.latency(0.99), None);
    let other = Some(Bar::AtMost(0.0));
    table.add(&format!("{what}: not answered with 200"), beside.other_than(200) as f64, other);
    let grown = subject.rss_mib()? / before;
    table.add("ten times as much: RSS after / before", grown, Some(Bar::AtMost(GROWN)));
    subject.push_used(table, "ten times as much", &used)
}

fn report(table: &mut Table, storm: &Report, schedule: Schedule, calm_p99_ms: f64) {
    let what = "ten times as much";
    let mut add = |name: &str, value, bar| table.add(&format!("{what}: {name}"), value, bar);
    let refusals = || storm.answers(&[429, 503]);
    let (served, refused) = (storm.answers(&[200]).count(), refusals().count());
    let answered = storm.served.iter().filter(|served| served.answer.is_some()).count();
    let unsent = storm.served.iter().filter(|served| !served.was_sent).count();
    let seconds = storm.took.as_secs_f64();
    add("due/s", schedule.rate, None);
    add("sent / due", 1.0 - unsent as f64 / storm.served.len() as f64, None);
    add("served/s", served as f64 / seconds, None);
    add("refused/s", refused as f64 / seconds, None);
    let p99_ms = sent_percentile(storm, &[200], 0.99);
    add("p50 ms of what is served", sent_percentile(storm, &[200], 0.5), None);
    add("p99 ms of what is served", p99_ms, None);
    add("the same / without overload", p99_ms / calm_p99_ms, Some(Bar::AtMost(2.0)));
    let server = refusals().filter_map(|answer| answer.server_ms);
    add("refusals, server p99 ms", percentile_of(server, 0.99), Some(Bar::AtMost(5.0)));
    add("refusals, p99 ms", sent_percentile(storm, &[429, 503], 0.99), None);
    let silent = refusals().filter(|answer| !answer.has_retry_after).count();
    add("refusals without Retry-After", silent as f64, Some(Bar::AtMost(0.0)));
    let lost = storm.served.len() - answered - unsent;
    let other = answered - served - refused + lost;
    add("answered otherwise or not at all", other as f64, Some(Bar::AtMost(0.0)));
}

/// Percentile from sending to the last byte. A closed loop has no other time, and ten times the
/// capacity waits for connections, which is not the server's doing.
fn sent_percentile(report: &Report, statuses: &[u16], share: f64) -> f64 {
    let ms = report.answers(statuses).map(|answer| answer.took.as_secs_f64() * 1e3);
    percentile_of(ms, share)
}

/// The day of one gauge of one node, each asked for the first time. With another `salt` others are asked for.
fn uncached(subject: &Subject, salt: u64) -> Asks {
    let (agents, gauges) = (subject.loaded.agents, gauges());
    let to = now_ms() / 60_000 * 60_000 - 600_000;
    let (day, hour) = (subject.before(to, DAY), subject.before(to, DAY / 24));
    Arc::new(move |n| {
        let random = mix(n ^ (salt << 40));
        let gauge = &gauges[(random >> 32) as usize % gauges.len()];
        let from = (day + (random >> 20) as i64 % 1_000 * 1_000).min(hour);
        Ask::of(format!("{METRICS}{gauge}&node={}&from={from}&to={to}", node_name(random % agents)))
    })
}

fn statuses(subject: &Subject) -> Asks {
    let agents = subject.loaded.agents;
    Arc::new(move |n| {
        Ask::of(format!("/api/performance/status?node={}", node_name(mix(n) % agents)))
    })
}
