//! Series of one metric over time, and several such questions in one request.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use flyball_proto::v1;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http_body::{Frame, SizeHint};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use crate::api::edge::read_json;
use crate::api::params::{Fields, Params};
use crate::api::problem::Problem;
use crate::api::{ApiError, AppState};
use crate::live::now_ms;
use crate::query::ask::TimesAsText;
use crate::query::{
    Answered, MAX_ANSWER_POINTS, MetricsAnswer, MetricsAsk, QueryError, Violations,
};

/// Answers up to this size are copied for each who asks: one piece is quicker than three.
const COPIED_BYTES: usize = 64 * 1024;
/// Most questions of one request.
pub(in crate::api) const MAX_QUERIES: usize = 32;
/// Questions of one request that are answered at once.
const AT_ONCE: usize = 8;

/// The parameters of the GET as a body, for questions that are too long for an address.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsBody {
    /// Name of the metric.
    pub metric: String,
    /// Only these nodes.
    #[schema(required = false)]
    pub node: Vec<String>,
    /// Start: RFC 3339 or epoch milliseconds; an hour before `to` when left out.
    pub from: Option<TimeText>,
    /// End, not included: RFC 3339 or epoch milliseconds; now when left out.
    pub to: Option<TimeText>,
    /// Width of a bucket: milliseconds, or with a unit (`10s`, `5m`, `1h`, `1d`); at most 300 points when left out.
    pub step: Option<TimeText>,
    /// How samples become values; `avg` for gauges and `rate` for counters when left out.
    pub agg: Option<String>,
    /// What each series is before `agg` joins those of a group: `avg`, `min`, `max`, `last` or `rate`.
    pub within: Option<String>,
    /// Attributes to group by; `none` for one group of all.
    #[schema(required = false)]
    pub by: Vec<String>,
    /// `attribute=value`.
    #[schema(required = false)]
    pub filter: Vec<String>,
    /// Only so many groups, those with the largest mean, the largest first.
    pub top: Option<u32>,
    /// Tell how the answer was made.
    pub explain: Option<bool>,
}

/// A time or a duration.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum TimeText {
    /// Milliseconds.
    Milliseconds(i64),
    /// RFC 3339, or a number with a unit.
    Text(String),
}

/// Several questions.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchBody {
    /// 1 to 32 questions.
    pub queries: Vec<MetricsBody>,
}

/// Answers to several questions.
#[derive(Debug, Deserialize, ToSchema)]
pub struct BatchAnswer {
    /// One for each question, in their order.
    pub answers: Vec<OneAnswer>,
}

/// Answers of one request together.
#[derive(Debug, Default)]
struct Whole {
    points: AtomicUsize,
}

/// An answer, or why there is none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum OneAnswer {
    /// The answer.
    Answer(MetricsAnswer),
    /// The problem, as the question alone would have got it.
    Problem(Problem),
}

