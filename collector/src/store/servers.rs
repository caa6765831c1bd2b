//! The ClickHouse servers that may be asked, and which of them is.
//!
//! With a cluster every server gives the same answers, so one is used until it fails; then the next one that is not known to fail. There is no way back on
//! recovery: a move costs connections and warm caches, and brings nothing. Collectors begin at different servers. Failures are learned from requests, and
//! from a probe that asks every server from time to time, so that a server is known to be back before it is needed.
//!
//! A request may go to another server only when that changes nothing but who answers: reads, statements that are idempotent, and inserts, which carry
//! the same token wherever they go (docs/clickhouse-cluster.md says what that rests on).

use std::sync::Arc;
use std::time::{Duration, Instant};

use clickhouse::Client;
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::error::{Blame, StoreError};
use super::within;
use crate::live::now_ms;

/// Longest that a probe waits for an answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two looks at whether a probe is due.
const PROBE_PERIOD: Duration = Duration::from_secs(1);
/// Servers that do not fail are probed at every so many looks: each probe costs 3 to 4 ms of CPU there.
const HEALTHY_EVERY: u32 = 5;

/// Clients of all servers, and what is known of their health. Clones share the health.
#[derive(Clone)]
pub struct Servers {
    clients: Arc<[Client]>,
    state: Arc<State>,
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHealth {
    /// Its URL.
    pub url: String,
    /// Whether requests go to it now.
    pub in_use: bool,
    /// How long it took to answer the last probe.
    pub answered_in: Option<Duration>,
    /// Why it cannot be used, if so.
    pub failure: Option<ServerFailure>,
}

/// Why a server cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFailure {
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// The last error.
    pub error: String,
}

/// A server that was chosen for one request.
#[derive(Debug)]
pub struct Choice<'a> {
    /// For the request.
    pub client: Client,
    index: usize,
    state: &'a State,
}

#[derive(Debug)]
struct State {
    urls: Vec<String>,
    board: Mutex<Board>,
}

#[derive(Debug)]
struct Board {
    used: usize,
    failures: Vec<Option<ServerFailure>>,
    answered_in: Vec<Option<Duration>>,
}

impl Servers {
    /// Servers by URL and client, at least one. The one at `first` (modulo their number) is used first.
    pub(super) fn new(servers: Vec<(String, Client)>, first: usize) -> Self {
        let (urls, clients): (Vec<_>, Vec<_>) = servers.into_iter().unzip();
        let board = Board {
            used: first % urls.len(),
            failures: vec![None; urls.len()],
            answered_in: vec![None; urls.len()],
        };
        Self { clients: clients.into(), state: Arc::new(State { urls, board: Mutex::new(board) }) }
    }

    /// The same servers, asked with one more setting.
    #[must_use]
    pub fn with_setting(&self, name: &str, value: &str) -> Self {
        let clients = self.clients.iter().map(|client| client.clone().with_setting(name, value));
        Self { clients: clients.collect(), state: Arc::clone(&self.state) }
    }

    /// A client of the server that is used now. For one request: the next one may go to another server.
    pub fn client(&self) -> Client {
        self.choose().client
    }

