//! The main job as `make run` starts it, ended as a terminal ends it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use flyball_service::endpoints;
use flyball_tests::http::Api;
use flyball_tests::process::{Process, bin_dir, children, usage};
use flyball_tests::wait::{SOON, until};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

#[tokio::test]
async fn ctrl_c_leaves_nothing_running() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate has a parent")?;
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(root.join("scripts/run.sh"));
    command.arg(bin_dir()?).env("FLYBALL_DATA", dir.path()).process_group(0);
    command.env("FLYBALL_SERVER_HTTP", "127.0.0.1:0").env("FLYBALL_SERVER_GRPC", "127.0.0.1:0");
    let mut job = Process::start("run", command, dir.path())?;
    let pid = job.pid().context("the job runs")?;
    let up = until("this host to be up", SOON * 2, || async {
        let http = endpoints::read(&dir.path().join("collector"))?["http"];
        let status = Api::new(http).json("/api/performance/status").await?;
        ensure!(status["nodes"][0]["up"] == true, "{status}");
        Ok(())
    })
    .await;
    up.with_context(|| job.log())?;

    let started = descendants(pid)?;
    ensure!(started.len() >= 3, "collector, engine and agent run: {started:?}");
    // A terminal sends the signal to everything in the foreground group at once.
    kill_process_group(Pid::from_raw(pid as i32).context("a pid is not zero")?, Signal::INT)?;
    let status = job.wait(SOON).await?;
    ensure!(status.success(), "{status}\n{}", job.log());
    let left: Vec<_> = started.into_iter().filter(|pid| usage(*pid).is_ok()).collect();
    ensure!(left.is_empty(), "still running: {left:?}\n{}", job.log());
    ensure!(!job.log().contains("ERROR"), "a clean end logs no error:\n{}", job.log());
    Ok(())
}

fn descendants(pid: u32) -> Result<Vec<u32>> {
    let mut found = children(pid)?;
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(children(pid)?);
        next += 1;
    }
    Ok(found)
}
