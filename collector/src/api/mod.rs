//! The HTTP and gRPC interface: one query model, one table of errors, two protocols.
//!
//! HTTP ([`mod@serve`]) passes through [`mod@edge`] (request ids, limits, log, metrics) to the calls under [`performance`], [`health`] and [`docs`], and else to the dashboard
//! ([`assets`]). gRPC's `Performance` service is [`grpc`]. Last values come from memory ([`crate::live`]), the past from the store ([`crate::query`]).

pub mod assets;
mod by;
pub mod docs;
pub mod edge;
pub mod error;
mod fleet;
pub mod grpc;
pub mod health;
pub mod hosts;
mod paging;
pub mod params;
pub mod performance;
pub mod problem;
pub mod readiness;
pub mod serve;
pub mod telemetry;
pub(crate) mod waiting;

use std::sync::Arc;

use axum::extract::{Request, State};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::edge::admission::Admission;
use self::edge::{Edge, Limits};
pub use self::error::ApiError;
use self::fleet::FleetBody;
use self::hosts::Hosts;
pub use self::readiness::Readiness;
use self::telemetry::ApiMetrics;
use crate::account::Accounts;
use crate::live::Live;
use crate::query::{Querier, QueryParts};
use crate::steer::control::Controls;
use crate::steer::driver::Driver;
use crate::steer::watch::Steering;
use crate::store::Store;
use crate::store::catalog::Catalog;
use crate::suggest::Suggester;

/// What the API is made of.
#[derive(Debug)]
pub struct Parts {
    /// What answers questions about the past is made of.
    pub query: QueryParts,
    /// What agents report of their samples, and alerts.
    pub accounts: Accounts,
    /// What is wanted of agents, and what became of it.
    pub steering: Steering,
    /// What decides.
    pub driver: Driver,
    /// What was pushed lately to pools under control.
    pub controls: Controls,
    /// What looks for something to suggest.
    pub suggester: Suggester,
    /// Everybody else's metrics; the API adds its own, `flyball_*`, and serves all of them at `/metrics`.
    pub registry: Registry,
    /// What the parts of the collector say about themselves, for `/readyz`.
    pub readiness: Readiness,
    /// When it is cancelled, event streams end and `/readyz` says so.
    pub shutdown: CancellationToken,
    /// Bounds of each request.
    pub limits: Limits,
    /// Names under which this server may be called.
    pub hosts: Hosts,
}

/// State of all calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    catalog: Arc<Catalog>,
    live: Live,
    accounts: Accounts,
    steering: Steering,
    driver: Driver,
    controls: Controls,
    suggester: Suggester,
    querier: Querier,
    registry: Registry,
    metrics: ApiMetrics,
    admission: Arc<Admission>,
    fleet: FleetBody,
    readiness: Readiness,
    event_readers: Arc<Semaphore>,
    shutdown: CancellationToken,
    limits: Limits,
    hosts: Hosts,
    openapi: String,
}

impl AppState {
    /// Joins the parts.
    pub fn new(mut parts: Parts) -> Self {
        let own = parts.registry.sub_registry_with_prefix("flyball");
        let metrics = ApiMetrics::register(own);
        let QueryParts { store, catalog, live, .. } = &parts.query;
        let (store, catalog, live) = (store.clone(), Arc::clone(catalog), live.clone());
        let querier = Querier::new(parts.query);
        querier.register(own);
        let document = docs::openapi();
        Self(Arc::new(Inner {
            querier,
            admission: Arc::new(Admission::new(parts.limits, metrics.clone())),
            fleet: FleetBody::default(),
            store,
            catalog,
            live,
            accounts: parts.accounts,
            steering: parts.steering,
            driver: parts.driver,
            controls: parts.controls,
            suggester: parts.suggester,
            registry: parts.registry,
            metrics,
            readiness: parts.readiness,
            event_readers: Arc::new(Semaphore::new(parts.limits.event_readers)),
            shutdown: parts.shutdown,
            limits: parts.limits,
            hosts: parts.hosts,
            openapi: document.to_json().expect("the document is plain data"),
        }))
    }

    /// What answers questions about the past.
    pub fn querier(&self) -> &Querier {
        &self.0.querier
    }

    /// What is wanted of agents, and what became of it.
    pub fn steering(&self) -> &Steering {
        &self.0.steering
    }
}

/// All of HTTP: the calls, their description, the dashboard.
fn edge(state: &AppState) -> Edge {
    let (calls, document) = docs::calls().split_for_parts();
    let router = calls
        .fallback(assets::serve)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(state.clone());
    let paths = document.paths.paths.keys().map(String::as_str);
    let Inner { limits, admission, metrics, .. } = &*state.0;
    Edge::new(router, paths, *limits, Arc::clone(admission), metrics)
}

async fn method_not_allowed(State(_): State<AppState>, request: Request) -> ApiError {
    ApiError::MethodNotAllowed {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
    }
}