    /// Chooses the server that is used now; [`Choice::settle`] is to be told what came of the request.
    pub fn choose(&self) -> Choice<'_> {
        let index = self.state.board.lock().used;
        Choice { client: self.clients[index].clone(), index, state: &self.state }
    }

    /// Sends a request, and on a failure that another server may not have, to each other server once. Only for requests that may run twice.
    ///
    /// # Errors
    /// The last server's.
    pub async fn ask<T, F>(&self, request: impl Fn(Client) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut left = self.clients.len();
        loop {
            let choice = self.choose();
            let result = request(choice.client.clone()).await;
            let goes_elsewhere = choice.settle(&result);
            left -= 1;
            if left == 0 || !goes_elsewhere {
                return result;
            }
        }
    }

    /// Probes the server that is used now, or else the others.
    ///
    /// # Errors
    /// When none answers within 2 s.
    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        let mut left = self.count();
        loop {
            let index = self.state.board.lock().used;
            let result = self.probe(index).await;
            left -= 1;
            if left == 0 || result.is_ok() {
                return result;
            }
        }
    }

    /// Number of servers.
    pub fn count(&self) -> usize {
        self.clients.len()
    }

    /// All servers, for statements that each of them has to run itself.
    pub(super) fn all(&self) -> Vec<Choice<'_>> {
        let choice = |(index, client): (usize, &Client)| Choice {
            client: client.clone(),
            index,
            state: &self.state,
        };
        self.clients.iter().enumerate().map(choice).collect()
    }

    /// How every server is, in the order of the configuration.
    pub fn health(&self) -> Vec<ServerHealth> {
        let board = self.state.board.lock();
        let server = |(index, url): (usize, &String)| ServerHealth {
            url: url.clone(),
            in_use: index == board.used,
            answered_in: board.answered_in[index],
            failure: board.failures[index].clone(),
        };
        self.state.urls.iter().enumerate().map(server).collect()
    }

    /// Probes the servers until `shutdown`, so that their health is known without traffic.
    pub(super) async fn watch(self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(PROBE_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for look in 0_u32.. {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            for (index, server) in self.health().into_iter().enumerate() {
                if server.failure.is_some() || look.is_multiple_of(HEALTHY_EVERY) {
                    // What came of it is on the board.
                    let _ = self.probe(index).await;
                }
            }
        }
    }

    async fn probe(&self, index: usize) -> Result<(), StoreError> {
        let start = Instant::now();
        let query = self.clients[index].query("SELECT 1");
        let result = within(PROBE_TIMEOUT, async { query.fetch_one::<u8>().await }).await;
        self.state.settle(index, &result);
        self.state.board.lock().answered_in[index] = result.is_ok().then(|| start.elapsed());
        result.map(drop)
    }
}

/// The servers in words, which say which one is used: `Err` when that one fails.
///
/// # Errors
/// What is wrong, in words.
pub fn describe(servers: &[ServerHealth], now_ms: i64) -> Result<String, String> {
    let words = |server: &ServerHealth| match (&server.failure, server.answered_in) {
        (Some(failure), _) => {
            let seconds = (now_ms - failure.since_ms) / 1_000;
            format!("{} fails for {seconds} s: {}", server.url, failure.error)
        }
        (None, Some(time)) => {
            format!("{} answers in {:.1} ms", server.url, time.as_secs_f64() * 1_000.0)
        }
        (None, None) => format!("{} was not asked yet", server.url),
    };
    let (used, others): (Vec<_>, Vec<_>) = servers.iter().partition(|server| server.in_use);
    let fails = used.iter().any(|server| server.failure.is_some());
    let used = used.into_iter().map(words);
    let others = others.into_iter().map(|server| format!("not in use: {}", words(server)));
    let text = used.chain(others).collect::<Vec<_>>().join("; ");
    if fails { Err(text) } else { Ok(text) }
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Choice<'_> {
    /// URL of the server.
    pub fn url(&self) -> &str {
        &self.state.urls[self.index]
    }

    /// Takes note of what came of the request. True when the next server may do better.
    pub fn settle<T>(&self, result: &Result<T, StoreError>) -> bool {
        self.state.settle(self.index, result)
    }
}

impl State {
    /// True when the failure may not be there on another server.
    fn settle<T>(&self, index: usize, result: &Result<T, StoreError>) -> bool {
        match result {
            Ok(_) => self.answered(index),
            Err(error) => match error.blame() {
                Blame::Server => self.failed(index, error),
                Blame::Cluster => self.board.lock().leave(index),
                Blame::Request => self.answered(index),
            },
        }
        result.as_ref().is_err_and(|error| error.blame() != Blame::Request)
    }

    fn answered(&self, index: usize) {
        let failure = self.board.lock().failures[index].take();
        if let Some(failure) = failure {
            let outage_ms = now_ms() - failure.since_ms;
            tracing::info!(url = self.urls[index], outage_ms, "clickhouse server answers again");
        }
    }

    fn failed(&self, index: usize, error: &StoreError) {
        let error = error.to_string();
        let mut board = self.board.lock();
        let known = board.failures[index].as_ref().map(|failure| failure.since_ms);
        board.failures[index] =
            Some(ServerFailure { since_ms: known.unwrap_or_else(now_ms), error: error.clone() });
        board.leave(index);
        let used = &self.urls[board.used];
        if known.is_none() {
            tracing::warn!(url = self.urls[index], error, used, "clickhouse server fails");
        }
    }
}

