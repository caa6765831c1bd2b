//! Who makes a call that changes something, and what they say.

use std::net::IpAddr;

use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use flyball_model::rollout::Actor;

use super::edge::{Peer, read_json};
use super::params::{Fields, Params};
use super::{ApiError, AppState};
use crate::query::{QueryError, Violations};

/// Longest note, in bytes.
const MAX_NOTE_BYTES: usize = 1_024;
/// Longest id in a path, in bytes.
const MAX_ID_BYTES: usize = 512;
/// People have no names here yet: whoever reaches this server may do what it does.
const OPERATOR: &str = "operator";

/// The id or name in a path, decoded.
#[derive(Debug, Clone)]
pub(super) struct Id(pub(super) String);

/// What a person says with a decision.
#[derive(Debug, Clone, Default, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoteBody {
    /// Why; it is written down with the decision. At most 1024 bytes.
    #[serde(default)]
    #[schema(example = "agreed with the team")]
    #[allow(dead_code, reason = "describes the body, which is read field by field")]
    pub(super) note: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let invalid = |reason: String| {
            let mut violations = Violations::default();
            violations.invalid("id", reason);
            QueryError::Invalid(violations)
        };
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|rejection| invalid(rejection.body_text()))?;
        let id = params
            .iter()
            .find(|(name, _)| matches!(*name, "id" | "name"))
            .map(|(_, id)| id.to_owned());
        let id = id.unwrap_or_default();
        if !is_id(&id) {
            return Err(invalid("is no id".to_owned()).into());
        }
        Ok(Self(id))
    }
}

/// The person who calls, and the note of the body, of a call that comes from where it seems to.
///
/// # Errors
/// When it comes from a stranger's page, or the body is not a note.
pub(super) async fn person(
    state: &AppState,
    params: Params,
    request: Request,
) -> Result<(Actor, String), ApiError> {
    let (actor, mut fields) = asked(state, params, request).await?;
    let note = fields.text("note").unwrap_or_default();
    let mut violations = fields.finish();
    check_note(&note, &mut violations);
    violations.check()?;
    Ok((actor, note))
}

/// The person who calls, and the fields of the body.
///
/// # Errors
/// When it comes from a stranger's page, or the body is no object.
pub(super) async fn asked(
    state: &AppState,
    params: Params,
    request: Request,
) -> Result<(Actor, Fields), ApiError> {
    params.none()?;
    state.0.hosts.check(request.headers())?;
    let actor = actor(&request);
    Ok((actor, read_json(request, state.0.limits.body_bytes).await?))
}

/// Refuses what is too long to be kept with a decision.
pub(super) fn check_note(note: &str, violations: &mut Violations) {
    if note.len() > MAX_NOTE_BYTES {
        violations.invalid("note", format!("is longer than {MAX_NOTE_BYTES} bytes"));
    }
}

fn actor(request: &Request) -> Actor {
    caller(request.extensions().get::<Peer>().map(|peer| peer.0))
}

/// The person who calls from this address.
pub(super) fn caller(address: Option<IpAddr>) -> Actor {
    let address = address.map(|address| address.to_canonical().to_string()).unwrap_or_default();
    Actor { name: OPERATOR.to_owned(), address }
}

/// Whether a text can be the id of anything.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_ID_BYTES && !id.chars().any(char::is_control)
}

/// Refuses what can be the id of nothing.
pub(super) fn check_id(id: &str, violations: &mut Violations) {
    if !is_id(id) {
        violations.invalid("id", "is no id");
    }
}
