//! Flags of the commands about caches and what is changed in them, with their examples.

use clap::{Args, ValueEnum};

pub(super) const CACHES_EXAMPLES: &str = "\
Examples:
  flyball caches
      every cache, those in trouble first
  flyball caches sessions
      one of them, with its hit ratio by size as a picture, why requests miss and the keys that stand out
  flyball caches 'web-*' --sort hit
      those on the web nodes, the one that misses most first
  flyball --output json caches | jq '.caches[] | {id, hit_ratio, curve}'
      for programs: what the API answers

A pattern is compared with the name, the node and the id. MISSES is the most frequent cause: capacity (evicted for
want of room: more memory helps), expired, invalidated (deleted), cold (asked for the first time: nothing helps).
CURVE is the hit ratio from the smallest to the largest size that was measured.";

pub(super) const OPTIMIZE_EXAMPLES: &str = "\
Examples:
  flyball optimize
      what would do the fleet good, and of each target why nothing else
  flyball optimize --target sessions --dry-run
      only try: nothing is written down, nothing can be confirmed
  flyball optimize && flyball suggestions --status proposed
      look, then all that waits for a decision

Looking changes nothing. A suggestion is carried out only when a person confirms it.";

pub(super) const PROPOSE_EXAMPLES: &str = "\
Examples:
  flyball propose sessions maxmemory=128mb --note 'for the sale'
      a suggestion like any other; nothing changes until it is confirmed
  flyball propose sessions maxmemory=48mb --expect 88%..92% --note 'give memory back'
      judged by what you expect, not by the hit ratio of before
  flyball propose 'redis:*:sessions' maxmemory=128mb
      the caches of this name on all nodes at once: one suggestion, which changes one first, then the others in waves
  flyball propose redis:web-1:sessions redis:web-2:sessions maxmemory=128mb
      these two
  flyball propose redis:web-1:sessions maxmemory-policy=allkeys-lfu --from maxmemory-policy=allkeys-lru
      refused when somebody has set something else in the meantime
  flyball confirm \"$(flyball -o json propose sessions maxmemory=128mb | jq -r .id)\" --watch
      ask and confirm at once

What can be set, and how far, is for the agent's own file to say: `flyball policies` tells where anything may be set,
a refusal what and how far. Sizes are written as for Redis: 128mb is 128 MiB, 128m is 128 million bytes. The value in
force now is what a rollback goes back to. A change goes in small steps, on trial, and is taken back by itself when
the hit ratio falls below what is expected: that of before, unless --expect says otherwise.";

pub(super) const SUGGESTIONS_EXAMPLES: &str = "\
Examples:
  flyball suggestions
      the newest first, whatever became of them
  flyball suggestions --status proposed --target sessions
      those of one cache that wait for a decision, also where it is one of several
  flyball --output json suggestions --status proposed | jq -r '.suggestions[].id'
      for programs

PROMISE is the value that is measured now and the one that is expected, with the interval that holds it in 9 of 10
cases. Caches that are to change alike are one suggestion; TARGET says on how many nodes, and `flyball show ID` lists
each with its values. It also tells what shows it, what can go wrong and how it is undone.";

pub(super) const SHOW_EXAMPLES: &str = "\
Examples:
  flyball show s-1f3a5c7e9b0d2f46
      a suggestion: evidence, promise, risk, undo, track record, and the measured hit ratio by size
  flyball show r-1f3a5c7e9b0d2f46
      a rollout: what happened when, and what was seen against what was promised; of several caches the state of
      each, and which change together in which wave, compared with which that have not changed yet
  flyball show r-1f3a5c7e9b0d2f46 --watch
      the same, then every change until it has ended

With --watch the exit code is 0 when the change was promoted and 1 when it was taken back.";

pub(super) const CONFIRM_EXAMPLES: &str = "\
Examples:
  flyball confirm s-1f3a5c7e9b0d2f46 --note 'agreed with the team'
      the change begins at once: in bounded steps, judged, and taken back by itself when it does harm
  flyball confirm s-1f3a5c7e9b0d2f46 --watch && echo 'it stays'
      follow it until it has ended
  flyball --output json confirm s-1f3a5c7e9b0d2f46 --watch | jq -r .state
      a line for each change of the rollout

