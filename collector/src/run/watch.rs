//! Tells `/readyz` how the parts are that do not tell it themselves: the servers of ClickHouse, the engine and the ingest queue.

use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::api::Readiness;
use crate::ingest::{Ingest, QueueHealth};
use crate::live::now_ms;
use crate::steer::driver::Driver;
use crate::store::engine::EngineState;
use crate::store::{Store, describe};

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(500);

/// Reports until `ending`.
pub(super) async fn run(
    readiness: Readiness,
    ingest: Ingest,
    store: Store,
    engine: Option<Receiver<EngineState>>,
    driver: Driver,
    ending: CancellationToken,
) {
    // The store was opened before this: it migrates, or refuses to open with migrations missing.
    readiness.report("migrations", Ok("all are applied".to_owned()));
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = ending.cancelled() => return,
        }
        // So that the time of a failure is that of the failure and not of the next question.
        readiness.report("clickhouse", describe(&store.servers().health(), now_ms()));
        readiness.report("ingest", queue(ingest.health(), now_ms()));
        readiness.report("rollups", Ok(store.rollups().get().describe()));
        // Samples are taken in and read without it.
        readiness.report_minor("journal", journal(&driver));
        if let Some(engine) = &engine {
            readiness.report("engine", running(&engine.borrow()));
        }
    }
}

fn journal(driver: &Driver) -> Result<String, String> {
    let view = driver.view();
    let (health, count) = (&view.health, view.head.sequence);
    let text = format!("the journal {}, {count} decisions", health.describe());
    if health.may_decide() { Ok(text) } else { Err(text) }
}

fn queue(health: QueueHealth, now_ms: i64) -> Result<String, String> {
    let QueueHealth { rows, max_rows, is_closed, failure } = health;
    match failure {
        Some(failure) => {
            let seconds = (now_ms - failure.since_ms) / 1_000;
            Err(format!("nothing was stored for {seconds} s, agents are paused: {}", failure.error))
        }
        None if is_closed => Err(format!("{rows} of {max_rows} rows wait, agents are paused")),
        None => Ok(format!("{rows} of {max_rows} rows wait")),
    }
}

fn running(state: &EngineState) -> Result<String, String> {
    if state.up {
        Ok(format!("runs, was started again {} times", state.restarts))
    } else {
        Err(state.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::WriteFailure;

    #[test]
    fn a_queue_that_is_closed_is_not_ready_and_says_why() {
        let mut health = QueueHealth { rows: 5, max_rows: 10, is_closed: false, failure: None };
        assert_eq!(queue(health.clone(), 0), Ok("5 of 10 rows wait".to_owned()));
        health.is_closed = true;
        assert!(queue(health.clone(), 0).unwrap_err().contains("5 of 10"));
        health.failure = Some(WriteFailure { since_ms: 1_000, error: "disk full".to_owned() });
        let text = queue(health, 4_500).unwrap_err();
        assert!(text.contains("3 s") && text.contains("disk full"), "{text}");
    }
}
