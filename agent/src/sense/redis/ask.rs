//! Asking one instance: connects when it has to, with growing pauses, and tells what it got or why there is nothing.
//!
//! In each reading INFO; when the detail is wanted also the commands' statistics, the slow log, latencies and the state of the cluster. A command that is refused takes
//! nothing but its own part away; it is asked for again at the next connection.

use std::time::{Duration, Instant};

use flyball_model::backoff::Backoff;

use super::super::remote::Remote;
use super::detail::Detail;
use crate::redis::{Connection, Error, Info, Instance, Number, State};

/// Pauses between two attempts to connect.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// One instance and the connection to it.
pub(super) struct Asker {
    instance: Instance,
    connection: Option<Connection>,
    backoff: Backoff,
    retry_at: Option<Instant>,
    failure: (State, String),
    refused: Vec<&'static str>,
    /// The connection is new: what was refused may be allowed by now.
    is_new: bool,
}

/// What is asked for, and what came.
#[derive(Debug)]
pub(super) struct Answer {
    /// Also what changes slowly and costs more.
    pub(super) wants_detail: bool,
    /// How the instance is.
    pub(super) state: State,
    /// Why it is not up, in words.
    pub(super) reason: String,
    /// What INFO said; `None`: nothing.
    pub(super) took: Option<Duration>,
    /// What INFO said.
    pub(super) info: Info,
    /// The detail, if it was asked for.
    pub(super) detail: Detail,
    /// Commands that are refused.
    pub(super) refused: Vec<&'static str>,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            wants_detail: false,
            state: State::Unreachable,
            reason: String::new(),
            took: None,
            info: Info::default(),
            detail: Detail::default(),
            refused: Vec::new(),
        }
    }
}

impl Asker {
    pub(super) fn new(instance: Instance) -> Self {
        Self {
            instance,
            connection: None,
            backoff: Backoff::new(RETRY.0, RETRY.1).expect("0 < floor <= cap"),
            retry_at: None,
            failure: (State::Unreachable, String::new()),
            refused: Vec::new(),
            is_new: false,
        }
    }

    /// The connection, or a new one when it is time for it.
    fn connect(&mut self) -> Result<(), ()> {
        if self.connection.is_some() {
            return Ok(());
        }
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Err(());
        }
        match Connection::open(&self.instance) {
            Ok(connection) => {
                self.connection = Some(connection);
                (self.refused, self.is_new) = (Vec::new(), true);
                Ok(())
            }
            Err(error) => {
                self.failed(&error);
                Err(())
            }
        }
    }

    fn failed(&mut self, error: &Error) {
        self.failure = (error.state(), error.to_string());
        // Also after a refusal: a server notes each of them.
        self.connection = None;
        self.retry_at = Some(Instant::now() + self.backoff.next_delay(rand::random()));
    }

    fn read(&mut self, answer: &mut Answer) -> Result<(), Error> {
        let connection = self.connection.as_mut().expect("connected before");
        answer.info.clear();
        let start = Instant::now();
        let reply = connection.call(&[b"INFO"])?;
        answer.took = Some(start.elapsed());
        let text = reply.text().ok_or(Error::Protocol("INFO is no text"))?;
        answer.info.read(text);
        if answer.info.run_id.is_empty() || answer.info.get(Number::Uptime).is_none() {
            answer.took = None;
            return Err(Error::Protocol("INFO has no run_id"));
        }
        let number = |number| answer.info.get(number).map_or(0, i64::unsigned_abs);
        let limit = if connection.is_local() { number(Number::MaxMemory) } else { 0 };
        self.instance.promised().set(limit, number(Number::Used));
        self.backoff.reset();
        self.retry_at = None;
        let is_loading = answer.info.get(Number::Loading) == Some(1);
        if answer.wants_detail && !is_loading {
            answer.detail.read(connection, &mut answer.info, &mut self.refused)?;
        }
        (answer.state, answer.reason) = if is_loading {
            (State::Loading, "it reads its data from the disk".to_owned())
        } else {
            (State::Up, String::new())
        };
        Ok(())
    }
}

impl Remote for Asker {
    type Answer = Answer;

    fn ask(&mut self, answer: &mut Answer) {
        answer.took = None;
        answer.detail.clear();
        let is_connected = self.connect().is_ok();
        if is_connected && let Err(error) = self.read(answer) {
            // Half of an answer is none.
            answer.took = None;
            self.failed(&error);
            (answer.state, answer.reason) = self.failure.clone();
        } else if !is_connected {
            (answer.state, answer.reason) = self.failure.clone();
        }
        answer.refused.clone_from(&self.refused);
        if std::mem::take(&mut self.is_new) && self.connection.is_some() {
            tracing::debug!(cache = self.instance.name(), "connected");
        }
    }
}
