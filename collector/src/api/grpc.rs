//! The service `Performance`: the read calls of HTTP for programs, over the same model and with the same errors.

use flyball_proto::v1;
use flyball_proto::v1::performance_server::{Performance, PerformanceServer};
use tonic::{Request, Response, Status};

use super::edge::admission::InFlight;
use super::performance::{alerts, catalog, last, metrics, policies, status};
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
}
