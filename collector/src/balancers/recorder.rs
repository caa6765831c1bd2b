//! Writes what agents report of load balancers into `balancer_stats`, in one insert each second.
//!
//! Reports wait in memory while the store is away: at most [`MOST_ROWS`], beyond which the oldest are given up and counted. They are not sent again by agents, so
//! unlike samples nothing stops the agents; what is lost are points of a chart and windows of the judge, which then knows less and decides nothing. A block is tried
//! again with its token until it is accepted, and rows of one report are the same row when they come twice.

use std::collections::VecDeque;
use std::time::Duration;

use flyball_proto::steering::BalancerReport;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::steer::watch::Reported;
use crate::store::{BalancerRow, ErrorClass, Store};

/// Most rows that wait; some 300 bytes each.
pub const MOST_ROWS: usize = 200_000;
/// Most rows of one insert.
const BLOCK_ROWS: usize = 50_000;
/// Time between two inserts.
const PERIOD: Duration = Duration::from_secs(1);
/// Time until a failed insert is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Counters of the rows of load balancers, `flyball_balancer_*`; clones share them.
#[derive(Debug, Clone, Default)]
pub struct RecorderMetrics {
    written: Counter,
    dropped: Family<Reason, Counter>,
    reports_missed: Counter,
    waiting: Gauge,
    failures: Counter,
}

/// Why rows were dropped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl RecorderMetrics {
    /// Makes them part of what a registry prints. The registry's prefix is `flyball`.
    pub fn register(&self, registry: &mut Registry) {
        let own = registry.sub_registry_with_prefix("balancer");
        own.register("rows_written", "Rows of load balancers written", self.written.clone());
        let help = "Rows of load balancers given up: too many waited (full), or the store refuses them for good (refused)";
        own.register("rows_dropped", help, self.dropped.clone());
        let help = "Reports of load balancers that came faster than they could be taken";
        own.register("reports_missed", help, self.reports_missed.clone());
        own.register("rows_waiting", "Rows of load balancers that wait", self.waiting.clone());
        let help = "Inserts of rows of load balancers that failed and are tried again";
        own.register("insert_failures", help, self.failures.clone());
    }

    /// Rows given up because too many waited.
    pub fn full(&self) -> u64 {
        self.dropped.get_or_create(&Reason { reason: "full" }).get()
    }

    /// Inserts that failed and were tried again.
    pub fn failures(&self) -> u64 {
        self.failures.get()
    }
}

/// Rows that wait, the oldest first.
#[derive(Debug)]
struct Waiting {
    rows: VecDeque<BalancerRow>,
    most: usize,
}

impl Waiting {
    /// Adds rows. Gives how many of the oldest were given up for them.
    fn push(&mut self, rows: Vec<BalancerRow>) -> usize {
        self.rows.extend(rows);
        let over = self.rows.len().saturating_sub(self.most);
        self.rows.drain(..over);
        over
    }

    /// The rows of the next insert: of one day, in their order.
    fn block(&mut self) -> Vec<BalancerRow> {
        let Some(day) = self.rows.front().map(BalancerRow::day) else { return Vec::new() };
        let is_of = |row: &&BalancerRow| row.day() == day;
        let count = self.rows.iter().take(BLOCK_ROWS).take_while(is_of).count();
        self.rows.drain(..count).collect()
    }
}

/// Writes until `ending`; what waits then is tried once more.
pub async fn run(
    store: Store,
    news: Receiver<Reported<BalancerReport>>,
    metrics: RecorderMetrics,
    ending: CancellationToken,
) {
    record(store, news, metrics, ending, MOST_ROWS).await;
}

