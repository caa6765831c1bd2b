//! kill -9 of the agent at any moment: no client falls back to what is configured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flyball_proto::steering::PolicyResult;
use rand::RngExt as _;

use crate::collector::{Collector, eventually};
use crate::lab::{CONFIGURED, Lab, permanent};

/// Kills, each of another process.
const ROUNDS: u64 = 6;
/// Time between two looks at the weights.
const LOOK: std::time::Duration = std::time::Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_agent_is_killed_no_client_falls_back_to_configured_weights() {
    let (mut lab, mut collector) = (Lab::new(3), Collector::start());
    let mut agent = lab.start(&collector).await;
    collector.want(permanent(1, &lab.weighted(&[201, 101, 21])));
    collector.outcome(1, PolicyResult::Applied).await;
    lab.weighs(&[201, 101, 21]).await;
    let lab = Arc::new(lab);
    let (is_over, fell_back) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let watcher = {
        // A test that fails ends its Envoy, whoever watches.
        let (lab, is_over) = (Arc::downgrade(&lab), Arc::clone(&is_over));
        let fell_back = Arc::clone(&fell_back);
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                // A push is a second from the next. Without a pause the host would run out of ports, each
                // question being a connection: that of the collector would be taken while it is away.
                std::thread::park_timeout(LOOK);
                let Some(lab) = lab.upgrade() else { return };
                let Some(weights) = lab.weights() else { continue };
                if weights.values().any(|weight| *weight == CONFIGURED) || weights.is_empty() {
                    fell_back.store(true, Ordering::Relaxed);
                }
            }
        })
    };
    for round in 2..2 + ROUNDS {
        let weights = [200 + round, 100 + round, 20 + round];
        collector.want(permanent(round, &lab.weighted(&weights)));
        collector.outcome(round, PolicyResult::Applying).await;
        // Before it is pushed, or between that and its confirmation, or after.
        let moment = std::time::Instant::now();
        let pause = std::time::Duration::from_millis(rand::rng().random_range(0..200));
        eventually("the moment", || {
            moment.elapsed() > pause
                && (round % 2 == 0
                    || lab
                        .weights()
                        .is_some_and(|found| found.get(&lab.backends[0].port) == Some(&weights[0])))
        })
        .await;
        agent.kill();
        let address = collector.end().await;
        // It goes on by itself.
        agent.start();
        lab.weighs(&weights).await;
        collector = Collector::at(address);
        collector.outcome(round, PolicyResult::Applied).await;
    }
    is_over.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    assert!(!fell_back.load(Ordering::Relaxed));
}