/// One metric over time: its samples in buckets of `step`, each series for itself or grouped by attributes.
///
/// Buckets are aligned to multiples of `step` since the epoch and named by their start; the first and last one are whole even where `from` and `to` are not.
/// A bucket without a sample is null. Filters of one attribute are alternatives; those of different attributes must all hold. Series without any value
/// in the range are left out.
///
/// Aggregation has two levels: `within` makes each series one value in a bucket, `agg` joins the series of a group. With `within` left out `agg` implies it, and percentiles are of all samples of the
/// group: over nodes and over time. `agg=p99&within=avg` is the percentile over the series of each one's mean.
#[utoipa::path(get, path = "/api/performance/metrics", tag = "performance",
    params(
        ("metric" = String, Query, description = "name of the metric", example = "system.cpu.utilization"),
        ("node" = Option<Vec<String>>, Query, description = "only these nodes"),
        ("from" = Option<String>, Query, description = "start: RFC 3339 or epoch milliseconds; an hour before `to` when left out"),
        ("to" = Option<String>, Query, description = "end, not included: RFC 3339 or epoch milliseconds; now when left out"),
        ("step" = Option<String>, Query, description = "width of a bucket: milliseconds, or with a unit (10s, 5m, 1h, 1d); at most 300 points when left out, never over 11,000"),
        ("agg" = Option<String>, Query, description = "avg, min, max, sum, last, rate, p1 to p99; avg for gauges and rate for counters when left out"),
        ("within" = Option<String>, Query, description = "what each series is before agg joins those of a group: avg, min, max, last, rate"),
        ("by" = Option<Vec<String>>, Query, description = "attributes to group by, `node` among them; `none`: all series together; each series for itself when left out"),
        ("filter" = Option<Vec<String>>, Query, description = "attribute=value"),
        ("top" = Option<u32>, Query, description = "only so many groups, 1 to 1000: those with the largest mean over the range, the largest first"),
        ("explain" = Option<bool>, Query, description = "true: tell tables, SQL, rows read and what the caches found"),
    ),
    responses((status = 200, body = MetricsAnswer)),
)]
pub(in crate::api) async fn get_metrics(
    State(state): State<AppState>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let times =
        TimesAsText { from: params.one("from"), to: params.one("to"), step: params.one("step") };
    let (top, explain) = (params.one("top"), params.one("explain"));
    let ask = MetricsAsk {
        metric: params.one("metric"),
        nodes: params.many("node"),
        agg: params.one("agg"),
        within: params.one("within"),
        by: params.many("by"),
        filter: params.many("filter"),
        ..MetricsAsk::default()
    };
    let mut violations = params.finish();
    let ask = ask.with_times(&times, &mut violations);
    let ask = ask.with_choices(top.as_deref(), explain.as_deref(), &mut violations);
    Ok(written(&answer(&state, ask, violations).await?).await)
}

/// The same as the GET, for questions that are too long for an address.
#[utoipa::path(post, path = "/api/performance/metrics", tag = "performance",
    request_body = MetricsBody,
    responses((status = 200, body = MetricsAnswer)),
)]
pub(in crate::api) async fn post_metrics(
    State(state): State<AppState>,
    params: Params,
    request: Request,
) -> Result<Response, ApiError> {
    params.none()?;
    let fields: Fields = read_json(request, state.0.limits.body_bytes).await?;
    let (ask, violations) = of_fields(fields);
    Ok(written(&answer(&state, ask, violations).await?).await)
}

/// Several questions in one request, each answered for itself: what is wrong with one does not touch the others.
#[utoipa::path(post, path = "/api/performance/metrics/batch", tag = "performance",
    request_body = BatchBody,
    responses((status = 200, body = BatchAnswer)),
)]
pub(in crate::api) async fn batch(
    State(state): State<AppState>,
    params: Params,
    request: Request,
) -> Result<Response, ApiError> {
    params.none()?;
    let mut fields: Fields = read_json(request, state.0.limits.body_bytes).await?;
    let queries = fields.objects("queries");
    let mut violations = fields.finish();
    if !(1..=MAX_QUERIES).contains(&queries.len()) {
        violations.invalid("queries", format!("must be 1 to {MAX_QUERIES} questions"));
    }
    violations.check()?;
    let whole = Whole::default();
    let answers = queries.into_iter().map(|query| {
        let (ask, violations) = of_fields(query);
        whole.part(&state, ask, violations)
    });
    let mut answers = pin!(stream::iter(answers).buffered(AT_ONCE));
    let mut json = b"{\"answers\":[".to_vec();
    while let Some(answer) = answers.next().await {
        if json.last() != Some(&b'[') {
            json.push(b',');
        }
        match answer {
            Ok(answered) => pieces(&answered).await.iter().for_each(|piece| json.extend(piece)),
            Err(error) => {
                serde_json::to_writer(&mut json, &error.problem()).expect("texts and numbers");
            }
        }
    }
    json.extend_from_slice(b"]}");
    Ok(json_response(Body::from(json)))
}

