//! A model of ClickHouse behind the collector's [`Sink`]: it keeps what the real one would keep, and fails as the real one can be made to.
//!
//! A block is applied whole or not at all. A block whose token is among the last 1,000 of its table is dropped and answered like an accepted one. A row's
//! identity is (series_id, timestamp), as ReplacingMergeTree and every query have it. Requests travel: one that a collector sent before it died
//! or gave up waiting may be applied later, and an answer may be lost after the block was applied.

mod tables;
mod weather;

use std::sync::Arc;
use std::time::Duration;

use flyball_collector::ingest::Sink;
use flyball_collector::store::{LateMark, SampleRow, SeriesRow, StoreError};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::tables::Block;
pub(crate) use self::tables::{Found, Tables, key_of};
use self::weather::Fate;
pub(crate) use self::weather::Weather;
use crate::trace;

/// How long a collector waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The database. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Database(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    mode: watch::Sender<Mode>,
}

struct State {
    tables: Tables,
    weather: Weather,
    rng: StdRng,
}

/// Whether the database works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Up,
    /// Stopped by a signal: requests are taken and nothing happens.
    Paused,
    /// Not there; what it was doing is lost.
    Down,
}

/// A collector's connection to the database.
#[derive(Clone)]
pub(crate) struct Client {
    database: Database,
    collector: String,
    /// The collector's process has been killed: nothing reaches it any more and it does nothing.
    killed: CancellationToken,
}

impl Database {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let state = State { tables: Tables::default(), weather: Weather::default(), rng };
        Self(Arc::new(Shared { state: Mutex::new(state), mode: watch::Sender::new(Mode::Up) }))
    }

    /// A connection of `collector` that ends when it is killed.
    pub(crate) fn client(&self, collector: &str, killed: CancellationToken) -> Client {
        Client { database: self.clone(), collector: collector.to_owned(), killed }
    }

    /// Reads or checks what is stored.
    pub(crate) fn tables<T>(&self, read: impl FnOnce(&mut Tables) -> T) -> T {
        read(&mut self.0.state.lock().tables)
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.0.state.lock().weather = weather;
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.0.mode.send_replace(mode);
    }

    /// All series, as a collector reads them when it starts; `None` while the database does not answer.
    pub(crate) fn load_series(&self) -> Option<Vec<SeriesRow>> {
        (*self.0.mode.borrow() == Mode::Up).then(|| self.tables(|tables| tables.series()))
    }

    /// Takes a request in and does what its fate is.
    async fn request(&self, collector: String, block: Block) -> Result<(), StoreError> {
        if *self.0.mode.borrow() == Mode::Down {
            return Err(weather::unreachable());
        }
        let fate = {
            let state = &mut *self.0.state.lock();
            state.tables.note_attempt(&collector, &block);
            state.weather.fate(&mut state.rng)
        };
        let (answer, answered) = oneshot::channel();
        match fate {
            Fate::Refuse(error) => {
                trace::line("db", format_args!("refuses {block} of {collector}: {error}"));
                sleep(Duration::from_millis(2)).await;
                return Err(error);
            }
            Fate::Accept { before, after, is_answer_lost } => {
                let database = self.clone();
                tokio::spawn(async move {
                    let Some(()) = database.work(before).await else { return };
                    database.tables(|tables| tables.apply(&collector, block));
                    if is_answer_lost {
                        trace::line("db", format_args!("loses an answer to {collector}"));
                        return;
                    }
                    if database.work(after).await.is_some() {
                        // The collector may have stopped waiting.
                        let _ = answer.send(());
                    }
                });
            }
        }
        match timeout(TIMEOUT, answered).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(weather::cut_off()),
            Err(_) => Err(StoreError::Timeout { timeout_ms: TIMEOUT.as_millis() as u64 }),
        }
    }

    /// Spends `time` of work; none passes while the database is paused, and it ends when the database dies.
    async fn work(&self, time: Duration) -> Option<()> {
        let mut mode = self.0.mode.subscribe();
        tokio::select! {
            biased;
            Ok(_) = mode.wait_for(|mode| *mode == Mode::Down) => return None,
            () = sleep(time) => {}
        }
        let mode = *mode.wait_for(|mode| *mode != Mode::Paused).await.ok()?;
        (mode == Mode::Up).then_some(())
    }
}

impl Client {
    async fn insert(&self, block: Block) -> Result<(), StoreError> {
        let request = self.database.request(self.collector.clone(), block);
        tokio::select! {
            biased;
            () = self.killed.cancelled() => std::future::pending().await,
            result = request => result,
        }
    }
}

impl Sink for Client {
    async fn insert_series(&self, rows: &[SeriesRow], token: &str) -> Result<(), StoreError> {
        self.insert(Block::series(rows, token)).await
    }

    async fn insert_samples(&self, rows: &[SampleRow], token: &str) -> Result<(), StoreError> {
        if let Some(other) = rows.iter().find(|row| row.hour() != rows[0].hour()) {
            return Err(StoreError::MixedHours { first: rows[0].hour(), other: other.hour() });
        }
        self.insert(Block::samples(rows, token)).await
    }

    async fn insert_late_marks(&self, marks: &[LateMark], id: u64) -> Result<(), StoreError> {
        self.insert(Block::marks(marks, id)).await
    }
}

/// A number from 0 to 1.
fn share(rng: &mut StdRng) -> f64 {
    rng.random()
}
