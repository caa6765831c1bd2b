//! Asking one server: connects when it has to, with growing pauses, and tells what it got or why there is nothing.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use flyball_model::backoff::Backoff;

use super::super::remote::Remote;
use super::config::MemcachedServer;
use super::link::{Link, pairs};
use super::series::WANTED;
use super::slabs::Slab;
use crate::redis::{Error, State};
use crate::sense::parse::{decimal, integer};

/// Pauses between two attempts to connect.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Decimals, kept in units of their sixth place.
const DECIMALS: [&str; 2] = ["rusage_system", "rusage_user"];

static PLACES: LazyLock<HashMap<&'static [u8], usize>> = LazyLock::new(|| {
    WANTED.iter().enumerate().map(|(place, name)| (name.as_bytes(), place)).collect()
});

/// One server and the connection to it.
pub(super) struct Asker {
    server: MemcachedServer,
    link: Option<Link>,
    backoff: Backoff,
    retry_at: Option<Instant>,
    failure: (State, String),
}

/// What is asked for, and what came.
#[derive(Debug)]
pub(super) struct Answer {
    /// Also what changes slowly and costs more.
    pub(super) wants_detail: bool,
    /// How the server is.
    pub(super) state: State,
    /// Why it is not up, in words.
    pub(super) reason: String,
    /// Time until the statistics were there; `None`: they are not.
    pub(super) took: Option<Duration>,
    /// What they said.
    pub(super) stats: Stats,
    /// Slab classes with items, if the detail was asked for.
    pub(super) slabs: Option<Vec<Slab>>,
    /// What it evicts when it is full, as far as is known.
    pub(super) eviction_policy: &'static str,
}

/// Numbers of [`WANTED`] and the version.
#[derive(Debug, Default)]
pub(super) struct Stats {
    numbers: Vec<Option<i64>>,
    pub(super) version: String,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            wants_detail: false,
            state: State::Unreachable,
            reason: String::new(),
            took: None,
            stats: Stats::default(),
            slabs: None,
            eviction_policy: "",
        }
    }
}

impl Stats {
    /// A number; `None` when the server did not say it.
    pub(super) fn get(&self, name: &str) -> Option<i64> {
        let place = PLACES.get(name.as_bytes())?;
        self.numbers.get(*place).copied().flatten()
    }

    fn read(&mut self, text: &[u8]) {
        self.numbers.clear();
        self.numbers.resize(WANTED.len(), None);
        self.version.clear();
        for (name, value) in pairs(text) {
            if let Some(&place) = PLACES.get(name) {
                let is_decimal = DECIMALS.contains(&WANTED[place]);
                self.numbers[place] = if is_decimal { decimal(value, 6) } else { integer(value) };
            } else if name == b"version" {
                self.version.push_str(str::from_utf8(value).unwrap_or_default());
            }
        }
    }
}

impl Asker {
    pub(super) fn new(server: MemcachedServer) -> Self {
        Self {
            server,
            link: None,
            backoff: Backoff::new(RETRY.0, RETRY.1).expect("0 < floor <= cap"),
            retry_at: None,
            failure: (State::Unreachable, String::new()),
        }
    }

    fn read(&mut self, answer: &mut Answer) -> Result<(), Error> {
        let link = match &mut self.link {
            Some(link) => link,
            none => none.insert(Link::open(&self.server.address)?),
        };
        let start = Instant::now();
        answer.stats.read(link.stats("")?);
        let took = start.elapsed();
        if answer.stats.get("pid").is_none() || answer.stats.get("uptime").is_none() {
            return Err(Error::Protocol("statistics without pid and uptime"));
        }
        if answer.wants_detail {
            let mut slabs = Slab::read_slabs(link.stats("slabs")?);
            Slab::read_items(&mut slabs, link.stats("items")?);
            answer.slabs = Some(slabs);
            answer.eviction_policy = policy(link.stats("settings")?);
        }
        self.backoff.reset();
        (answer.took, answer.state) = (Some(took), State::Up);
        answer.reason.clear();
        Ok(())
    }
}

impl Remote for Asker {
    type Answer = Answer;

    fn ask(&mut self, answer: &mut Answer) {
        (answer.took, answer.slabs) = (None, None);
        let is_waiting = self.retry_at.is_some_and(|at| Instant::now() < at);
        if !is_waiting {
            self.retry_at = None;
            let Err(error) = self.read(answer) else { return };
            self.link = None;
            self.failure = (error.state(), error.to_string());
            self.retry_at = Some(Instant::now() + self.backoff.next_delay(rand::random()));
        }
        answer.slabs = None;
        (answer.state, answer.reason) = self.failure.clone();
    }
}

/// What is evicted, by the settings.
fn policy(settings: &[u8]) -> &'static str {
    let is = |wanted: &[u8], value: &[u8]| {
        pairs(settings).any(|(name, found)| name == wanted && found == value)
    };
    if is(b"evictions", b"off") {
        "noeviction"
    } else if is(b"lru_segmented", b"yes") {
        "segmented-lru"
    } else {
        "lru"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_evicted_is_in_the_settings() {
        assert_eq!(policy(b"STAT evictions on\r\nSTAT lru_segmented yes\r\n"), "segmented-lru");
        assert_eq!(policy(b"STAT evictions off\r\nSTAT lru_segmented yes\r\n"), "noeviction");
        assert_eq!(policy(b"STAT evictions on\r\n"), "lru");
    }

    #[test]
    fn statistics_are_found_by_name() {
        let mut stats = Stats::default();
        stats.read(
            b"STAT pid 7\r\nSTAT version 1.6.18\r\nSTAT rusage_user 1.25\r\nSTAT get_hits x\r\n",
        );
        assert_eq!((stats.get("pid"), &*stats.version), (Some(7), "1.6.18"));
        assert_eq!((stats.get("rusage_user"), stats.get("get_hits")), (Some(1_250_000), None));
        assert_eq!((stats.get("uptime"), stats.get("never")), (None, None));
    }
}
