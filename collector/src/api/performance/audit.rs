//! Who did what, when and from where: the rows of the journal, and whether they are whole.

use axum::Json;
use axum::extract::State;
use flyball_model::journal::Row;
use flyball_model::rollout::Transition;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::params::Params;
use crate::api::{ApiError, AppState};
use crate::query::{QueryError, Violations};
use crate::steer::journal::{Health, Journal, Verified};
use crate::steer::show::{IntervalBody, PredictionBody, TargetBody};
use crate::store::hex;

/// Entries of a page unless told otherwise, and at most.
const USUAL: u64 = 50;
const MOST: u64 = 200;

/// A page of decisions.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AuditAnswer {
    /// The newest first.
    pub entries: Vec<AuditEntry>,
    /// For the next page; null on the last one.
    pub next_cursor: Option<String>,
    /// How the journal is.
    pub journal: JournalBody,
    /// What a check of all rows found; null unless `verify` asked for it.
    pub verified: Option<Verified>,
}

/// How the journal is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JournalBody {
    /// `whole`, `reading`, `away` or `broken`. Nothing is decided unless it is whole.
    #[schema(example = "whole")]
    pub state: String,
    /// Why it is not whole; null when it is.
    pub reason: Option<String>,
    /// Number of the first row that is kept; 0: there is none.
    pub first: u64,
    /// Number of the last one that was read.
    pub last: u64,
    /// Hash of that one, in hexadecimal.
    pub hash: String,
    /// What was odd about rows that were read, the newest last.
    pub odd: Vec<String>,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Place in the chain, from 1.
    pub sequence: u64,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// `suggestion`, `rollout` or `target`.
    #[schema(example = "rollout")]
    pub subject: String,
    /// Its id.
    pub subject_id: String,
    /// What happened, in a word or two, such as `confirmed`, `judged`, `pushed` or `froze`; empty where the row cannot be read.
    #[schema(example = "pushed")]
    pub what: String,
    /// What it was before; empty at first.
    pub from_state: String,
    /// What it is since; the same where only something within the state has changed.
    pub to_state: String,
    /// Who: a person, or `advisor`, `rollout`, `judge` or `agent`.
    pub actor: String,
    /// Where a person's call came from; empty for parts of Flyball.
    pub actor_address: String,
    /// Why, in words.
    pub reason: String,
    /// Kind of the suggestion; empty without one.
    pub kind: String,
    /// What it is about; null without a target.
    pub target: Option<TargetBody>,
    /// Suggestion that it belongs to; empty without one.
    pub suggestion_id: String,
    /// Rollout that it belongs to; empty without one.
    pub rollout_id: String,
    /// The how manieth attempt; 0 without a rollout.
    pub attempt: u8,
    /// What was predicted; null without a prediction.
    pub prediction: Option<PredictionBody>,
    /// What was seen; null unless the judge has looked.
    pub observed: Option<IntervalBody>,
    /// Requests behind that.
    pub observed_samples: u64,
    /// `none`, `pass`, `harm` or `inconclusive`.
    pub verdict: String,
    /// Nodes that it is about.
    pub nodes: Vec<String>,
    /// Revision of the policies; 0 when none is involved.
    pub revision: u64,
    /// Parameters with their old and new values.
    #[schema(value_type = Vec<Object>)]
    pub change: Value,
    /// What it was computed from; null unless `inputs` asked for it.
    #[schema(value_type = Option<Object>)]
    pub inputs: Option<Value>,
    /// Hash of the row before, in hexadecimal; zeros for the first.
    pub prev_hash: String,
    /// SHA-256 of that and of this row, in hexadecimal.
    pub hash: String,
}

/// Every decision that was ever made, the newest first, as rows of a chain in which each carries the hash of the one before.
///
/// With `verify=true` all rows are read and checked: `verified.hash` kept elsewhere shows later whether the chain was made anew.
#[utoipa::path(get, path = "/api/performance/audit", tag = "steering",
    params(
        ("subject" = Option<String>, Query, description = "only what is about this suggestion, rollout or target; its id"),
        ("verify" = Option<bool>, Query, description = "check the whole chain"),
        ("inputs" = Option<bool>, Query, description = "tell what each was computed from"),
        ("limit" = Option<u32>, Query, description = "entries of a page, 1 to 200; 50 without"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, body = AuditAnswer)),
)]
pub(in crate::api) async fn audit(
    State(state): State<AppState>,
    mut params: Params,
) -> Result<Json<AuditAnswer>, ApiError> {
    let subject = params.one("subject").unwrap_or_default();
    let (verify, inputs) = (params.one("verify"), params.one("inputs"));
    let (limit, cursor) = (params.one("limit"), params.one("cursor"));
    let mut violations = params.finish();
    let mut flag = |name: &str, text: Option<String>| match text.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            violations.invalid(name, "must be true or false");
            false
        }
    };
    let (verify, inputs) = (flag("verify", verify), flag("inputs", inputs));
    let ask = Ask { subject, verify, inputs, limit, cursor };
    Ok(Json(answer(&state, ask, violations).await?))
}

