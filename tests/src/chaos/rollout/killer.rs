//! Kills collectors, and takes down what each kill interrupted.
//!
//! Every other kill comes at a random moment, which is mostly while a change is being judged. The others are
//! aimed at the stage of a change that was interrupted least.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

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
/// Stages of a change.
const STAGES: [&str; 5] = ["applying", "holding", "judging", "sealing", "restoring"];
/// Longest time that a stage is waited for; then the kill comes anyway.
const AIM: Duration = Duration::from_secs(10);
/// From one look at the journal to the next, and how long after the look that found the stage the kill comes,
/// milliseconds: a stage may be over in a tenth of a second.
const LOOK: Duration = Duration::from_millis(2);
const LATER_MS: std::ops::Range<u64> = 0..20;

/// Kills between two lines that tell how far it is.
const PROGRESS: usize = 10;

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
    for number in 0..kills {
        if number % 2 == 0 {
            aim(journal, &interrupted, random).await;
        } else {
            sleep(Duration::from_millis(random.random_range(GAP_MS))).await;
        }
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
        if (number + 1) % PROGRESS == 0 {
            let done = number + 1;
            let _ = writeln!(io::stderr(), "rollout: {done} of {kills} kills, {interrupted:?}");
        }
    }
    Ok(interrupted)
}

/// Waits for a change in the stage that was interrupted least.
async fn aim(journal: &mut Follower, interrupted: &Interrupted, random: &mut StdRng) {
    let hits = |stage: &str| interrupted.get(stage).copied().unwrap_or(0);
    let least = STAGES.iter().map(|stage| hits(stage)).min().unwrap_or(0);
    let rarest: Vec<_> = STAGES.into_iter().filter(|stage| hits(stage) == least).collect();
    let stage = rarest[random.random_range(0..rarest.len())];
    let deadline = Instant::now() + AIM;
    while Instant::now() < deadline {
        journal.catch_up().await;
        if journal.log().state().rollouts().any(|rollout| rollout.stage() == stage) {
            sleep(Duration::from_millis(random.random_range(LATER_MS))).await;
            return;
        }
        sleep(LOOK).await;
    }
}
