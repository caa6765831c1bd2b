//! From the command to the first live points: `scripts/run.sh` on a built tree with an empty data directory.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flyball_service::endpoints;
use rustix::process::Signal;
use tokio::process::Command;

use super::table::Table;
use crate::http::Api;
use crate::process::{Process, bin_dir};
use crate::wait::until;

const LIMIT: Duration = Duration::from_mins(1);

/// Starts and stops the main job `rounds` times.
///
/// # Errors
/// When it does not come up, or does not end on SIGINT.
pub async fn run(table: &mut Table, rounds: usize) -> Result<()> {
    let mut seconds = Vec::new();
    for _ in 0..rounds {
        seconds.push(once().await?);
    }
    table.push("`make run` on a built tree -> two live points, s", seconds, Some(10.0));
    Ok(())
}

async fn once() -> Result<f64> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate has a parent")?;
    let dir = super::temporary()?;
    let start = Instant::now();
    let mut command = Command::new(root.join("scripts/run.sh"));
    command.arg(bin_dir()?).env("FLYBALL_DATA", dir.path());
    command.env("FLYBALL_SERVER_HTTP", "127.0.0.1:0").env("FLYBALL_SERVER_GRPC", "127.0.0.1:0");
    let mut job = Process::start("run", command, dir.path())?;
    let data = dir.path().join("collector");
    let points = until("two live points", LIMIT, || async {
        let api = Api::new(endpoints::read(&data)?["http"]);
        let path = "/api/performance/metrics?metric=system.cpu.utilization&step=1000";
        let answer = api.json(path).await?;
        let points = answer["series"][0]["points"].as_array().context("points")?;
        ensure!(points.iter().filter(|p| !p[1].is_null()).count() >= 2, "not yet");
        Ok(())
    });
    points.await.with_context(|| job.log())?;
    let seconds = start.elapsed().as_secs_f64();
    job.signal(Signal::INT)?;
    job.wait(LIMIT).await?;
    Ok(seconds)
}
