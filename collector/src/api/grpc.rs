//! The service `Performance`: the calls of HTTP for programs, over the same model and with the same errors.

mod changes;

use flyball_model::rollout::{Actor, Event, RolloutId, TargetId};
use flyball_proto::v1;
use flyball_proto::v1::performance_server::{Performance, PerformanceServer};
use tonic::{Request, Response, Status};

use super::by;
use super::edge::admission::InFlight;
use super::performance::{
    alerts, audit, balancers, catalog, control, fleet_caches, last, metrics, policies, pools,
    propose, rollouts, status, suggestions,
};
use super::{ApiError, AppState};
use crate::query::Violations;

/// Largest request, in bytes: the same as for a body over HTTP.
const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// The service over the state of the API.
#[derive(Debug, Clone)]
pub struct PerformanceService(AppState);

/// The service as a server takes it.
pub fn service(state: AppState) -> PerformanceServer<PerformanceService> {
    PerformanceServer::new(PerformanceService(state)).max_decoding_message_size(MAX_REQUEST_BYTES)
}

impl PerformanceService {
    /// Lets a call in as the HTTP edge does: the same bounds, for both together.
    fn admit<T>(&self, request: &Request<T>) -> Result<InFlight, ApiError> {
        let peer = request.remote_addr().map(|peer| peer.ip());
        self.0.0.admission.admit_call(peer)
    }

    /// A person's word: on what, who says it, and what they say.
    fn decision(
        request: Request<v1::DecisionRequest>,
    ) -> Result<(String, Actor, String), ApiError> {
        let by = by::caller(request.remote_addr().map(|peer| peer.ip()));
        let v1::DecisionRequest { id, note } = request.into_inner();
        let mut violations = Violations::default();
        by::check_id(&id, &mut violations);
        by::check_note(&note, &mut violations);
        violations.check()?;
        Ok((id, by, note))
    }

    /// An order about a rollout.
    async fn order(
        &self,
        request: Request<v1::DecisionRequest>,
        event: impl FnOnce(RolloutId, Actor, String) -> Event,
    ) -> Result<Response<v1::Rollout>, Status> {
        let _in_flight = self.admit(&request)?;
        let (id, by, note) = Self::decision(request)?;
        let event = event(RolloutId(id.clone()), by, note);
        Ok(Response::new(rollouts::obey(&self.0, &id, event).await?.into()))
    }

    /// An order about a pool under control.
    async fn pool(
        &self,
        request: Request<v1::DecisionRequest>,
        event: impl FnOnce(TargetId, Actor, String) -> Event,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        let (name, by, note) = Self::decision(request)?;
        let answer = control::obey(&self.0, &name, |pool| event(pool, by, note)).await?;
        Ok(Response::new(answer.into()))
    }
}

/// A text that says nothing when it is empty.
fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A limit of which 0 is the usual one.
fn limit(limit: u32) -> Option<String> {
    (limit > 0).then(|| limit.to_string())
}

impl From<v1::ChangesRequest> for suggestions::Ask {
    fn from(request: v1::ChangesRequest) -> Self {
        let v1::ChangesRequest { status, kind, target, limit: items, cursor } = request;
        Self {
            status: given(status),
            kind: given(kind),
            target: given(target),
            limit: limit(items),
            cursor: given(cursor),
        }
    }
}

