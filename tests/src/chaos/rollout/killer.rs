//! Kills collectors, and takes down what each kill interrupted.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use flyball_collector::steer::journal::Follower;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::ground::ready;
use crate::chaos::unit::Unit;
use crate::http::Api;

/// From one kill to the next, and how long a collector is down, milliseconds.
const GAP_MS: std::ops::Range<u64> = 300..3_000;
const DOWN_MS: std::ops::Range<u64> = 0..1_500;

/// Where changes were when a collector was killed, and how often.
pub(super) type Interrupted = BTreeMap<&'static str, usize>;

/// Kills one of the collectors `kills` times; each is ready again before the next is killed.
pub(super) async fn kill(
    collectors: &mut [Unit],
    apis: &[Api],
    journal: &mut Follower,
    kills: usize,
    random: &mut StdRng,
) -> Result<Interrupted> {
    let mut interrupted = Interrupted::new();
    for _ in 0..kills {
        sleep(Duration::from_millis(random.random_range(GAP_MS))).await;
        let victim = random.random_range(0..collectors.len());
        let unit = &mut collectors[victim];
        unit.kill().await?;
        journal.catch_up().await;
        let mut none = true;
        for rollout in journal.log().state().rollouts().filter(|r| !r.state.is_final()) {
            *interrupted.entry(rollout.stage()).or_default() += 1;
            none = false;
        }
        if none {
            *interrupted.entry("between two").or_default() += 1;
        }
        sleep(Duration::from_millis(random.random_range(DOWN_MS))).await;
        unit.run()?;
        ready(unit, &apis[victim]).await?;
    }
    Ok(interrupted)
}