/// As [`run`], holding at most `most` rows.
pub async fn record(
    store: Store,
    mut news: Receiver<Reported<BalancerReport>>,
    metrics: RecorderMetrics,
    ending: CancellationToken,
    most: usize,
) {
    let mut waiting = Waiting { rows: VecDeque::new(), most };
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Tells blocks of this process from those of others: the store knows tokens for a while.
    let run = rand::random::<u64>();
    let (mut number, mut is_open) = (0_u64, true);
    loop {
        tokio::select! {
            () = ending.cancelled() => break,
            heard = news.recv() => if !take(heard, &mut waiting, &metrics) { break },
            _ = ticks.tick() => {
                let block = waiting.block();
                if block.is_empty() {
                    continue;
                }
                number += 1;
                let token = format!("balancers:{run:016x}:{number}");
                let writing = write(&store, &block, &token, &metrics);
                tokio::pin!(writing);
                loop {
                    tokio::select! {
                        () = &mut writing => break,
                        heard = news.recv(), if is_open => {
                            is_open = take(heard, &mut waiting, &metrics);
                        }
                        () = ending.cancelled() => return,
                    }
                }
            }
        }
    }
    let block = waiting.block();
    if !block.is_empty() {
        let token = format!("balancers:{run:016x}:last");
        // Whoever waits for the end of this task is patient for a while and then ends it.
        let _ = store.insert_balancer_stats(&block, &token).await;
    }
}

/// Takes a report. False: there will be no more.
fn take(
    heard: Result<Reported<BalancerReport>, RecvError>,
    waiting: &mut Waiting,
    metrics: &RecorderMetrics,
) -> bool {
    match heard {
        Ok(one) => {
            let over = waiting.push(BalancerRow::of(&one.node, &one.report));
            if over > 0 {
                metrics.dropped.get_or_create(&Reason { reason: "full" }).inc_by(over as u64);
            }
            metrics.waiting.set(waiting.rows.len() as i64);
            true
        }
        Err(RecvError::Lagged(missed)) => {
            metrics.reports_missed.inc_by(missed);
            true
        }
        Err(RecvError::Closed) => false,
    }
}

/// Writes a block, again and again until the store takes or refuses it.
async fn write(store: &Store, block: &[BalancerRow], token: &str, metrics: &RecorderMetrics) {
    loop {
        let Err(error) = store.insert_balancer_stats(block, token).await else {
            metrics.written.inc_by(block.len() as u64);
            return;
        };
        if error.class() == ErrorClass::Permanent {
            tracing::error!(rows = block.len(), %error, "rows of load balancers refused for good");
            let reason = Reason { reason: "refused" };
            metrics.dropped.get_or_create(&reason).inc_by(block.len() as u64);
            return;
        }
        tracing::warn!(rows = block.len(), %error, "rows of load balancers were not stored yet");
        metrics.failures.inc();
        sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use flyball_proto::series::NodeName;
    use flyball_proto::steering::{
        BackendGroup, BackendServer, BalancerState, Target, WeightMeaning,
    };

    use super::*;

    fn rows(at_ms: i64, backends: usize) -> Vec<BalancerRow> {
        let target = Target::new("haproxy", "edge");
        let mut report = BalancerReport::new(target, BalancerState::Up, at_ms);
        report.window_ms = 1_000;
        let server = |i| BackendServer::new(format!("s{i}"), format!("10.0.0.{i}:80"), 1);
        report.groups.push(BackendGroup {
            name: "web".into(),
            limit: None,
            algorithm: "roundrobin".into(),
            weights: WeightMeaning::Exact,
            weights_note: String::new(),
            queue: 0,
            latency: None,
            backends: (0..backends).map(server).collect(),
        });
        BalancerRow::of(&NodeName::new("lb").unwrap(), &report)
    }

    #[test]
    fn the_oldest_rows_make_room_and_are_counted() {
        let mut waiting = Waiting { rows: VecDeque::new(), most: 5 };
        assert_eq!(waiting.push(rows(1, 4)), 0);
        assert_eq!(waiting.push(rows(2, 4)), 3);
        let times: Vec<i64> = waiting.rows.iter().map(|row| row.ts).collect();
        assert_eq!(times, [1, 2, 2, 2, 2]);
    }

    #[test]
    fn a_block_is_of_one_day() {
        let day = 24 * 3_600_000;
        let mut waiting = Waiting { rows: VecDeque::new(), most: 100 };
        waiting.push(rows(day - 1, 2));
        waiting.push(rows(day, 3));
        assert_eq!((waiting.block().len(), waiting.block().len()), (2, 3));
        assert!(waiting.block().is_empty());
    }

    #[test]
    fn a_report_before_its_first_window_makes_no_rows() {
        let target = Target::new("haproxy", "edge");
        let report = BalancerReport::new(target, BalancerState::Up, 1);
        assert!(BalancerRow::of(&NodeName::new("lb").unwrap(), &report).is_empty());
    }
}
