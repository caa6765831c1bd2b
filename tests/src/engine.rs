//! The engine's files without the collector: SQL on the data of a collector that has ended.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::process::binary;

/// Runs statements on the data directory of a collector that has ended; gives what the last one, a SELECT, answers, tab separated.
///
/// # Errors
/// When the engine is not there or a statement fails.
pub async fn query(collector_data: &Path, statements: &str) -> Result<String> {
    // The library keeps answers in memory, so the last statement writes its own to a file.
    let answer = tempfile::NamedTempFile::new()?;
    let path = answer.path().display();
    let statements = format!("{statements} INTO OUTFILE '{path}' TRUNCATE FORMAT TabSeparated");
    run(collector_data, &statements).await?;
    Ok(std::fs::read_to_string(answer.path())?)
}

/// Runs statements that answer nothing.
///
/// # Errors
/// When the engine is not there or a statement fails.
pub async fn run(collector_data: &Path, statements: &str) -> Result<()> {
    let mut command = Command::new(binary("flyball-collector")?);
    command.args(["engine", "run"]).arg(library()?).arg("--");
    command.arg(format!("--path={}", collector_data.join("clickhouse/data").display()));
    command.args(["--query", statements]).kill_on_drop(true);
    let output = command.output().await.context("start the engine")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{statements}: {}\n{errors}", output.status);
    Ok(())
}

/// The fetched library, wherever `engine fetch` has put it.
///
/// # Errors
/// When it has not been fetched.
pub fn library() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = set("FLYBALL_CACHE_DIR")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("flyball")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/flyball")))
        .context("HOME is set")?;
    let versions = std::fs::read_dir(cache.join("engine")).context("run `make engine` first")?;
    let mut found = versions.filter_map(|v| Some(v.ok()?.path().join("libchdb.so")));
    found.find(|path| path.exists()).context("run `make engine` first")
}
