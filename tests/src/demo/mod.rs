//! The closed loop on real servers, told while it happens: `make demo`.
//!
//! Everything is started for it in a temporary directory and stopped again: a collector with its
//! embedded ClickHouse, agents, a Redis, HAProxys and Envoys, and clients of them. Times that are minutes in production are
//! seconds here, and stand in the acts beside what they shorten.

mod balance;
mod cache;
mod outcome;
mod picture;
mod story;

use std::path::PathBuf;

use anyhow::{Result, bail};

use self::story::Story;

/// A part of the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Act {
    /// A cache that is too small.
    Cache,
    /// Load balancers before backends of different capacity.
    Balance,
}

/// Plays these acts to the end, or until the person at the terminal has seen enough. The picture of the second one goes to `picture`, or else to the system's
/// temporary directory.
///
/// # Errors
/// When a server cannot be started, or the loop does not do what it should.
pub async fn run(acts: &[Act], picture: Option<PathBuf>) -> Result<()> {
    // Servers are killed and directories removed when what holds them is dropped.
    tokio::select! {
        result = play(acts, picture) => result,
        _ = tokio::signal::ctrl_c() => bail!("ended from the terminal"),
    }
}

async fn play(acts: &[Act], picture: Option<PathBuf>) -> Result<()> {
    let story = Story::new();
    let picture = picture.unwrap_or_else(balance::picture);
    for act in acts {
        match act {
            Act::Cache => cache::play(&story).await?,
            Act::Balance => balance::play(&story, &picture).await?,
        }
    }
    story.tell("Everything that was started has been stopped.")
}
