//! Counters since the server was made. They only grow; a restart of the process starts them at 0.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counts at one moment, see [`crate::Server::metrics`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)+
        }

        impl Counters {
            pub(crate) fn read(&self) -> Metrics {
                Metrics { $($name: self.$name.0.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Streams opened.
    streams_opened,
    /// Streams ended, for whatever reason.
    streams_closed,
    /// Streams refused because [`crate::Settings::max_streams`] were open.
    streams_refused,
    /// Streams ended because a client subscribed to more names than [`crate::Settings::max_names`],
    /// left more responses without an answer or rejected more names than that, or asked for a name
    /// longer than [`crate::snapshot::MAX_NAME_BYTES`].
    subscriptions_over_limit,
    /// Streams ended by a request larger than [`crate::Settings::max_message_bytes`] or not
    /// readable.
    requests_unreadable,
    /// Requests without a type, which end the stream.
    requests_untyped,
    /// Requests for types that are not served, left without an answer.
    requests_unknown_type,
    /// Requests with a nonce that is not the newest, which change nothing in state of the world.
    requests_stale,
    /// Responses sent.
    responses,
    /// Responses acknowledged.
    acks,
    /// Responses rejected.
    nacks,
    /// Snapshots published which changed something.
    snapshots,
    /// Snapshots refused by their check.
    snapshots_refused,
    /// Snapshots replaced by a newer one before a client had acknowledged them, once per client.
    snapshots_overtaken,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}