With --watch the exit code is 0 when the change was promoted and 1 when it was taken back. Ctrl-C ends the watching and
not the rollout: `flyball show ID --watch` goes on, `flyball rollback ID` takes it back.";

pub(super) const REJECT_EXAMPLES: &str = "\
Examples:
  flyball reject s-1f3a5c7e9b0d2f46 --note 'the host is to be replaced'
      nothing changes; the same is not suggested again for 30 days, unless the value in force changes
  flyball reject s-1f3a5c7e9b0d2f46 --note 'done by hand'
      for what only people can carry out";

pub(super) const ROLLOUTS_EXAMPLES: &str = "\
Examples:
  flyball rollouts
      the newest first, whatever became of them
  flyball rollouts --status validating
      those that the judge looks at
  flyball rollouts --target sessions
      all that was ever changed in one cache

States: canary the values go into force step by step; validating they are in force and judged; promoted they stay;
rolled_back the old ones were read back; failed it is not known what is in force: look, then `flyball unlock TARGET`.
Of several caches the canary changes first, then the others in waves; harm in any wave takes all of them back.";

pub(super) const ROLLBACK_EXAMPLES: &str = "\
Examples:
  flyball rollback r-1f3a5c7e9b0d2f46 --note 'latency alarm'
      the old values go back into force now; it counts as a failed attempt
  flyball rollback r-1f3a5c7e9b0d2f46 --watch
      until they have been read back

With --watch the exit code is 0 when the old values are in force again.";

pub(super) const PAUSE_EXAMPLES: &str = "\
Examples:
  flyball pause r-1f3a5c7e9b0d2f46 --note 'wait for the release'
      what is in force stays so and is still taken back when it does harm; it goes no further until it is resumed";

pub(super) const RESUME_EXAMPLES: &str = "\
Examples:
  flyball resume r-1f3a5c7e9b0d2f46
      it goes on from where it was paused";

pub(super) const UNLOCK_EXAMPLES: &str = "\
Examples:
  flyball unlock redis:web-1:sessions --note 'looked: 64mb is in force'
      new attempts are allowed again. First look which values are in force there: `flyball policies`
  flyball unlock redis:web-1:sessions --note 'maxmemory is allowed now'
      values that its agent has rejected may be offered to it again: mend first why it did
  flyball unlock sessions
      the name will do where no other cache has it

Of several caches that changed together each is unlocked by itself; `flyball show r-...` says which are locked.";

pub(super) const POLICIES_EXAMPLES: &str = "\
Examples:
  flyball policies
      what is wanted of each node and what is in force there
  flyball policies --node web-1
      of one node
  flyball --output json policies | jq '.policies[] | select(.reason)'
      those where the two differ

RESULT is the agent's word: applied (read back), applying, rejected, reverted, drifted (somebody else has changed it).";

pub(super) const AUDIT_EXAMPLES: &str = "\
Examples:
  flyball audit
      who decided what, when, from where and why, the newest first
  flyball audit --subject r-1f3a5c7e9b0d2f46
      the life of one rollout
  flyball audit --verify
      is the chain of hashes whole; exit code 1 when it is not. The hash kept elsewhere shows later whether the chain
      was made anew
  flyball --output json audit --inputs --limit 200
      with all that each decision was computed from";

/// `flyball caches`
#[derive(Debug, Default, Args)]
pub(crate) struct CachesArgs {
    /// Only caches with one of these names, nodes or ids; * stands for any text. One that is named is shown in full.
    #[arg(value_name = "CACHE")]
    pub patterns: Vec<String>,
    /// What comes first.
    #[arg(long, value_name = "KEY", default_value = "state")]
    pub sort: CacheSort,
}

/// Order of caches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CacheSort {
    /// Those that are not up, then by name.
    #[default]
    State,
    /// By name.
    Name,
    /// The lowest hit ratio.
    Hit,
    /// The most requests.
    Requests,
    /// The most memory.
    Memory,
    /// The most evictions.
    Evictions,
}

