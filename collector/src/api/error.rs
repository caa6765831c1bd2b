//! The one table from what went wrong to HTTP statuses, problem documents and gRPC codes.

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use flyball_model::rollout::{Refusal, RefusalClass};
use tonic::Code;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::edge::named;
use super::problem::Problem;
use crate::query::{FieldError, QueryError};
use crate::steer::driver::DriveError;

/// Why a call of the API is refused or fails.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The query says why.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Nothing is at this path.
    #[error("nothing is at {0}")]
    NoSuchPath(String),
    /// The path takes other methods; they are in the header `Allow`.
    #[error("{method} is not possible at {path}")]
    MethodNotAllowed {
        /// The method that was tried.
        method: String,
        /// The path.
        path: String,
    },
    /// The body is not JSON by its media type.
    #[error("the body must be application/json")]
    UnsupportedMediaType,
    /// The body is larger than this many bytes.
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// Path and query together are longer than this many bytes.
    #[error("the address is longer than {0} bytes; POST takes the same fields as a body")]
    UrlTooLong(usize),
    /// The body cannot be read as JSON.
    #[error("the body is not valid JSON: {0}")]
    MalformedBody(String),
    /// Too much is being asked at once.
    #[error("too many {0} at once; try again")]
    Busy(&'static str),
    /// The caller asks more than one caller may.
    #[error("more than {per_second} requests a second of one caller (http.requests_per_second)")]
    TooFast {
        /// What one caller may ask in the long run.
        per_second: u32,
        /// Time until the next request is answered.
        wait: Duration,
    },
    /// All callers together ask more than can be answered quickly.
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
    /// The body took longer than this.
    #[error("the body did not arrive within {} ms", .0.as_millis())]
    SlowBody(Duration),
    /// The answer took longer than this.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// A call that changes something names another host than this one.
    #[error("{0:?} is not a name of this server: use its address, or add the name to http.hosts")]
    ForeignHost(String),
    /// A call that changes something comes from a page of another host.
    #[error("the call comes from a page of another host")]
    ForeignOrigin,
    /// It may not happen in the present state.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody but people can do it.
    #[error("{0}")]
    ByHand(String),
    /// Another suggestion for the same waits for a decision.
    #[error("{0}")]
    Open(String),
    /// There is too little to compare a change with.
    #[error("{0}")]
    TooEarly(String),
    /// The judge could not see its margin in the noise.
    #[error("{0}")]
    TooNoisy(String),
    /// The journal of decisions takes and gives nothing for now.
    #[error("{0}")]
    Journal(String),
    /// The collector is stopping.
    #[error("the collector is stopping")]
    Stopping,
    /// The collector is starting.
    #[error("the store is not open yet; /readyz says why")]
    NotOpen,
    /// A defect of ours.
    #[error("{0}")]
    Internal(String),
}

/// One row of the table.
struct Row {
    name: &'static str,
    title: &'static str,
    http: StatusCode,
    grpc: Code,
    retry_after: Option<Duration>,
}

const fn row(name: &'static str, title: &'static str, http: StatusCode, grpc: Code) -> Row {
    Row { name, title, http, grpc, retry_after: None }
}

const fn conflict() -> Row {
    row("conflict", "not in the present state", StatusCode::CONFLICT, Code::FailedPrecondition)
}

const fn refused(class: RefusalClass) -> Row {
    match class {
        RefusalClass::NotFound => {
            row("not-found", "not found", StatusCode::NOT_FOUND, Code::NotFound)
        }
        RefusalClass::Invalid => row(
            "invalid-request",
            "invalid request",
            StatusCode::BAD_REQUEST,
            Code::InvalidArgument,
        ),
        RefusalClass::Conflict => conflict(),
    }
}

const fn retry(mut row: Row, seconds: u64) -> Row {
    row.retry_after = Some(Duration::from_secs(seconds));
    row
}

impl ApiError {
    /// The row of a call that seems to come from a stranger's page.
    const fn foreign(&self) -> Row {
        let status = match self {
            Self::ForeignHost(_) => StatusCode::MISDIRECTED_REQUEST,
            _ => StatusCode::FORBIDDEN,
        };
        row("foreign", "the call comes from elsewhere", status, Code::PermissionDenied)
    }

