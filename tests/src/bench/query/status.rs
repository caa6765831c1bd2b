//! The status of the fleet at a constant rate.

use std::sync::Arc;

use anyhow::Result;

use super::client::Ask;
use super::offer::{Asks, Schedule, open_loop, percentile_of};
use super::say;
use super::subject::Subject;
use crate::bench::table::{Bar, Table};
use crate::load::node_name;

/// Connections that carry the requests.
const CONNECTIONS: usize = 128;
/// Requests a second.
const RATE: f64 = 1_000.0;

/// A number that looks like any other one for each `n`, the same in each run.
pub(super) const fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n ^ (n >> 31)
}

/// One node of the fleet each time, and all nodes with and without compression.
pub(super) async fn status(subject: &Subject, table: &mut Table) -> Result<()> {
    let (agents, path) = (subject.loaded.agents, "/api/performance/status");
    let one: Asks =
        Arc::new(move |n| Ask::of(format!("{path}?node={}", node_name(mix(n) % agents))));
    let all = |gzip| -> Asks { Arc::new(move |_| Ask { path: path.to_owned(), gzip }) };
    open(subject, table, "status of one node at 1,000/s", one).await?;
    open(subject, table, "status of all nodes at 1,000/s, gzip", all(true)).await?;
    open(subject, table, "status of all nodes at 1,000/s", all(false)).await
}

async fn open(subject: &Subject, table: &mut Table, what: &str, asks: Asks) -> Result<()> {
    say(what);
    let used = subject.used()?;
    let schedule = Schedule { rate: RATE, time: subject.size.open_loop };
    let report = open_loop(subject.base(), schedule, CONNECTIONS, asks).await?;
    let mut add = |name: &str, value, bar| table.add(&format!("{what}: {name}"), value, bar);
    add("p99 ms", report.latency(0.99), Some(Bar::AtMost(10.0)));
    add("p50 ms", report.latency(0.5), None);
    add("answers/s", report.rate(), None);
    add("not answered with 200", report.other_than(200) as f64, Some(Bar::AtMost(0.0)));
    let kb = report.answers(&[200]).map(|answer| answer.bytes as f64 / 1e3);
    add("kB", percentile_of(kb, 0.5), None);
    subject.push_used(table, what, &used)
}
