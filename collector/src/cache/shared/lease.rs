//! The lease on loading a key: collectors that want the same at once leave it to one of them.
//!
//! A lease is of one loading. Another one of this collector takes it over, since here only one loading of a key is of use; other collectors wait for it. It is given back when its loading
//! ends, however it ends, and ends by itself when the collector does.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::Handle;

use super::{Connected, STAMPS, Shared, scripts};
use crate::cache::key::{Key, Tag};

/// Longest that a lease holds others off, when its holder does not come back.
const LEASE: Duration = Duration::from_secs(2);

/// Who loads.
#[derive(Debug)]
pub(in crate::cache) enum Lease {
    /// This collector. A value whose loading begins now began at this number.
    Ours(u64, Held),
    /// Another one is doing so.
    Taken(u64),
    /// Nobody knows.
    Unknown(Held),
}

/// A lease that this collector has, or may have. It is given back when this is dropped.
#[derive(Debug)]
pub(in crate::cache) struct Held {
    shared: Shared,
    key: Key,
    /// `None`: it is not ours any more.
    ticket: Option<String>,
}

impl Shared {
    /// Takes the lease on loading a key that has these tags.
    pub(in crate::cache) async fn lease(&self, key: Key, tags: &[Tag]) -> Lease {
        static TICKETS: AtomicU64 = AtomicU64::new(0);
        let origin = format!("{:016x}", self.0.origin);
        let ticket = format!("{origin}{:x}", TICKETS.fetch_add(1, Relaxed));
        // Whoever leaves before the answer may have it.
        let mut held = Held { shared: self.clone(), key, ticket: Some(ticket.clone()) };
        let answer = self.call(async |mut to: Connected| {
            let mut command = redis::cmd("EVAL");
            command.arg(scripts::LEASE).arg(tags.len() + 3).arg(to.count()).arg(to.lease(key));
            command.arg(to.stamp(Tag::ALL));
            for tag in tags {
                command.arg(to.stamp(*tag));
            }
            command.arg(STAMPS.as_millis() as u64).arg(origin).arg(ticket);
            command.arg(LEASE.as_millis() as u64);
            command.query_async::<(u64, bool)>(&mut to.connection).await
        });
        match answer.await {
            Some((count, true)) => Lease::Ours(count, held),
            Some((count, false)) => {
                held.ticket = None;
                Lease::Taken(count)
            }
            None => Lease::Unknown(held),
        }
    }

    async fn give_back(&self, key: Key, ticket: &str) {
        self.call(async |mut to: Connected| {
            to.give_back(key, ticket).exec_async(&mut to.connection).await
        })
        .await;
    }
}

impl Connected {
    /// Ends a lease, if it is that of the ticket.
    fn give_back(&self, key: Key, ticket: &str) -> redis::Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(scripts::GIVE_BACK).arg(1).arg(self.lease(key)).arg(ticket);
        command
    }
}

impl Held {
    /// The command that ends it, for whoever sends it with others.
    pub(super) fn ending(mut self, to: &Connected) -> Option<redis::Cmd> {
        self.ticket.take().map(|ticket| to.give_back(self.key, &ticket))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let (shared, key) = (self.shared.clone(), self.key);
        // Without a runtime the collector ends, and the lease by itself.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { shared.give_back(key, &ticket).await });
        }
    }
}
