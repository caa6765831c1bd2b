//! Steering on the whole path: the shipped agent and the shipped collector find each other, and show what may be steered.

use anyhow::{Context as _, Result, ensure};
use flyball_tests::redis::Redis;
use flyball_tests::stack::Stack;
use flyball_tests::wait::{SOON, until};

#[tokio::test]
async fn an_agent_says_what_it_may_set_and_what_not() -> Result<()> {
    let mut stack = Stack::start().await?;
    let redis = Redis::start(stack.dir()).await?;
    let settings = format!(
        "[[redis]]\nname = 'sessions'\nurl = '{0}'\nsteer = true\n[[redis]]\nname = 'queue'\nurl = '{0}'\n",
        redis.url()
    );
    let file = stack.dir().join("agent.toml");
    std::fs::write(&file, settings)?;
    let file = file.to_str().context("a path in UTF-8")?.to_owned();
    stack.start_agent("cache-1", &["--config", &file])?;
    until("the agent to watch", SOON, || async {
        let answer = stack.collector.api.json("/api/performance/policies?node=cache-1").await?;
        let node = &answer["policies"][0];
        ensure!(node["connected"] == true, "{answer}");
        ensure!(node["wanted_revision"] == 0 && node["reason"].is_null(), "{answer}");
        let targets: Vec<_> = node["targets"].as_array().context("targets")?.iter().collect();
        let names: Vec<_> = targets.iter().map(|target| target["name"].as_str()).collect();
        ensure!(names == [Some("queue"), Some("sessions")], "{answer}");
        ensure!(targets[1]["barred"].is_null(), "{answer}");
        let barred = targets[0]["barred"].as_str().unwrap_or_default();
        ensure!(barred.contains("steer = true is not set"), "{answer}");
        Ok(())
    })
    .await?;
    stack.stop().await
}