    fn row(&self) -> Row {
        use StatusCode as S;
        match self {
            Self::Query(QueryError::Invalid(_)) | Self::MalformedBody(_) => {
                row("invalid-request", "invalid request", S::BAD_REQUEST, Code::InvalidArgument)
            }
            Self::ForeignHost(_) | Self::ForeignOrigin => self.foreign(),
            Self::Query(QueryError::NotFound(_)) => {
                row("not-found", "not found", S::NOT_FOUND, Code::NotFound)
            }
            Self::Query(QueryError::TooExpensive(_)) => row(
                "too-expensive",
                "the query asks for too much",
                S::UNPROCESSABLE_ENTITY,
                Code::FailedPrecondition,
            ),
            Self::Query(QueryError::Unavailable(_)) => retry(
                row("unavailable", "store unavailable", S::SERVICE_UNAVAILABLE, Code::Unavailable),
                2,
            ),
            Self::NotOpen => {
                retry(row("starting", "starting", S::SERVICE_UNAVAILABLE, Code::Unavailable), 2)
            }
            Self::Query(QueryError::Busy) | Self::Busy(_) => retry(
                row("busy", "too many requests", S::TOO_MANY_REQUESTS, Code::ResourceExhausted),
                1,
            ),
            Self::TooFast { wait, .. } => Row {
                retry_after: Some(*wait),
                ..row(
                    "rate-limited",
                    "too many requests of one caller",
                    S::TOO_MANY_REQUESTS,
                    Code::ResourceExhausted,
                )
            },
            Self::Overloaded(_) => {
                retry(row("overloaded", "overloaded", S::SERVICE_UNAVAILABLE, Code::Unavailable), 1)
            }
            Self::SlowBody(_) => {
                row("slow-body", "body not in time", S::REQUEST_TIMEOUT, Code::DeadlineExceeded)
            }
            Self::NoSuchPath(_) => row("not-found", "not found", S::NOT_FOUND, Code::NotFound),
            Self::Refused(refusal) => refused(refusal.class()),
            Self::ByHand(_) | Self::Open(_) | Self::TooEarly(_) | Self::TooNoisy(_) => conflict(),
            Self::Journal(_) => retry(
                row("journal", "nothing can be decided", S::SERVICE_UNAVAILABLE, Code::Unavailable),
                2,
            ),
            Self::MethodNotAllowed { .. } => row(
                "method-not-allowed",
                "method not allowed",
                S::METHOD_NOT_ALLOWED,
                Code::Unimplemented,
            ),
            Self::UnsupportedMediaType => row(
                "unsupported-media-type",
                "unsupported media type",
                S::UNSUPPORTED_MEDIA_TYPE,
                Code::InvalidArgument,
            ),
            Self::BodyTooLarge(_) => {
                row("too-large", "body too large", S::PAYLOAD_TOO_LARGE, Code::InvalidArgument)
            }
            Self::UrlTooLong(_) => {
                row("too-large", "address too long", S::URI_TOO_LONG, Code::InvalidArgument)
            }
            Self::Timeout(_) => {
                row("timeout", "no answer in time", S::GATEWAY_TIMEOUT, Code::DeadlineExceeded)
            }
            Self::Stopping => {
                retry(row("stopping", "stopping", S::SERVICE_UNAVAILABLE, Code::Unavailable), 2)
            }
            Self::Query(QueryError::Store(_)) | Self::Internal(_) => {
                row("internal", "internal error", S::INTERNAL_SERVER_ERROR, Code::Internal)
            }
        }
    }

    /// The fields that are wrong, when that is the problem.
    pub fn fields(&self) -> &[FieldError] {
        match self {
            Self::Query(QueryError::Invalid(v) | QueryError::NotFound(v)) => v.fields(),
            _ => &[],
        }
    }

    /// What the caller is told: defects and the store's words stay in the log.
    fn detail(&self) -> String {
        match self {
            Self::Internal(_) | Self::Query(QueryError::Store(_)) => {
                "the collector failed to answer; its log has the reason under this request's id"
                    .to_owned()
            }
            Self::Query(QueryError::Unavailable(_)) => "the store does not answer".to_owned(),
            other => other.to_string(),
        }
    }

    /// The present state of what was asked about, when that is why it was refused.
    fn state(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => state_of(refusal),
            Self::ByHand(_) => Some("by_hand".to_owned()),
            Self::Open(_) => Some("open".to_owned()),
            Self::TooEarly(_) => Some("too_early".to_owned()),
            Self::TooNoisy(_) => Some("too_noisy".to_owned()),
            _ => None,
        }
    }

    /// Logs what the caller is not told.
    fn log(&self) {
        match self {
            Self::Internal(reason) | Self::Query(QueryError::Store(reason)) => {
                named(|| tracing::error!(reason, "request failed"));
            }
            Self::Query(QueryError::Unavailable(reason)) => {
                named(|| tracing::warn!(reason, "the store does not answer"));
            }
            _ => {}
        }
    }

    /// The problem document.
    pub fn problem(&self) -> Problem {
        let row = self.row();
        Problem {
            type_uri: format!("urn:flyball:problem:{}", row.name),
            title: row.title.to_owned(),
            status: row.http.as_u16(),
            detail: self.detail(),
            errors: self.fields().to_vec(),
            state: self.state(),
        }
    }
}

