//! Somebody who has one change after the other made at a cache, by whichever collector answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ground::{NODE, Place};
use crate::http::Api;
use crate::steering::{MIB, propose, say, text};

/// Longest time that a change may take while collectors are killed.
const PATIENCE: Duration = Duration::from_mins(8);
const POLL: Duration = Duration::from_millis(100);
/// Share of the changes that are taken back by hand.
const BY_HAND: f64 = 0.25;
/// When, after the confirmation, milliseconds.
const BY_HAND_MS: std::ops::Range<u64> = 0..9_000;

/// How a change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) reason: String,
}

/// One cache, and who answers for it.
pub(super) struct Person {
    pub(super) place: Arc<Place>,
    pub(super) apis: Vec<Api>,
    pub(super) random: StdRng,
}

impl Person {
    /// One change after the other until `enough`. Each is checked against the server when it has ended.
    pub(super) async fn work(mut self, enough: CancellationToken) -> Result<Vec<Ended>> {
        let mut all = Vec::new();
        while !enough.is_cancelled() {
            all.push(self.change().await.with_context(|| self.place.name.clone())?);
        }
        Ok(all)
    }

    async fn change(&mut self) -> Result<Ended> {
        let from = self.place.cache.limit().await?;
        let to = self.wanted(from);
        let suggestion = self.propose(to).await?;
        let id = self.confirm(&suggestion).await?;
        let take_back = self
            .random
            .random_bool(BY_HAND)
            .then(|| Instant::now() + Duration::from_millis(self.random.random_range(BY_HAND_MS)));
        let done = self.follow(&id, take_back).await?;
        let state = text(&done, "state")?;
        let found = self.place.cache.limit().await?;
        let expected = match state.as_str() {
            "promoted" => to,
            "rolled_back" => from,
            other => bail!("{id} is {other}: {done}"),
        };
        ensure!(
            found == expected,
            "{id} is {state}, and {found} is in force, not {expected}: {done}"
        );
        Ok(Ended { id, state, reason: text(&done, "reason")? })
    }

    /// Up and down between 4 and 12 MB, no change twice the same for its agent.
    fn wanted(&mut self, from: u64) -> u64 {
        let odd = self.random.random_range(0..4_096);
        if from <= 8 * MIB && !self.place.needs_room {
            from + from / 2 + odd
        } else {
            from / 2 + odd
        }
    }

    fn api(&mut self) -> Api {
        self.apis[self.random.random_range(0..self.apis.len())].clone()
    }

    fn target(&self) -> String {
        format!("redis:{NODE}:{}", self.place.name)
    }

    /// A suggestion for this, whoever has to be asked how often.
    async fn propose(&mut self, to: u64) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let api = self.api();
            match propose(&api, &self.target(), to).await {
                Ok((201, answer)) => return text(&answer, "id"),
                // An earlier call was taken, and its answer was lost.
                Ok((409, answer)) if answer["state"] == "open" => {
                    let path = format!(
                        "/api/performance/suggestions?status=proposed&target={}",
                        self.target()
                    );
                    if let Ok(list) = api.json(&path).await
                        && let Some(found) = list["suggestions"].as_array().and_then(|l| l.first())
                        && found["change"][0]["to"] == *to.to_string()
                    {
                        return text(found, "id");
                    }
                }
                other if Instant::now() >= end => bail!("not proposed: {other:?}"),
                _ => {}
            }
            sleep(POLL).await;
        }
    }

    /// Confirms it until it is confirmed. Gives the rollout's id.
    async fn confirm(&mut self, suggestion: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        let rollout = suggestion.replacen("s-", "r-", 1);
        loop {
            let api = self.api();
            let answer = say(&api, &format!("suggestions/{suggestion}/confirm")).await;
            match answer {
                Ok((202, _)) => return Ok(rollout),
                Ok((409, answer)) if answer["state"] == "confirmed" => return Ok(rollout),
                Ok((409, answer)) if answer["state"] == "locked" => {
                    // Three were taken back.
                    let _ = say(&api, &format!("targets/{}/unlock", self.target())).await;
                }
                other if Instant::now() >= end => bail!("not confirmed: {other:?}"),
                _ => {}
            }
            sleep(POLL).await;
        }
    }

    async fn follow(&mut self, id: &str, mut take_back: Option<Instant>) -> Result<Value> {
        let end = Instant::now() + PATIENCE;
        let path = format!("/api/performance/rollouts/{id}");
        loop {
            let api = self.api();
            if take_back.is_some_and(|at| Instant::now() >= at) {
                // It may have ended, or nobody may be there to hear it.
                let _ = say(&api, &format!("rollouts/{id}/rollback")).await;
                take_back = None;
            }
            let seen = api.json(&path).await;
            match seen {
                Ok(rollout) if rollout["ended_at_ms"].is_i64() => return Ok(rollout),
                other if Instant::now() >= end => bail!("{id} does not end: {other:?}"),
                _ => sleep(POLL).await,
            }
        }
    }
}