impl Board {
    /// If `index` is used: uses the next one that is not known to fail, or else just the next one.
    fn leave(&mut self, index: usize) {
        if self.used != index {
            return;
        }
        let count = self.failures.len();
        let mut others = (1..count).map(|step| (index + step) % count);
        let healthy = others.clone().find(|&other| self.failures[other].is_none());
        self.used = healthy.or_else(|| others.next()).unwrap_or(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(first: usize) -> Servers {
        let client = |url: &str| (url.to_owned(), Client::default().with_url(url));
        Servers::new(["http://a", "http://b", "http://c"].map(client).to_vec(), first)
    }

    fn unreachable() -> StoreError {
        StoreError::Timeout { timeout_ms: 1 }
    }

    fn refused() -> StoreError {
        let text = "Code: 117. DB::Exception: Incorrect data".to_owned();
        clickhouse::error::Error::BadResponse(text).into()
    }

    fn used(servers: &Servers) -> usize {
        servers.health().iter().position(|server| server.in_use).unwrap()
    }

    #[test]
    fn a_server_is_used_until_it_fails_and_then_the_next_that_does_not() {
        let servers = servers(4);
        assert_eq!(used(&servers), 1, "4 modulo 3");
        let choice = servers.choose();
        assert!(!choice.settle(&Ok(())));
        assert!(!choice.settle::<()>(&Err(refused())), "it answers, and the request is wrong");
        assert_eq!(used(&servers), 1);
        assert!(choice.settle::<()>(&Err(unreachable())));
        assert_eq!(used(&servers), 2);
        // A second failure of a request that had gone to the old server moves nothing.
        assert!(choice.settle::<()>(&Err(unreachable())));
        assert_eq!(used(&servers), 2);
        servers.choose().settle::<()>(&Err(unreachable()));
        assert_eq!(used(&servers), 0);
        // All fail: the next one is tried all the same.
        servers.choose().settle::<()>(&Err(unreachable()));
        assert_eq!(used(&servers), 1);
        assert!(servers.health().iter().all(|server| server.failure.is_some()));
        choice.settle(&Ok(()));
        let health = servers.health();
        assert_eq!((health[1].failure.as_ref(), health[1].in_use), (None, true));
    }

    #[test]
    fn the_time_of_a_failure_is_that_of_the_first() {
        let servers = servers(0);
        let choice = servers.choose();
        choice.settle::<()>(&Err(unreachable()));
        let first = servers.health()[0].failure.clone().unwrap();
        choice.settle::<()>(&Err(StoreError::Timeout { timeout_ms: 2 }));
        let second = servers.health()[0].failure.clone().unwrap();
        assert_eq!(second.since_ms, first.since_ms);
        assert!(first.error.contains("1 ms") && second.error.contains("2 ms"));
    }

    #[test]
    fn the_words_name_every_server_and_begin_with_the_one_in_use() {
        let servers = servers(1);
        servers.state.board.lock().answered_in[1] = Some(Duration::from_micros(1_250));
        let text = describe(&servers.health(), 0).unwrap();
        let expected = "http://b answers in 1.2 ms; not in use: http://a was not asked yet; not in use: http://c was not asked yet";
        assert_eq!(text, expected);
        servers.choose().settle::<()>(&Err(unreachable()));
        let since_ms = servers.health()[1].failure.as_ref().unwrap().since_ms;
        let text = describe(&servers.health(), since_ms + 2_500).unwrap();
        assert!(text.starts_with("http://c was not asked yet; not in use: http://a"), "{text}");
        assert!(text.ends_with("http://b fails for 2 s: ClickHouse did not answer within 1 ms"));
        servers.choose().settle::<()>(&Err(unreachable()));
        servers.choose().settle::<()>(&Err(unreachable()));
        assert!(describe(&servers.health(), 0).is_err(), "the one in use fails");
    }

    #[tokio::test]
    async fn a_request_goes_to_every_server_at_most_once() {
        let servers = servers(0);
        let asked = Mutex::new(0);
        let ask = servers.ask(|_| async {
            *asked.lock() += 1;
            Err::<(), _>(unreachable())
        });
        ask.await.unwrap_err();
        assert_eq!(*asked.lock(), 3);
        *asked.lock() = 0;
        let ask = servers.ask(|_| async {
            *asked.lock() += 1;
            Err::<(), _>(refused())
        });
        ask.await.unwrap_err();
        assert_eq!(*asked.lock(), 1, "no other server knows better");
    }
}
