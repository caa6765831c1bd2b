//! The one way to stop: a token that SIGTERM and SIGINT cancel, and a bound on how long draining may take.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Default time between the signal and the end of the process.
pub const GRACE_PERIOD: Duration = Duration::from_secs(10);

/// A token that is cancelled by the first SIGTERM or SIGINT.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let cancel = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        cancel.cancel();
    });
    Ok(token)
}

/// Runs `work` until it ends by itself or, after `shutdown` is cancelled, until `grace` is over. `None` when the grace period was not enough.
pub async fn within_grace<T>(
    shutdown: &CancellationToken,
    grace: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let expired = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        done = work => Some(done),
        () = expired => {
            tracing::warn!(grace_ms = grace.as_millis() as u64, "did not drain within the grace period");
            None
        }
    }
}
