//! Waiting for a condition with a deadline, instead of sleeping and hoping.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Longest time that a test waits for something that should happen soon.
pub const SOON: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(20);

/// What is waited for cannot happen any more, for example because its process has ended.
#[derive(Debug)]
pub struct Ended(pub String);

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Ended {}

/// Polls `probe` until it gives a value, or an error that is [`Ended`]. The last error tells what was still missing when `limit` was over.
///
/// # Errors
/// When `limit` is over.
pub async fn until<T, F, P>(what: &str, limit: Duration, mut probe: P) -> Result<T>
where
    P: FnMut() -> F,
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(error) if error.is::<Ended>() => return Err(error),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("{what}: not within {limit:?}"));
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
