//! Suggestions: looking for them, reading them, and a person's word on them.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use flyball_model::rollout::{
    Actor, Event, Limits, Proposal, Suggestion, SuggestionId, SuggestionStatus, decide,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::by::{Id, NoteBody, person};
use crate::api::edge::read_json;
use crate::api::paging::Page;
use crate::api::params::{Fields, Params};
use crate::api::{ApiError, AppState};
use crate::live::now_ms;
use crate::query::{QueryError, Violations};
use crate::steer::driver::View;
use crate::steer::show::{self, RolloutBody, SuggestionBody};
use crate::suggest::by_person::WishError;
use crate::suggest::{LookError, Scope, Skipped};

/// What is to be looked at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "describes the body, which is read field by field")]
pub struct OptimizeBody {
    /// `all`, `cache`, `load_balancer` or `host`.
    #[schema(example = "all")]
    pub scope: Option<String>,
    /// Only this target; its id.
    #[schema(example = "redis:web-1:sessions")]
    pub target: Option<String>,
    /// Only try: nothing is written down, and the suggestions cannot be confirmed.
    pub dry_run: Option<bool>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OptimizeAnswer {
    /// Names this look in the log.
    pub run_id: String,
    /// New suggestions. Those that wait already are among `skipped`.
    pub suggestions: Vec<SuggestionBody>,
    /// Why there are no others, for each target and kind.
    pub skipped: Vec<Skipped>,
}

/// A page of suggestions.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SuggestionsAnswer {
    /// The newest first.
    pub suggestions: Vec<SuggestionBody>,
    /// For the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// Has the advisors look now. Every suggestion comes with its evidence, a prediction and its interval; whatever is not suggested is told with the reason.
///
/// Looks at caches and load balancers whose agents are connected to this collector. There are no advisors for hosts yet.
#[utoipa::path(post, path = "/api/performance/optimize", tag = "steering",
    request_body = OptimizeBody,
    responses((status = 200, body = OptimizeAnswer)),
)]
pub(in crate::api) async fn optimize(
    State(state): State<AppState>,
    params: Params,
    request: Request,
) -> Result<Json<OptimizeAnswer>, ApiError> {
    params.none()?;
    state.0.hosts.check(request.headers())?;
    let mut fields: Fields = read_json(request, state.0.limits.body_bytes).await?;
    let scope = fields.text("scope").unwrap_or_else(|| "all".to_owned());
    let (target, dry) = (fields.text("target"), fields.flag("dry_run").unwrap_or(false));
    Ok(Json(look(&state, scope, target, dry, fields.finish()).await?))
}

/// Looks in `scope`, at one target or at all.
///
/// # Errors
/// When there is no such scope or target, or nothing can be decided at present.
pub(in crate::api) async fn look(
    state: &AppState,
    scope: String,
    target: Option<String>,
    dry: bool,
    mut violations: Violations,
) -> Result<OptimizeAnswer, ApiError> {
    let wanted = match scope.as_str() {
        "all" => Some(Scope::All),
        "cache" => Some(Scope::Caches),
        "load_balancer" => Some(Scope::Balancers),
        "host" => None,
        _ => {
            violations.invalid("scope", "must be all, cache, load_balancer or host");
            None
        }
    };
    violations.check()?;
    let run_id = format!("o-{:016x}", rand::random::<u64>());
    let Some(wanted) = wanted else {
        let reason = format!("there is no advisor for {scope} yet");
        let skipped = vec![Skipped { target: target.unwrap_or_default(), kind: scope, reason }];
        return Ok(OptimizeAnswer { run_id, suggestions: Vec::new(), skipped });
    };
    let found = state.0.suggester.look(wanted, target.as_deref(), dry).await?;
    tracing::info!(
        run_id,
        dry,
        suggested = found.proposals.len(),
        looked_at = found.looked_at,
        "looked for something to suggest"
    );
    let view = state.0.driver.view();
    let body = |proposal: Proposal| match view.state.suggestion(&proposal.id).filter(|_| !dry) {
        Some(known) => show::suggestion(known, false),
        None => show::suggestion(&tried(proposal), false),
    };
    let suggestions = found.proposals.into_iter().map(body).collect();
    Ok(OptimizeAnswer { run_id, suggestions, skipped: found.skipped })
}

/// A suggestion that was not written down.
fn tried(proposal: Proposal) -> Suggestion {
    let now_ms = now_ms();
    Suggestion {
        proposal,
        status: SuggestionStatus::Proposed,
        created_at_ms: now_ms,
        expires_at_ms: now_ms,
        decided: None,
        plan: None,
    }
}