/// `flyball optimize`
#[derive(Debug, Args)]
pub(crate) struct OptimizeArgs {
    /// What to look at.
    #[arg(long, value_name = "SCOPE", default_value = "all")]
    pub scope: Scope,
    /// Only this target: its id, or the name of a cache.
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// Only try: nothing is written down.
    #[arg(long)]
    pub dry_run: bool,
}

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// Everything.
    All,
    /// Caches.
    Cache,
    /// Load balancers.
    #[value(name = "load_balancer", alias = "load-balancer")]
    LoadBalancer,
    /// Hosts.
    Host,
}

impl Scope {
    /// As the API calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Cache => "cache",
            Self::LoadBalancer => "load_balancer",
            Self::Host => "host",
        }
    }
}

/// `flyball propose`
#[derive(Debug, Args)]
#[command(override_usage = "flyball propose [OPTIONS] <TARGET>... <PARAMETER=VALUE>...")]
pub(crate) struct ProposeArgs {
    /// What to change: the id of a target, or the name of a cache; of several, each or a pattern: * stands for any text.
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// What it is to be, for example maxmemory=128mb; all of them are changed together. What has no = is one more target.
    #[arg(value_name = "PARAMETER=VALUE", required = true)]
    pub words: Vec<String>,
    /// Only if this is in force; repeat it for more.
    #[arg(long, value_name = "PARAMETER=VALUE")]
    pub from: Vec<String>,
    /// Hit ratio that you expect, 92%, or an interval, 90%..94% [default: it stays as it is].
    #[arg(long, value_name = "SHARE")]
    pub expect: Option<String>,
    /// One line that names it [default: the change in words].
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// Why; it is written down with the suggestion.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub note: String,
}

/// `flyball suggestions`
#[derive(Debug, Args)]
pub(crate) struct SuggestionsArgs {
    /// Only those that are proposed, confirmed, rejected or expired.
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
    /// Only those of this kind, for example cache.size.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Only those of this target: its id, or the name of a cache.
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// Only so many, 1 to 200.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    pub limit: u32,
}

/// `flyball rollouts`
#[derive(Debug, Args)]
pub(crate) struct RolloutsArgs {
    /// Only those in this state: canary, validating, promoted, `rolled_back` or failed.
    #[arg(long, value_name = "STATE")]
    pub status: Option<String>,
    /// Only those of suggestions of this kind.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Only those of this target: its id, or the name of a cache.
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// Only so many, 1 to 200.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    pub limit: u32,
}

/// `flyball show`
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Id of a suggestion (s-...) or a rollout (r-...).
    #[arg(value_name = "ID")]
    pub id: String,
    /// Follow the rollout until it has ended.
    #[arg(long)]
    pub watch: bool,
}

/// `flyball confirm` and `flyball rollback`
#[derive(Debug, Args)]
pub(crate) struct WatchedArgs {
    /// Which.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Why; it is written down with the decision.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub note: String,
    /// Follow the rollout until it has ended.
    #[arg(long)]
    pub watch: bool,
}

/// `flyball reject`, `pause`, `resume`
#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// Which.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Why; it is written down with the decision.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub note: String,
}

/// `flyball unlock`
#[derive(Debug, Args)]
pub(crate) struct UnlockArgs {
    /// Id of the target, or the name of a cache.
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// Why; it is written down with the decision.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub note: String,
}

/// `flyball policies`
#[derive(Debug, Args)]
pub(crate) struct PoliciesArgs {
    /// Only these nodes; repeat it or separate them by commas.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub node: Vec<String>,
}

/// `flyball audit`
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Only what is about this suggestion, rollout or target; its id.
    #[arg(long, value_name = "ID")]
    pub subject: Option<String>,
    /// Check the whole chain of hashes.
    #[arg(long)]
    pub verify: bool,
    /// Tell what each was computed from; only with --output json.
    #[arg(long)]
    pub inputs: bool,
    /// Only so many, 1 to 200.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    pub limit: u32,
}