/// In one word.
fn state_of(refusal: &Refusal) -> Option<String> {
    let word = match refusal {
        Refusal::NotProposed { status, .. } => return Some(status.name().to_owned()),
        Refusal::Over { state, .. } => return Some(state.name().to_owned()),
        Refusal::TargetBusy { .. } => "busy",
        Refusal::CoolingDown { .. } => "cooling",
        Refusal::Locked { .. } => "locked",
        Refusal::NotLocked(_) => "free",
        Refusal::RejectedBefore { .. } => "refused",
        Refusal::Stale { .. } => "stale",
        Refusal::AgentAbsent { .. } => "absent",
        Refusal::AgentAhead { .. } => "ahead",
        Refusal::Crowded { .. } => "crowded",
        Refusal::Restoring(_) => "restoring",
        Refusal::Paused(_) => "paused",
        Refusal::NotPaused(_) => "going",
        Refusal::Controlled { .. } => "controlled",
        Refusal::Frozen(_) => "frozen",
        Refusal::NotFrozen(_) => "running",
        Refusal::UnknownSuggestion(_)
        | Refusal::UnknownRollout(_)
        | Refusal::UnknownTarget(_)
        | Refusal::NotControlled(_)
        | Refusal::BadProposal(_)
        | Refusal::Duplicate(_) => return None,
    };
    Some(word.to_owned())
}

impl From<DriveError> for ApiError {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::Refused(refusal) => Self::Refused(refusal),
            DriveError::ByHand(_) => Self::ByHand(error.to_string()),
            DriveError::Open(_) => Self::Open(error.to_string()),
            DriveError::Journal(_) => Self::Journal(error.to_string()),
            DriveError::Stopping => Self::Stopping,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let mut response = self.problem().into_response();
        if let Some(after) = self.row().retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

impl From<ApiError> for tonic::Status {
    fn from(error: ApiError) -> Self {
        error.log();
        let row = error.row();
        let mut details = ErrorDetails::new();
        if !error.fields().is_empty() {
            let violation = |f: &FieldError| FieldViolation::new(&f.field, &f.reason);
            let violations: Vec<_> = error.fields().iter().map(violation).collect();
            details.set_bad_request(violations);
        }
        if row.retry_after.is_some() {
            details.set_retry_info(row.retry_after);
        }
        Self::with_error_details(row.grpc, error.detail(), details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Violations;

    fn not_found() -> ApiError {
        let mut violations = Violations::default();
        violations.unknown("metric", "no such metric");
        QueryError::NotFound(violations).into()
    }

    #[test]
    fn fields_reach_both_protocols() {
        let problem = not_found().problem();
        assert_eq!(
            (problem.status, problem.type_uri.as_str()),
            (404, "urn:flyball:problem:not-found")
        );
        assert_eq!(problem.errors, [FieldError::new("metric", "no such metric")]);
        let status = tonic::Status::from(not_found());
        assert_eq!(status.code(), Code::NotFound);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        let [violation] = &violations[..] else { panic!("one field") };
        assert_eq!((&*violation.field, &*violation.description), ("metric", "no such metric"));
    }

    #[test]
    fn the_stores_own_words_stay_inside() {
        let secret = "Code: 516. DB::Exception: default: Authentication failed";
        for error in [QueryError::Store(secret.into()), QueryError::Unavailable(secret.into())] {
            let error = ApiError::from(error);
            assert!(!error.problem().detail.contains("516"), "{error}");
            assert!(!tonic::Status::from(error).message().contains("516"));
        }
    }

    #[test]
    fn what_may_be_tried_again_says_when() {
        let response = ApiError::Busy("event readers").into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let wait = Duration::from_millis(1_001);
        let response = ApiError::TooFast { per_second: 5, wait }.into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "2", "whole seconds, rounded up");
        let status = tonic::Status::from(ApiError::Busy("queries"));
        assert_eq!(
            status.get_details_retry_info().unwrap().retry_delay,
            Some(Duration::from_secs(1))
        );
    }
}
