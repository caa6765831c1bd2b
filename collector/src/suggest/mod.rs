//! Suggests: from what is known of a cache to a change, the evidence for it and the predicted gain.
//!
//! An [`Advisor`] is a pure function of a [`CacheView`] and a [`Context`]. It gives drafts, or says
//! why it has none; whoever looks can see all of it. Drafts pass the [`gates`] and become proposals,
//! with the [track record](flyball_model::record) of their kind and intervals widened by it.
//!
//! What is to be done alike to like servers is then [joined](group), so that it goes in waves.
//!
//! A new advisor is one file here and one line in [`ADVISORS`].
//!
//! Properties, each a test: (a) same inputs, same suggestions, with the same ids, in whatever order the
//! caches come; (b) suggesting again with the first answer in the journal gives nothing new; (c) no two
//! suggestions touch the same parameter of a target; (d) of a cache that is unreachable, stale or a
//! replica nothing is suggested, and the reason is told; (e) every suggestion has evidence, a
//! prediction within its own interval, a risk and a way back.

pub mod balancers;
pub mod big_key;
pub mod by_person;
pub mod cache_size;
pub mod danger;
pub mod draft;
pub mod estimate;
pub mod eviction_policy;
pub mod gates;
pub mod gather;
pub mod group;
pub mod history;
pub mod hot_key;
pub mod limit;
pub mod look;
mod past;
pub mod room;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod ttl;
pub mod view;

use flyball_model::record::{Trial, records, widening};
use flyball_model::rollout::{Proposal, State, Target};
use serde::Serialize;
use utoipa::ToSchema;

use self::draft::Draft;
use self::estimate::CONFIDENCE;
pub use self::look::{Found, LookError, Scope, Suggester};
pub use self::settings::SuggestSettings;
pub use self::view::{CacheView, Recent};

/// Every advisor. Of two drafts that touch the same parameter the first one counts.
pub const ADVISORS: &[&dyn Advisor] = &[
    &danger::Danger,
    &cache_size::CacheSize,
    &eviction_policy::EvictionPolicy,
    &ttl::Ttl,
    &hot_key::HotKey,
    &big_key::BigKey,
];

/// Finds changes of one kind.
pub trait Advisor: std::fmt::Debug + Sync {
    /// What it is about; that of its suggestions, but for dangers.
    fn kind(&self) -> &'static str;

    /// Changes of a cache that are worth it.
    ///
    /// # Errors
    /// Why there are none, in words.
    fn advise(&self, view: &CacheView, context: &Context<'_>) -> Result<Vec<Draft>, String>;
}

/// What an advisor knows besides the cache.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Now, epoch milliseconds.
    pub now_ms: i64,
    /// How good a change must be.
    pub settings: &'a SuggestSettings,
    /// What became of earlier changes.
    pub trials: &'a [Trial],
}

/// What was found, and what was not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Advice {
    /// New suggestions.
    pub proposals: Vec<Proposal>,
    /// Why there are no others.
    pub skipped: Vec<Skipped>,
}

/// Why an advisor has nothing to suggest for a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Skipped {
    /// Id of the target.
    #[schema(example = "redis:web-1:sessions")]
    pub target: String,
    /// What was looked for.
    #[schema(example = "cache.size")]
    pub kind: String,
    /// Why not, in words.
    pub reason: String,
}

impl Context<'_> {
    /// How much wider than by its method an interval has to be for the track record.
    pub fn widening(&self, kind: &str, target: &Target) -> f64 {
        widening(self.trials, kind, &target.id.0, CONFIDENCE)
    }
}

/// Everything that is to be suggested for these caches, and why nothing else is.
pub fn advise(views: &[CacheView], context: &Context<'_>, state: &State) -> Advice {
    let mut advice = Advice::default();
    let mut order: Vec<&CacheView> = views.iter().collect();
    order.sort_by_key(|view| view.target().id);
    for view in order {
        let target = view.target();
        let mut taken: Vec<Draft> = Vec::new();
        for advisor in ADVISORS {
            match advisor.advise(view, context) {
                Ok(drafts) => {
                    for draft in drafts {
                        let kind = draft.kind;
                        if let Err(reason) = admit(draft, &mut taken, &target, context, state) {
                            advice.skip(&target, kind, reason);
                        }
                    }
                }
                Err(reason) => advice.skip(&target, advisor.kind(), reason),
            }
        }
        for draft in taken {
            let records = records(context.trials, draft.record, &target.id.0);
            let proposal = draft.into_proposal(view, records, state.sequence());
            match proposal.check() {
                Ok(()) => advice.proposals.push(proposal),
                Err(bad) => advice.skip(&target, &proposal.kind, bad.to_string()),
            }
        }
    }
    advice
}

impl Advice {
    fn skip(&mut self, target: &Target, kind: &str, reason: String) {
        let (target, kind) = (target.id.0.clone(), kind.to_owned());
        self.skipped.push(Skipped { target, kind, reason });
    }
}

fn admit(
    draft: Draft,
    taken: &mut Vec<Draft>,
    target: &Target,
    context: &Context<'_>,
    state: &State,
) -> Result<(), String> {
    gates::pass(&draft, target, context, state)?;
    if let Some(other) = taken.iter().find(|other| gates::touches(&other.change, &draft.change)) {
        return Err(format!("\"{}\" comes first", other.title));
    }
    taken.push(draft);
    Ok(())
}