/// Which decisions, and what of them.
#[derive(Debug, Default)]
pub(in crate::api) struct Ask {
    /// Only what is about this one.
    pub(in crate::api) subject: String,
    /// Check the whole chain.
    pub(in crate::api) verify: bool,
    /// Tell what each was computed from.
    pub(in crate::api) inputs: bool,
    /// Entries of a page.
    pub(in crate::api) limit: Option<String>,
    /// Where the page begins.
    pub(in crate::api) cursor: Option<String>,
}

/// A page of decisions.
///
/// # Errors
/// When the question is wrong, or the store does not answer.
pub(in crate::api) async fn answer(
    state: &AppState,
    ask: Ask,
    mut violations: Violations,
) -> Result<AuditAnswer, ApiError> {
    let Ask { subject, verify, inputs, limit, cursor } = ask;
    let limit = limit.map_or(Some(USUAL), |limit| limit.parse().ok());
    let limit = limit.filter(|limit| (1..=MOST).contains(limit));
    if limit.is_none() {
        violations.invalid("limit", format!("must be a whole number of 1 to {MOST}"));
    }
    let cursor = cursor.filter(|cursor| !cursor.is_empty());
    let before = cursor.map_or(Some(i64::MAX as u64), |cursor| cursor.parse().ok());
    if before.is_none() {
        violations.invalid("cursor", "not one that this collector gave");
    }
    violations.check()?;
    let limit = limit.unwrap_or(USUAL);
    let before = before.unwrap_or(i64::MAX as u64);
    let rows = state.0.store.newest_decisions(&subject, before, limit + 1).await;
    let mut rows = rows.map_err(QueryError::from)?;
    let more = rows.len() as u64 > limit;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.sequence.to_string());
    let verified = if verify {
        Some(Journal::new(&state.0.store).verify().await.map_err(QueryError::from)?)
    } else {
        None
    };
    let entries = rows.into_iter().map(|row| entry(row, inputs)).collect();
    Ok(AuditAnswer { entries, next_cursor, journal: journal(state), verified })
}

fn journal(state: &AppState) -> JournalBody {
    let view = state.0.driver.view();
    let (word, reason) = match &view.health {
        Health::Whole => ("whole", None),
        Health::Reading => ("reading", Some(view.health.describe())),
        Health::Away { .. } => ("away", Some(view.health.describe())),
        Health::Broken { .. } => ("broken", Some(view.health.describe())),
    };
    JournalBody {
        state: word.to_owned(),
        reason,
        first: view.first,
        last: view.head.sequence,
        hash: hex::encode(&view.head.hash),
        odd: view.odd.clone(),
    }
}

fn entry(row: Row, inputs: bool) -> AuditEntry {
    let json = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    let target = (!row.target_id.is_empty()).then(|| TargetBody {
        id: row.target_id.clone(),
        node: row.target_node.clone(),
        kind: row.target_kind.clone(),
        name: row.target_name.clone(),
    });
    let prediction = prediction(&row);
    let made = Transition::try_from(&row);
    let observed = row.observed_value.zip(row.observed_low).zip(row.observed_high);
    AuditEntry {
        sequence: row.sequence,
        at_ms: row.at_ms,
        subject: row.subject.name().to_owned(),
        subject_id: row.subject_id,
        what: made.map(|made| made.what.name().to_owned()).unwrap_or_default(),
        from_state: row.from_state,
        to_state: row.to_state,
        actor: row.actor,
        actor_address: row.actor_address,
        reason: row.reason,
        kind: row.kind,
        target,
        suggestion_id: row.suggestion_id,
        rollout_id: row.rollout_id,
        attempt: row.attempt,
        prediction,
        observed: observed.map(|((value, low), high)| IntervalBody { value, low, high }),
        observed_samples: row.observed_samples,
        verdict: row.verdict.name().to_owned(),
        nodes: row.nodes,
        revision: row.revision,
        change: json(&row.change),
        inputs: inputs.then(|| json(&row.inputs)),
        prev_hash: hex::encode(&row.prev_hash),
        hash: hex::encode(&row.hash),
    }
}

/// The unit is not a column: it is that of the metric.
fn prediction(row: &Row) -> Option<PredictionBody> {
    Some(PredictionBody {
        metric: row.prediction_metric.clone(),
        before: row.prediction_before?,
        after: row.prediction_after?,
        low: row.prediction_low?,
        high: row.prediction_high?,
        unit: String::new(),
        confidence: row.prediction_confidence?,
    })
}
