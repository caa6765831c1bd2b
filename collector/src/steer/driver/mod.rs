//! Drives rollouts: one task owns the state, decides with the machine of [`flyball_model::rollout`],
//! and appends what it decided to the [journal](super::journal).
//!
//! ```text
//! persons, advisors --+                    +--> journal (compare and append)
//! agents' outcomes ---+--> decide(state) --+
//! judge, hard stops --+        ^           +--> policies wanted of each agent, events
//! time ---------------+        +-- rows that were appended, by us or by another collector
//! ```
//!
//! Any collector may drive any rollout, and several do at once: each decides on the state that it has
//! read, and of two that append the same number one wins; the other one reads what was decided and decides
//! anew. So every transition happens once, and a restart at any moment goes on with what the journal says.
//! Nothing else is kept, but for how long something was seen and what agents predicted lately; both only
//! delay or widen what is decided.
//!
//! While the journal cannot be read, or is broken, nothing is decided and nothing is offered to agents, so
//! that canaries end.

mod alarms;
mod balancers;
mod counts;
mod desk;
mod foresight;
mod judging;
mod measure;
mod offers;
mod rounds;
mod settings;
mod stops;
mod trial;
mod words;

use std::sync::Arc;

use flyball_model::journal::Head;
use flyball_model::rollout::{
    Event, Held, Limits, Proposal, Push, Refusal, RolloutId, State, SuggestionId,
};
use tokio::sync::{mpsc, oneshot, watch};

use self::desk::{Command, Desk};
pub use self::foresight::Foresight;
pub use self::settings::{JudgeSettings, validate_rollout};
pub use self::trial::{Asked, HIT_RATIO, Measured, Span, trial_of};
use super::journal::{Health, Journal};
use super::watch::{PolicyTable, Steering};
use crate::account::Accounts;
use crate::balancers::watch::PoolWatch;
use crate::live::Live;

/// Commands that may wait; further callers wait for room.
const WAITING: usize = 64;

/// What the driver is made of.
#[derive(Debug)]
pub struct DriverParts {
    /// Where decisions are.
    pub journal: Journal,
    /// Whom it steers.
    pub steering: Steering,
    /// Where it says what is wanted; the one that `steering` reads.
    pub policies: PolicyTable,
    /// What balancers count.
    pub pools: PoolWatch,
    /// Where alerts are told.
    pub accounts: Accounts,
    /// Where events are told.
    pub live: Live,
    /// Time limits, attempts and shares of new rollouts.
    pub limits: Limits,
    /// How changes are judged.
    pub judge: JudgeSettings,
    /// Nobody else appends to the journal.
    pub is_alone: bool,
}

/// What the journal says now.
#[derive(Debug, Clone)]
pub struct View {
    /// Suggestions, rollouts and targets.
    pub state: State,
    /// Where the journal ends.
    pub head: Head,
    /// Number of its first row; 0: there is none.
    pub first: u64,
    /// How it is.
    pub health: Health,
    /// What was odd about rows that were read.
    pub odd: Vec<String>,
}

/// Why something was not decided.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// It may not happen now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Only people can carry it out.
    #[error(
        "nobody but people can carry out suggestion {0}: do it and reject the suggestion with a note"
    )]
    ByHand(SuggestionId),
    /// One that touches the same parameters of a target waits.
    #[error("suggestion {0} waits for a decision")]
    Open(SuggestionId),
    /// The journal did not take it, or it is not known whether it did.
    #[error("the journal {0}")]
    Journal(String),
    /// The collector is stopping.
    #[error("the collector is stopping")]
    Stopping,
}

/// What became of proposals.
#[derive(Debug, Clone, Default)]
pub struct Proposed {
    /// Those that are in the journal now.
    pub taken: Vec<SuggestionId>,
    /// Those that are not, and why.
    pub refused: Vec<(SuggestionId, String)>,
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq)]
pub enum Pushed {
    /// It is in the journal, and since this moment the policies are offered.
    Done {
        /// When they were.
        left_at: std::time::Instant,
        /// Why balancers were left out.
        left_out: Vec<Held>,
    },
    /// It is not, for this reason.
    Held(Held),
}

/// A handle on the task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Driver {
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<Arc<View>>,
}

impl View {
    fn empty() -> Self {
        Self {
            state: State::default(),
            head: Head::default(),
            first: 0,
            health: Health::Reading,
            odd: Vec::new(),
        }
    }
}

impl Driver {
    /// The handle, and the task to spawn: it drives until its token is cancelled.
    pub fn new(parts: DriverParts) -> (Self, DriverTask) {
        let (commands, received) = mpsc::channel(WAITING);
        let (publish, view) = watch::channel(Arc::new(View::empty()));
        let desk = Desk::new(parts, received, publish);
        (Self { commands, view }, DriverTask(desk))
    }

    /// What the journal says now.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Changes with the view.
    pub fn changes(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Has a person's event happen. Gives what the journal says afterwards.
    ///
    /// # Errors
    /// When it may not happen, or the journal does not take it.
    pub async fn person(&self, event: Event) -> Result<Arc<View>, DriveError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Person { event: Box::new(event), reply }).await?;
        answer.await.unwrap_or(Err(DriveError::Stopping))
    }

    /// Takes suggestions into the journal.
    ///
    /// # Errors
    /// When the journal does not take any.
    pub async fn propose(&self, proposals: Vec<Proposal>) -> Result<Proposed, DriveError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Propose { proposals, reply }).await?;
        answer.await.unwrap_or(Err(DriveError::Stopping))
    }

    /// Pushes weights of a pool under control.
    ///
    /// # Errors
    /// When the journal does not take it.
    pub async fn push(&self, push: Push) -> Result<Pushed, DriveError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Push { push: Box::new(push), reply }).await?;
        answer.await.unwrap_or(Err(DriveError::Stopping))
    }

    /// Freezes control that a rollout began, by itself.
    ///
    /// # Errors
    /// When the journal does not take it.
    pub async fn panic(
        &self,
        rollout: RolloutId,
        reason: String,
        inputs: serde_json::Value,
    ) -> Result<(), DriveError> {
        self.person(Event::Panic { rollout, reason, inputs }).await.map(drop)
    }

    async fn ask(&self, command: Command) -> Result<(), DriveError> {
        self.commands.send(command).await.map_err(|_| DriveError::Stopping)
    }
}

/// The task of a [`Driver`].
#[derive(Debug)]
pub struct DriverTask(Desk);

impl DriverTask {
    /// Drives until `ending`.
    pub async fn run(self, ending: tokio_util::sync::CancellationToken) {
        self.0.run(ending).await;
    }
}
