//! The life of a suggestion and of its rollout, as an explicit state machine.
//!
//! ```text
//! suggestion   proposed -> confirmed | rejected | expired
//! rollout      canary <-> validating -> promoted        (canary again for each further wave)
//!              canary | validating -> rolled_back | failed
//! target       free -> busy -> free | cooling | locked;  locked -> free
//! control      running <-> frozen;  running | frozen -> killed | let_go
//! ```
//!
//! [`decide()`] is given the state, an event and the time, and says which [`Transition`]s to append
//! to the journal. Only [`State::apply`] changes a state, so reading the journal again gives the
//! same one, on any collector. What is wanted of each agent ([`State::policy`]) is a function of the
//! state, so after a restart the same is wanted.
//!
//! A change goes into force in bounded steps ([`steps`]), first at the canary ([`canary`]). Each step
//! is held under hard stops; then the judge looks; then the next wave. After the last wave has
//! passed, agents take the values for good (sealing), and when all have, it is promoted. Whatever goes
//! wrong leads to restoring, within the same state: the old values are wanted until every
//! agent has read them back. Then it is rolled back. If they cannot be shown to be in force it has failed, the
//! target is locked, and a person is told; the old values stay wanted.
//!
//! Weights of a pool of load balancers that were promoted stay under control ([`Control`]): they are adjusted
//! further, within the envelope that was confirmed, by rows of their own.
//!
//! Properties, each checked after every event of random sequences, and in every state that is
//! reachable by a small alphabet:
//! - (a) a target has at most one rollout that has not ended;
//! - (b) nothing is promoted unless every wave passed, and agents had the values in force for good;
//! - (c) nothing leaves a final state;
//! - (d) a target has at most `attempts` failures of a kind and is locked when it has so many;
//! - (e) reading the journal again, from any prefix on, gives the same state and the same policies;
//! - (f) a journal that ends anywhere goes on by itself: a restart in every state is harmless;
//! - (g) what an agent rejected is never offered to it again, unless a person unlocks the target;
//! - (h) what is offered is within its bounds, and one step from what was offered before;
//! - (i) while it restores, exactly the old values are wanted of a touched member, but for those that
//!   another hand has set, until it has shown them; after it has rolled back, nothing of this rollout is;
//! - (j) a rollout has rolled back only when every touched member has shown its old values, but for
//!   those;
//! - (k) from every state, time alone leads to a final state;
//! - (l) a second tick at the same time decides nothing;
//! - (n) a promoted value is wanted, whatever is tried beside it, until a rollout changes it or an
//!   agent says that somebody else has; then it never is again by itself;
//! - (m) a revision never falls, and differs when what is wanted differs;
//! - (o) what is pushed was promoted and is neither frozen nor let go; each weight is within the envelope,
//!   no more traffic moves than was confirmed, and each push is from newer windows and a second after the last;
//!   a balancer that may not be set now is left out, and keeps nobody else waiting;
//! - (p) freezing and going on change nothing that is wanted;
//! - (q) after the kill switch exactly the configured weights are wanted of each balancer that was not let
//!   go, whatever else it is owed, until it has shown them or another hand has set others, and then none;
//!   nothing is pushed ever again;
//! - (r) control frees a balancer whose weights another hand has set, or whose agent refuses them, and
//!   freezes with the reason; it never takes it back.

mod advance;
mod apply;
pub mod canary;
mod control;
mod controlled;
mod decide;
mod diagram;
mod due;
mod event;
mod ids;
mod limits;
mod outcome;
mod plan;
mod policy;
mod proposal;
mod push;
mod refusal;
mod shift;
mod state;
pub mod steps;
#[cfg(test)]
mod tests;
mod transition;

pub use self::apply::Misfit;
pub use self::control::{
    BALANCERS, CONTROLLED, Control, Controlled, Envelope, Fit, Frozen, Held, Hold, LastPush, Push,
};
pub use self::decide::{Action, Decision, decide};
pub use self::diagram::{Edge, Machine, TABLE, mermaid};
pub use self::event::{Applied, Event, Interval, Judgement, Outcome, Verdict};
pub use self::ids::{Actor, RolloutId, SuggestionId, Target, TargetId, Values};
pub use self::limits::{AtMaximum, BalancerLimits, InvalidLimits, Limits};
pub use self::plan::{Plan, Planned};
pub use self::policy::{Ask, NodePolicy, Part};
pub use self::proposal::{BadProposal, Candidate, MOST_MEMBERS, Prediction, Proposal};
pub use self::refusal::{Refusal, RefusalClass};
pub use self::shift::{part_of_the_way, shift};
pub use self::state::{
    Attempts, Member, Pause, Phase, Rollout, RolloutState, Standing, State, StepRecord, Suggestion,
    SuggestionStatus, TargetBook,
};
pub use self::steps::{Bound, Change, MOST_STEPS, StepError};
pub use self::transition::{Cause, Move, Subject, Transition};