#[tonic::async_trait]
impl Performance for PerformanceService {
    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        let nodes = request.into_inner().nodes;
        let fleet = status::fleet(&self.0.0.live, &nodes, Violations::default());
        let fleet = fleet.map_err(ApiError::from)?;
        Ok(Response::new((&fleet).into()))
    }

    async fn metrics(
        &self,
        request: Request<v1::MetricsRequest>,
    ) -> Result<Response<v1::MetricsResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        let ask = request.into_inner().into();
        let answered = metrics::answer(&self.0, ask, Violations::default()).await?;
        Ok(Response::new((&answered).into()))
    }

    async fn metrics_batch(
        &self,
        request: Request<v1::MetricsBatchRequest>,
    ) -> Result<Response<v1::MetricsBatchResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        Ok(Response::new(metrics::answers(&self.0, request.into_inner().queries).await?))
    }

    async fn last(
        &self,
        request: Request<v1::LastRequest>,
    ) -> Result<Response<v1::LastResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        let answer =
            last::answer(&self.0, &request.into_inner().into(), Violations::default()).await;
        Ok(Response::new(answer.map_err(ApiError::from)?.into()))
    }

    async fn alerts(
        &self,
        request: Request<v1::AlertsRequest>,
    ) -> Result<Response<v1::AlertsResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        let v1::AlertsRequest { nodes, state } = request.into_inner();
        let state = (!state.is_empty()).then_some(state.as_str());
        let answer = alerts::answer(&self.0, &nodes, state, Violations::default());
        Ok(Response::new(answer.map_err(ApiError::from)?.into()))
    }

    async fn policies(
        &self,
        request: Request<v1::PoliciesRequest>,
    ) -> Result<Response<v1::PoliciesResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        let nodes = request.into_inner().nodes;
        let answer = policies::answer(&self.0.0.steering, &nodes, Violations::default());
        Ok(Response::new(answer.map_err(ApiError::from)?.into()))
    }

    async fn catalog(
        &self,
        request: Request<v1::CatalogRequest>,
    ) -> Result<Response<v1::CatalogResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        Ok(Response::new(catalog::answer(&self.0.0.catalog).into()))
    }

    async fn caches(
        &self,
        request: Request<v1::CachesRequest>,
    ) -> Result<Response<v1::CachesResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        let caches = self.0.0.steering.caches().all();
        let caches = caches.iter().map(fleet_caches::message).collect();
        Ok(Response::new(v1::CachesResponse { caches }))
    }

    async fn balancers(
        &self,
        request: Request<v1::BalancersRequest>,
    ) -> Result<Response<v1::BalancersResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        let v1::BalancersRequest { nodes, pool } = request.into_inner();
        Ok(Response::new(balancers::messages(&self.0, &nodes, given(pool).as_deref())?))
    }

    async fn pools(
        &self,
        request: Request<v1::PoolsRequest>,
    ) -> Result<Response<v1::PoolsResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        Ok(Response::new(pools::messages(&self.0, &request.into_inner().name)?))
    }

    async fn optimize(
        &self,
        request: Request<v1::OptimizeRequest>,
    ) -> Result<Response<v1::OptimizeResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        let v1::OptimizeRequest { scope, target, dry_run } = request.into_inner();
        let scope = given(scope).unwrap_or_else(|| "all".to_owned());
        let (target, violations) = (given(target), Violations::default());
        let found = suggestions::look(&self.0, scope, target, dry_run, violations).await?;
        Ok(Response::new(found.into()))
    }

    async fn propose(
        &self,
        request: Request<v1::ProposeRequest>,
    ) -> Result<Response<v1::Suggestion>, Status> {
        let _in_flight = self.admit(&request)?;
        let by = by::caller(request.remote_addr().map(|peer| peer.ip()));
        let mut request = request.into_inner();
        let mut violations = Violations::default();
        let target = given(std::mem::take(&mut request.target));
        let targets = std::mem::take(&mut request.targets);
        let targets = propose::which(target, targets, &mut violations);
        let wish = request.into();
        let made = propose::make(&self.0, &targets, wish, by, violations).await?;
        Ok(Response::new(made.into()))
    }

    async fn suggestions(
        &self,
        request: Request<v1::ChangesRequest>,
    ) -> Result<Response<v1::SuggestionsResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        let ask = request.into_inner().into();
        Ok(Response::new(suggestions::list(&self.0, ask, Violations::default())?.into()))
    }

    async fn get_suggestion(
        &self,
        request: Request<v1::IdRequest>,
    ) -> Result<Response<v1::Suggestion>, Status> {
        let _in_flight = self.admit(&request)?;
        Ok(Response::new(suggestions::one(&self.0, &request.into_inner().id)?.into()))
    }

    async fn confirm(
        &self,
        request: Request<v1::DecisionRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        let _in_flight = self.admit(&request)?;
        let (id, by, note) = Self::decision(request)?;
        Ok(Response::new(suggestions::carry_out(&self.0, id, by, note).await?.into()))
    }

    async fn reject(
        &self,
        request: Request<v1::DecisionRequest>,
    ) -> Result<Response<v1::Suggestion>, Status> {
        let _in_flight = self.admit(&request)?;
        let (id, by, note) = Self::decision(request)?;
        Ok(Response::new(suggestions::turn_down(&self.0, id, by, note).await?.into()))
    }

    async fn rollouts(
        &self,
        request: Request<v1::ChangesRequest>,
    ) -> Result<Response<v1::RolloutsResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        let ask = request.into_inner().into();
        Ok(Response::new(rollouts::list(&self.0, ask, Violations::default())?.into()))
    }

    async fn get_rollout(
        &self,
        request: Request<v1::IdRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        let _in_flight = self.admit(&request)?;
        Ok(Response::new(rollouts::one(&self.0, &request.into_inner().id)?.into()))
    }

    async fn rollback(
        &self,
        request: Request<v1::DecisionRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        self.order(request, |rollout, by, note| Event::RollBack { rollout, by, note }).await
    }

    async fn pause(
        &self,
        request: Request<v1::DecisionRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        self.order(request, |rollout, by, note| Event::Pause { rollout, by, note }).await
    }

    async fn resume(
        &self,
        request: Request<v1::DecisionRequest>,
    ) -> Result<Response<v1::Rollout>, Status> {
        self.order(request, |rollout, by, note| Event::Resume { rollout, by, note }).await
    }

    async fn unlock(
        &self,
        request: Request<v1::DecisionRequest>,
    ) -> Result<Response<v1::UnlockResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        let (id, by, note) = Self::decision(request)?;
        Ok(Response::new(rollouts::set_free(&self.0, id, by, note).await?.into()))
    }

    async fn control(
        &self,
        request: Request<v1::ControlRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        Ok(Response::new(control::answer(&self.0)?.into()))
    }

    async fn freeze(
        &self,
        request: Request<v1::DecisionRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        self.pool(request, |pool, by, note| Event::Freeze { pool, by, note }).await
    }

    async fn unfreeze(
        &self,
        request: Request<v1::DecisionRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        self.pool(request, |pool, by, note| Event::Unfreeze { pool, by, note }).await
    }

    async fn kill(
        &self,
        request: Request<v1::DecisionRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        self.pool(request, |pool, by, note| Event::Kill { pool, by, note }).await
    }

    async fn audit(
        &self,
        request: Request<v1::AuditRequest>,
    ) -> Result<Response<v1::AuditResponse>, Status> {
        let _in_flight = self.admit(&request)?;
        let v1::AuditRequest { subject, verify, inputs, limit: items, cursor } =
            request.into_inner();
        let (limit, cursor) = (limit(items), given(cursor));
        let ask = audit::Ask { subject, verify, inputs, limit, cursor };
        Ok(Response::new(audit::answer(&self.0, ask, Violations::default()).await?.into()))
    }
}