/// Judges and answers a question, whoever asks.
///
/// # Errors
/// As [`crate::query::QueryError`] says.
pub(in crate::api) async fn answer(
    state: &AppState,
    ask: MetricsAsk,
    violations: Violations,
) -> Result<Answered, ApiError> {
    Ok(state.0.querier.answer(ask, violations, now_ms()).await?)
}

/// Answers several questions of a program; the first that has no answer ends it.
///
/// # Errors
/// When there are none or too many, or as [`answer`].
pub(in crate::api) async fn answers(
    state: &AppState,
    requests: Vec<v1::MetricsRequest>,
) -> Result<v1::MetricsBatchResponse, ApiError> {
    if !(1..=MAX_QUERIES).contains(&requests.len()) {
        let mut violations = Violations::default();
        violations.invalid("queries", format!("must be 1 to {MAX_QUERIES} questions"));
        return Err(QueryError::Invalid(violations).into());
    }
    let whole = Whole::default();
    let asks = requests.into_iter().map(|r| whole.part(state, r.into(), Violations::default()));
    let answers = stream::iter(asks).buffered(AT_ONCE);
    let answers = answers.map_ok(|answered| (&answered).into()).try_collect().await?;
    Ok(v1::MetricsBatchResponse { answers })
}

impl Whole {
    /// Answers one of several questions, unless the answers to those before are as large as one answer may be.
    async fn part(
        &self,
        state: &AppState,
        ask: MetricsAsk,
        violations: Violations,
    ) -> Result<Answered, ApiError> {
        let check = |points: usize| {
            let reason = || {
                format!(
                    "all answers of one request would hold more than {MAX_ANSWER_POINTS} points: ask for this one apart"
                )
            };
            if points > MAX_ANSWER_POINTS {
                return Err(QueryError::TooExpensive(reason()));
            }
            Ok(())
        };
        check(self.points.load(Relaxed))?;
        let answered = answer(state, ask, violations).await?;
        let points = answered.answer.points();
        check(self.points.fetch_add(points, Relaxed) + points)?;
        Ok(answered)
    }
}

fn of_fields(mut fields: Fields) -> (MetricsAsk, Violations) {
    let times = TimesAsText {
        from: fields.text_or_integer("from"),
        to: fields.text_or_integer("to"),
        step: fields.text_or_integer("step"),
    };
    let (top, explain) = (fields.text_or_integer("top"), fields.flag("explain"));
    let ask = MetricsAsk {
        metric: fields.text("metric"),
        nodes: fields.texts("node"),
        agg: fields.text("agg"),
        within: fields.text("within"),
        by: fields.texts("by"),
        filter: fields.texts("filter"),
        ..MetricsAsk::default()
    };
    let mut violations = fields.finish();
    let ask = ask.with_times(&times, &mut violations);
    let ask = ask.with_choices(top.as_deref(), None, &mut violations);
    (MetricsAsk { explain: explain.unwrap_or_default(), ..ask }, violations)
}

async fn pieces(answered: &Answered) -> [Bytes; 3] {
    if answered.answer.is_long_to_write() {
        let answer = Arc::clone(&answered.answer);
        // When it ends without having written it is written here.
        let _ = spawn_blocking(move || answer.written().len()).await;
    }
    answered.answer.pieces(answered.cache, answered.explain.as_ref())
}

async fn written(answered: &Answered) -> Response {
    let [head, series, tail] = pieces(answered).await;
    if series.len() > COPIED_BYTES {
        return json_response(Body::new(Pieces(VecDeque::from([head, series, tail]))));
    }
    json_response(Body::from([head, series, tail].concat()))
}

/// An answer whose JSON is written already.
fn json_response(body: Body) -> Response {
    let mut response = Response::new(body);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// A body in pieces that others may have too: a thousand readers of ten megabytes need ten, not ten thousand.
struct Pieces(VecDeque<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

impl From<&Answered> for v1::MetricsResponse {
    fn from(answered: &Answered) -> Self {
        answered.answer.response(answered.cache, answered.explain.as_ref())
    }
}
