//! The most requests a second for answers that are at hand, beside the peers.

use anyhow::{Context as _, Result, ensure};

use super::client::{Ask, Client};
use super::peers::{Data, Peer};
use super::say;
use super::subject::{METRIC, Subject};
use super::wrk::{Wrk, wrk};
use crate::bench::table::{Bar, Table};
use crate::load::{node_name, now_ms};

/// Requests a second that ours must reach, and times as many as the better peer.
const RATE: f64 = 40_000.0;
const TIMES: f64 = 2.0;
/// Slowest hundredth, in milliseconds.
const P99_MS: f64 = 10.0;

/// What is asked for in the whole run: an hour that is over.
pub(super) fn data(subject: &Subject) -> Data {
    let now = now_ms() / 60_000 * 60_000;
    let from = (now - 70 * 60_000).max(subject.loaded.start_ms);
    Data {
        nodes: subject.loaded.agents,
        metric: METRIC,
        node: subject.loaded.agents / 2,
        hour: (from, from + 3_600_000),
        last_ms: now,
    }
}

/// One round: ours and each peer, one after the other.
pub(super) async fn cached(
    subject: &Subject,
    peers: &[Peer],
    data: &Data,
    table: &mut Table,
) -> Result<()> {
    let node = node_name(data.node);
    let (from, to) = data.hour;
    let ours = [
        ("health", "/healthz".to_owned()),
        ("last value", format!("/api/performance/last?metric={METRIC}&node={node}")),
        (
            "range of an hour",
            format!(
                "/api/performance/metrics?metric={METRIC}&node={node}&from={from}&to={to}&step=60s"
            ),
        ),
    ];
    for (index, (what, path)) in ours.into_iter().enumerate() {
        let ours = mine(subject, what, &path, table).await?;
        let mut best = 0.0_f64;
        for peer in peers {
            let health = if peer.name == "prometheus" { "/-/healthy" } else { "/health" };
            let (what, path) = &data.paths(health)[index];
            best = best.max(theirs(subject, peer, what, path, table).await?);
        }
        let what = format!("{what}: ours / the better peer, requests/s");
        let bar = (index > 0).then_some(Bar::AtLeast(TIMES));
        match ours {
            Some(ours) if best > 0.0 => table.add(&what, ours / best, bar),
            _ => table.missing(&what, bar),
        }
    }
    Ok(())
}

/// Requests a second of the collector; `None` when it does not know what is asked for.
async fn mine(subject: &Subject, what: &str, path: &str, table: &mut Table) -> Result<Option<f64>> {
    let what = format!("{what}, flyball");
    let is_health = path == "/healthz";
    let bar = (!is_health).then_some(Bar::AtLeast(RATE));
    let first = Client::new(subject.base()).get(&Ask::of(path)).await?;
    if first.is_not_there() {
        table.missing(&format!("{what}: requests/s"), bar);
        return Ok(None);
    }
    ensure!(first.status == 200, "{path}: {}", first.status);
    say(&format!("wrk: {what}"));
    let used = subject.used()?;
    let wrk = wrk(&format!("{}{path}", subject.base()), subject.size.wrk).await?;
    let us = subject.us_a_request(&used, wrk.requests)?;
    push(table, &what, &wrk, us, bar);
    Ok(Some(wrk.rate))
}

async fn theirs(
    subject: &Subject,
    peer: &Peer,
    what: &str,
    path: &str,
    table: &mut Table,
) -> Result<f64> {
    let what = format!("{what}, {}", peer.name);
    say(&format!("wrk: {what}"));
    let before = peer.cpu_s()?;
    let wrk = wrk(&format!("{}{path}", peer.base), subject.size.wrk).await;
    let wrk = wrk.with_context(|| peer.process.log())?;
    let us = (peer.cpu_s()? - before) * 1e6 / wrk.requests.max(1.0);
    push(table, &what, &wrk, us, None);
    Ok(wrk.rate)
}

fn push(table: &mut Table, what: &str, wrk: &Wrk, us: f64, bar: Option<Bar>) {
    let bar_of = |most: f64| bar.map(|_| Bar::AtMost(most));
    let mut add = |name: &str, value, bar| table.add(&format!("{what}: {name}"), value, bar);
    add("requests/s", wrk.rate, bar);
    add("p99 ms", wrk.p99_ms, bar_of(P99_MS));
    add("p50 ms", wrk.p50_ms, None);
    add("errors", wrk.errors, bar_of(0.0));
    add("CPU us a request", us, None);
}
