//! The closed loop on real servers, told while it happens: `make demo`.
//!
//! Everything is started for it in a temporary directory and stopped again: a collector with its
//! embedded ClickHouse, an agent, a Redis and clients of it. Times that are minutes in production are
//! seconds here, and stand in [`cache`] beside what they shorten.

mod cache;
mod story;

use anyhow::Result;

use self::story::Story;

/// Plays it to the end.
///
/// # Errors
/// When a server cannot be started, or the loop does not do what it should.
pub async fn run() -> Result<()> {
    let story = Story::new();
    cache::play(&story).await?;
    story.tell("Everything that was started has been stopped.")
}
