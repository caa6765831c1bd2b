//! A suggestion that a person makes.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use flyball_model::rollout::{Actor, MOST_MEMBERS};
use serde::Deserialize;
use utoipa::ToSchema;

use super::suggestions::unknown;
use crate::api::by::{asked, check_note};
use crate::api::params::{Fields, Params};
use crate::api::{ApiError, AppState};
use crate::query::Violations;
use crate::steer::show::{self, SuggestionBody};
use crate::suggest::by_person::{Wish, WishedPrediction, WishedValue};

/// Longest title, in bytes.
const MAX_TITLE_BYTES: usize = 256;

/// What a person proposes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "describes the body, which is read field by field")]
pub struct WishBody {
    /// Id of the server to change; this or `targets`.
    #[schema(example = "redis:web-1:sessions")]
    pub target: Option<String>,
    /// Ids of several servers that are to change alike, each once: a canary first, then the others in waves.
    pub targets: Option<Vec<String>>,
    /// `cache.size` or `cache.eviction_policy`; what the parameters say when it is not given.
    #[schema(example = "cache.size")]
    pub kind: Option<String>,
    /// Parameters with their new values, each parameter once.
    pub change: Vec<WishedValueBody>,
    /// What is expected; that the hit ratio stays as it is when nothing is given.
    pub prediction: Option<WishedPredictionBody>,
    /// One line; made from the change when it is not given. At most 256 bytes.
    pub title: Option<String>,
    /// Why; it is written down. At most 1024 bytes.
    pub note: Option<String>,
}

/// A parameter with its new value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "describes the body, which is read field by field")]
pub struct WishedValueBody {
    /// As the server calls it.
    #[schema(example = "maxmemory")]
    pub parameter: String,
    /// What is believed to be in force: 409 when it is not.
    #[schema(example = "67108864")]
    pub from: Option<String>,
    /// What is to be, as a text or a whole number.
    #[schema(example = "134217728")]
    pub to: String,
}

/// What is expected of the hit ratio.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "describes the body, which is read field by field")]
pub struct WishedPredictionBody {
    /// Without the change, 0 to 1; measured when it is not given.
    pub before: Option<f64>,
    /// With it, 0 to 1.
    pub after: f64,
    /// Lower end of the interval of `after`; `after` when it is not given.
    pub low: Option<f64>,
    /// Its upper end; `after` when it is not given.
    pub high: Option<f64>,
    /// Share of such intervals that hold what comes; 0.9 when it is not given.
    pub confidence: Option<f64>,
}

/// Proposes a change by hand. It goes the way of every other: bounded by what the agent allows, written down, and confirmed or rejected; then on trial, judged, and promoted or rolled back.
///
/// Agents of all targets must be connected to this collector. 409 when another value is in force than `from` says, or a suggestion for the same parameter waits.
#[utoipa::path(post, path = "/api/performance/suggestions", tag = "steering",
    request_body = WishBody,
    responses((status = 201, body = SuggestionBody)),
)]
pub(in crate::api) async fn propose(
    State(state): State<AppState>,
    params: Params,
    request: Request,
) -> Result<(StatusCode, Json<SuggestionBody>), ApiError> {
    let (by, fields) = asked(&state, params, request).await?;
    let (targets, wish, violations) = read(fields);
    let made = make(&state, &targets, wish, by, violations).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Proposes what a person wishes for a target, or for several alike.
///
/// # Errors
/// When a field is wrong, no agent that is connected has a target, it may not be now, or the journal
/// does not take it.
pub(in crate::api) async fn make(
    state: &AppState,
    targets: &[String],
    wish: Wish,
    by: Actor,
    mut violations: Violations,
) -> Result<SuggestionBody, ApiError> {
    check_note(&wish.note, &mut violations);
    if wish.title.as_ref().is_some_and(|title| title.len() > MAX_TITLE_BYTES) {
        violations.invalid("title", format!("is longer than {MAX_TITLE_BYTES} bytes"));
    }
    if targets.iter().all(String::is_empty) {
        violations.invalid("target", "is missing");
    }
    violations.check()?;
    let wish = Wish { by: by.name.clone(), ..wish };
    let (id, view) = state.0.suggester.wish(targets, &wish, by).await?;
    let found = view.state.suggestion(&id).ok_or_else(|| unknown("suggestion", &id.0))?;
    Ok(show::suggestion(found, true))
}

fn read(mut fields: Fields) -> (Vec<String>, Wish, Violations) {
    let (target, targets) = (fields.text("target"), fields.texts("targets"));
    let kind = fields.text("kind");
    let (title, note) = (fields.text("title"), fields.text("note").unwrap_or_default());
    let (change, prediction) = (fields.objects("change"), fields.object("prediction"));
    let mut violations = fields.finish();
    let targets = which(target, targets, &mut violations);
    let change = change.into_iter().enumerate();
    let change = change.map(|(at, fields)| value(at, fields, &mut violations)).collect();
    let prediction = prediction.map(|fields| expected(fields, &mut violations));
    let wish = Wish { kind, change, prediction, title, note, by: String::new() };
    (targets, wish, violations)
}

/// The one target, or several different ones.
pub(in crate::api) fn which(
    target: Option<String>,
    all: Vec<String>,
    violations: &mut Violations,
) -> Vec<String> {
    if all.is_empty() {
        return target.into_iter().collect();
    }
    let different: BTreeSet<&String> = all.iter().collect();
    if !(2..=MOST_MEMBERS).contains(&all.len()) || different.len() != all.len() {
        violations.invalid("targets", format!("2 to {MOST_MEMBERS} ids, each once"));
    }
    if target.is_some() {
        violations.invalid("targets", "either this or target");
    }
    all
}

fn value(at: usize, mut fields: Fields, violations: &mut Violations) -> WishedValue {
    let (parameter, to) = (fields.text("parameter"), fields.text_or_integer("to"));
    let from = fields.text_or_integer("from");
    let given = [("parameter", parameter.is_some()), ("to", to.is_some())];
    adopt(violations, &format!("change[{at}]"), fields.finish(), &given);
    WishedValue { parameter: parameter.unwrap_or_default(), from, to: to.unwrap_or_default() }
}

fn expected(mut fields: Fields, violations: &mut Violations) -> WishedPrediction {
    let after = fields.number("after");
    let prediction = WishedPrediction {
        before: fields.number("before"),
        after: after.unwrap_or_default(),
        low: fields.number("low"),
        high: fields.number("high"),
        confidence: fields.number("confidence"),
    };
    adopt(violations, "prediction", fields.finish(), &[("after", after.is_some())]);
    prediction
}

/// Takes over what is wrong with an inner object, and which of its fields are missing.
fn adopt(violations: &mut Violations, within: &str, mut inner: Violations, given: &[(&str, bool)]) {
    for (name, is_given) in given {
        if !is_given && inner.fields().iter().all(|field| field.field != *name) {
            inner.invalid(*name, "is missing");
        }
    }
    for field in inner.fields() {
        violations.invalid(format!("{within}.{}", field.field), field.reason.clone());
    }
}