/// Suggestions, the newest first: those of the last 90 days and all that wait.
#[utoipa::path(get, path = "/api/performance/suggestions", tag = "steering",
    params(
        ("status" = Option<String>, Query, description = "only those that are `proposed`, `confirmed`, `rejected` or `expired`"),
        ("kind" = Option<String>, Query, description = "only those of this kind"),
        ("target" = Option<String>, Query, description = "only those of this target; its id"),
        ("limit" = Option<u32>, Query, description = "items of a page, 1 to 200; 50 without"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, body = SuggestionsAnswer)),
)]
pub(in crate::api) async fn suggestions(
    State(state): State<AppState>,
    mut params: Params,
) -> Result<Json<SuggestionsAnswer>, ApiError> {
    let ask = Ask::of(&mut params);
    Ok(Json(list(&state, ask, params.finish())?))
}

/// Which suggestions or rollouts.
#[derive(Debug, Default)]
pub(in crate::api) struct Ask {
    /// Only those in this state.
    pub(in crate::api) status: Option<String>,
    /// Only those of this kind.
    pub(in crate::api) kind: Option<String>,
    /// Only those of this target.
    pub(in crate::api) target: Option<String>,
    /// Items of a page.
    pub(in crate::api) limit: Option<String>,
    /// Where the page begins.
    pub(in crate::api) cursor: Option<String>,
}

impl Ask {
    /// Of a query string.
    pub(super) fn of(params: &mut Params) -> Self {
        Self {
            status: params.one("status"),
            kind: params.one("kind"),
            target: params.one("target"),
            limit: params.one("limit"),
            cursor: params.one("cursor"),
        }
    }

    /// Which page.
    pub(super) fn page(&self, violations: &mut Violations) -> Page {
        Page::parse(self.limit.as_deref(), self.cursor.as_deref(), violations)
    }
}

/// A page of suggestions.
///
/// # Errors
/// When the question is wrong, or the journal was never read.
pub(in crate::api) fn list(
    state: &AppState,
    ask: Ask,
    mut violations: Violations,
) -> Result<SuggestionsAnswer, ApiError> {
    let page = ask.page(&mut violations);
    let Ask { status, kind, target, .. } = ask;
    let wanted = status.as_deref().map(|status| parse(status, &mut violations));
    violations.check()?;
    let view = readable(state)?;
    let is_it = |suggestion: &&Suggestion| {
        wanted.is_none_or(|wanted| wanted == Some(suggestion.status))
            && kind.as_ref().is_none_or(|kind| *kind == suggestion.proposal.kind)
            && target.as_ref().is_none_or(|target| is_about(&suggestion.proposal, target))
    };
    let all: Vec<&Suggestion> = view.state.suggestions().filter(is_it).collect();
    let (all, next_cursor) = page.cut(all, |s| (s.created_at_ms, s.proposal.id.0.as_str()));
    let suggestions = all.into_iter().map(|found| show::suggestion(found, false)).collect();
    Ok(SuggestionsAnswer { suggestions, next_cursor })
}

/// Whether it would change a target, or is about a group of this id.
fn is_about(proposal: &Proposal, target: &str) -> bool {
    let members = proposal.members.iter().map(|member| &member.target);
    members.chain([&proposal.target]).any(|of| of.id.0 == target)
}

/// One suggestion, with all that it was computed from.
#[utoipa::path(get, path = "/api/performance/suggestions/{id}", tag = "steering",
    params(("id" = String, Path, description = "id of the suggestion")),
    responses((status = 200, body = SuggestionBody)),
)]
pub(in crate::api) async fn suggestion(
    State(state): State<AppState>,
    Id(id): Id,
    params: Params,
) -> Result<Json<SuggestionBody>, ApiError> {
    params.none()?;
    Ok(Json(one(&state, &id)?))
}

/// One suggestion with all that it was computed from.
///
/// # Errors
/// When there is none, or the journal was never read.
pub(in crate::api) fn one(state: &AppState, id: &str) -> Result<SuggestionBody, ApiError> {
    let view = readable(state)?;
    let found = view.state.suggestion(&SuggestionId(id.to_owned()));
    let found = found.ok_or_else(|| unknown("suggestion", id))?;
    Ok(show::suggestion(found, true))
}

/// Says that a suggestion is to be carried out. Its rollout begins at once: the change goes to the canary in bounded steps, is judged, and is promoted or rolled back by itself.
///
/// 409 when it does not wait for a decision, its target is changing, resting or locked, the value in force is another one, its agent is not heard, too little is known of the
/// time before to judge it, or its noise would hide what the judge looks for.
#[utoipa::path(post, path = "/api/performance/suggestions/{id}/confirm", tag = "steering",
    params(("id" = String, Path, description = "id of the suggestion")),
    request_body = NoteBody,
    responses((status = 202, body = RolloutBody)),
)]
pub(in crate::api) async fn confirm(
    State(state): State<AppState>,
    Id(id): Id,
    params: Params,
    request: Request,
) -> Result<(StatusCode, Json<RolloutBody>), ApiError> {
    let (by, note) = person(&state, params, request).await?;
    Ok((StatusCode::ACCEPTED, Json(carry_out(&state, id, by, note).await?)))
}

