//! Questions asked one after the other on one connection: what the last hour answers from memory,
//! and what nobody has asked before.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::client::{Answer, Ask, Client};
use super::offer::percentile_of;
use super::subject::{METRIC, Subject, gauges};
use super::{Size, say};
use crate::bench::table::{Bar, Table};
use crate::load::now_ms;

const HOUR: Duration = Duration::from_hours(1);
/// Queries of the past end this long ago, beyond what the last minutes may still change.
const SETTLED_MS: i64 = 600_000;
const METRICS: &str = "/api/performance/metrics?";
/// A step between two nodes that meets each of them once, whatever their number below its own.
const STRIDE: u64 = 7_919;

/// The last hour: one series, all last values of a node, the ten highest nodes.
pub(super) async fn recent(subject: &Subject, table: &mut Table) -> Result<()> {
    let node = |n: u64| subject.node(n * STRIDE);
    let from = now_ms() - HOUR.as_millis() as i64;
    let series = |n| Ask::of(format!("{METRICS}metric={METRIC}&node={}&from={from}", node(n)));
    let last = |n| Ask::of(format!("/api/performance/last?node={}", node(n)));
    let gauges = gauges();
    let top = |n: u64| {
        let gauge = &gauges[n as usize % gauges.len()];
        Ask::of(format!("/api/performance/last?{gauge}&by=node&agg=sum&top=10"))
    };
    let times = subject.size.sequential;
    let mut run = Run { subject, table, times };
    run.ask("last hour, one series", Most::Server(0.3), series).await?;
    run.ask("last values of a node", Most::Server(1.0), last).await?;
    run.ask("last values, top 10 nodes", Most::Server(2.0), top).await
}

/// Questions that no cache can answer: each of another node or another gauge, in all rounds.
pub(super) async fn uncached(subject: &Subject, table: &mut Table, round: usize) -> Result<()> {
    let Size { rounds, uncached: times, .. } = subject.size;
    let to = now_ms() / 60_000 * 60_000 - SETTLED_MS;
    let (day, part) = (subject.before(to, HOUR * 24), subject.before(to, HOUR * 6));
    let first = (round * times) as u64;
    let one = |n: u64| {
        let node = subject.node((first + n) * STRIDE);
        Ask::of(format!("{METRICS}metric={METRIC}&node={node}&from={day}&to={to}"))
    };
    // The last ones are the herd's.
    let gauges = gauges();
    let each = ((gauges.len() - rounds) / rounds).min(times);
    let gauge = |n: u64| &gauges[round * each + n as usize];
    let by_node = |n: u64| {
        let gauge = gauge(n);
        Ask::of(format!("{METRICS}{gauge}&by=node&agg=avg&step=60s&from={part}&to={to}"))
    };
    let fleet_p99 = |n: u64| {
        let (gauge, how) = (gauge(n), "agg=p99&within=avg&by=none&step=60s");
        Ask::of(format!("{METRICS}{gauge}&{how}&from={day}&to={to}"))
    };
    let mut run = Run { subject, table, times };
    run.ask("not cached, one node, 24 h", Most::P99(20.0), one).await?;
    run.times = each;
    run.ask("not cached, avg by node, 6 h at 60 s", Most::P99(150.0), by_node).await?;
    run.ask("not cached, p99 of the fleet, 24 h at 60 s", Most::P99(300.0), fleet_p99).await
}

/// What is bounded, in milliseconds.
#[derive(Debug, Clone, Copy)]
enum Most {
    /// The median of the server's own time.
    Server(f64),
    /// The 99th percentile of the client's time.
    P99(f64),
}

/// Where the figures of questions go.
struct Run<'a> {
    subject: &'a Subject,
    table: &'a mut Table,
    times: usize,
}

impl Run<'_> {
    async fn ask(&mut self, what: &str, most: Most, ask: impl Fn(u64) -> Ask) -> Result<()> {
        say(what);
        let used = self.subject.used()?;
        let (server_bar, p99_bar) = match most {
            Most::Server(ms) => (Some(Bar::AtMost(ms)), None),
            Most::P99(ms) => (None, Some(Bar::AtMost(ms))),
        };
        let Some(answers) = sequential(self.subject.base(), self.times, ask).await? else {
            self.table.missing(&format!("{what}: median ms"), server_bar.or(p99_bar));
            return Ok(());
        };
        let mut add = |name: &str, value, bar| {
            self.table.add(&format!("{what}: {name}"), value, bar);
        };
        let ms = || answers.iter().map(|answer| answer.took.as_secs_f64() * 1e3);
        add("median ms", percentile_of(ms(), 0.5), None);
        add("p99 ms", percentile_of(ms(), 0.99), p99_bar);
        let kb = |share| percentile_of(answers.iter().map(|a| a.bytes as f64 / 1e3), share);
        add("median kB", kb(0.5), None);
        let server_ms: Vec<_> = answers.iter().filter_map(|answer| answer.server_ms).collect();
        for (name, share, bar) in
            [("server median ms", 0.5, server_bar), ("server p99 ms", 0.99, None)]
        {
            if server_ms.is_empty() {
                self.table.missing(&format!("{what}: {name}"), bar);
            } else {
                let value = percentile_of(server_ms.iter().copied(), share);
                self.table.add(&format!("{what}: {name}"), value, bar);
            }
        }
        self.subject.push_used(self.table, what, &used)
    }
}

/// Asks `times` times; `None` when the server does not know what is asked for.
pub(super) async fn sequential(
    base: &str,
    times: usize,
    ask: impl Fn(u64) -> Ask,
) -> Result<Option<Vec<Answer>>> {
    let client = Client::new(base);
    // The connection is there before the first one that counts.
    client.get(&Ask::of("/healthz")).await?;
    let mut answers = Vec::with_capacity(times);
    for n in 0..times as u64 {
        let ask = ask(n);
        let answer = client.get(&ask).await?;
        if answer.is_not_there() {
            say(&format!("{}: {}", ask.path, answer.status));
            return Ok(None);
        }
        ensure!(answer.status == 200, "{}: {}", ask.path, answer.status);
        answers.push(answer);
    }
    Ok(Some(answers))
}