/// Confirms a suggestion. Gives its rollout.
///
/// # Errors
/// When it may not be now, or the journal does not take it.
pub(in crate::api) async fn carry_out(
    state: &AppState,
    id: String,
    by: Actor,
    note: String,
) -> Result<RolloutBody, ApiError> {
    let suggestion = SuggestionId(id);
    let rollout = suggestion.rollout();
    let past = state.0.suggester.check_past(&suggestion).await;
    // The driver adds what it knows of the targets.
    let event = Event::confirmed(suggestion, by, note);
    if let Err(too_early) = past {
        // What time alone does not mend is told first.
        decide(&state.0.driver.view().state, &event, now_ms(), &Limits::default())?;
        return Err(too_early.into());
    }
    let mut view = state.0.driver.person(event).await?;
    if view.state.rollout(&rollout).is_none() {
        // Another collector was first with something else in between.
        view = state.0.driver.person(Event::Tick).await?;
    }
    let begun = view.state.rollout(&rollout);
    let begun = begun.ok_or_else(|| {
        ApiError::Journal("it is confirmed; its rollout has not begun yet".to_owned())
    })?;
    Ok(show::rollout(begun, &view.state))
}

/// Says that a suggestion is not wanted. The same is not suggested again for 30 days, unless the value in force changes.
#[utoipa::path(post, path = "/api/performance/suggestions/{id}/reject", tag = "steering",
    params(("id" = String, Path, description = "id of the suggestion")),
    request_body = NoteBody,
    responses((status = 200, body = SuggestionBody)),
)]
pub(in crate::api) async fn reject(
    State(state): State<AppState>,
    Id(id): Id,
    params: Params,
    request: Request,
) -> Result<Json<SuggestionBody>, ApiError> {
    let (by, note) = person(&state, params, request).await?;
    Ok(Json(turn_down(&state, id, by, note).await?))
}

/// Rejects a suggestion.
///
/// # Errors
/// When it may not be now, or the journal does not take it.
pub(in crate::api) async fn turn_down(
    state: &AppState,
    id: String,
    by: Actor,
    note: String,
) -> Result<SuggestionBody, ApiError> {
    let suggestion = SuggestionId(id.clone());
    let event = Event::Rejected { suggestion: suggestion.clone(), by, note };
    let view = state.0.driver.person(event).await?;
    let found = view.state.suggestion(&suggestion).ok_or_else(|| unknown("suggestion", &id))?;
    Ok(show::suggestion(found, false))
}

/// What the journal says, unless it was never read.
pub(super) fn readable(state: &AppState) -> Result<std::sync::Arc<View>, ApiError> {
    let view = state.0.driver.view();
    if view.head.sequence == 0 && !view.health.may_decide() {
        return Err(ApiError::Journal(format!("the journal {}", view.health.describe())));
    }
    Ok(view)
}

/// 404 for an id.
pub(super) fn unknown(what: &str, id: &str) -> ApiError {
    let mut violations = Violations::default();
    violations.unknown("id", format!("there is no {what} {id:?}"));
    QueryError::NotFound(violations).into()
}

fn parse(status: &str, violations: &mut Violations) -> Option<SuggestionStatus> {
    use SuggestionStatus::{Confirmed, Expired, Proposed, Rejected};
    let found = [Proposed, Confirmed, Rejected, Expired].into_iter().find(|s| s.name() == status);
    if found.is_none() {
        violations.invalid("status", "must be proposed, confirmed, rejected or expired");
    }
    found
}

impl From<LookError> for ApiError {
    fn from(error: LookError) -> Self {
        match error {
            LookError::NoSuchTarget(_) => {
                let mut violations = Violations::default();
                violations.unknown("target", error.to_string());
                QueryError::NotFound(violations).into()
            }
            LookError::Wish(WishError::Invalid(violations)) => {
                QueryError::Invalid(violations).into()
            }
            LookError::Wish(WishError::Stale(refusal)) => refusal.into(),
            LookError::Store(error) => QueryError::from(error).into(),
            LookError::TooEarly(reason) => Self::TooEarly(reason),
            LookError::TooNoisy(reason) => Self::TooNoisy(reason),
            LookError::Driver(error) => error.into(),
        }
    }
}
