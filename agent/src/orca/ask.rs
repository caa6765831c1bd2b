//! Asking one backend until it is dropped: each second by HTTP, or on a stream that it fills.

use std::sync::Arc;
use std::time::Duration;

use flyball_model::backoff::Backoff;
use flyball_proto::orca::open_rca_service_client::OpenRcaServiceClient;
use flyball_proto::orca::{Duration as Interval, OrcaLoadReport, OrcaLoadReportRequest};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tonic::transport::{Endpoint, Uri};

use super::config::OrcaConfig;
use super::{Load, MAX_AGE, Utilizations};
use crate::envoy::http::Http;
use crate::envoy::place::http_place;

const PERIOD: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_millis(900);
/// The answer itself is of no interest.
const MAX_ANSWER: usize = 1 << 20;
/// Larger than any report with some hundred named metrics.
const MAX_REPORT: usize = 64 << 10;
const HEADER: &str = "endpoint-load-metrics";
/// Pauses between two attempts.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// One backend. Clones are the same.
#[derive(Debug, Clone)]
pub struct Orca {
    config: OrcaConfig,
    /// As balancers write it.
    address: String,
    state: Arc<Mutex<Option<bool>>>,
}

impl Orca {
    /// One that is configured so.
    pub fn new(config: OrcaConfig) -> Self {
        let address = config.socket().map_or_else(|| config.address.clone(), |s| s.to_string());
        Self { config, address, state: Arc::default() }
    }

    /// `IP:PORT` as balancers know it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Asks until it is dropped.
    pub(crate) async fn run(self, utilizations: Utilizations) {
        let place = |text: &Option<String>| http_place(text.as_deref()?, true).ok();
        if let Some(url) = place(&self.config.url) {
            self.by_header(url, &utilizations).await;
        } else if let Some(grpc) = place(&self.config.grpc) {
            self.by_stream(grpc, &utilizations).await;
        }
    }

    async fn by_header(&self, url: Uri, utilizations: &Utilizations) {
        let path = url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let mut http = Http::new(url, DEADLINE, MAX_ANSWER);
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let told = match http.get(&path).await {
                Ok(answer) => {
                    let header = answer.headers.get(HEADER).and_then(|value| value.to_str().ok());
                    let load = header.and_then(Load::read);
                    load.ok_or_else(|| format!("no readable header {HEADER}"))
                }
                Err(error) => Err(error.to_string()),
            };
            self.take(told, utilizations);
        }
    }

    async fn by_stream(&self, place: Uri, utilizations: &Utilizations) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1).expect("0 < floor <= cap");
        loop {
            let reason = self.stream(place.clone(), utilizations, &mut backoff).await;
            self.take(Err(reason), utilizations);
            sleep(backoff.next_delay(rand::random())).await;
        }
    }

    /// Reads a stream to its end, and says why it ended.
    async fn stream(
        &self,
        place: Uri,
        utilizations: &Utilizations,
        backoff: &mut Backoff,
    ) -> String {
        let endpoint = Endpoint::from(place).connect_timeout(DEADLINE);
        let channel = match endpoint.connect().await {
            Ok(channel) => channel,
            Err(error) => return error.to_string(),
        };
        let mut client = OpenRcaServiceClient::new(channel).max_decoding_message_size(MAX_REPORT);
        let report_interval = Some(Interval { seconds: PERIOD.as_secs() as i64, nanos: 0 });
        let request = OrcaLoadReportRequest { report_interval, request_cost_names: Vec::new() };
        let mut reports = match timeout(MAX_AGE * 2, client.stream_core_metrics(request)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return status.message().to_owned(),
            Err(_) => return format!("no answer within {:?}", MAX_AGE * 2),
        };
        loop {
            match timeout(MAX_AGE * 2, reports.message()).await {
                Ok(Ok(Some(report))) => {
                    backoff.reset();
                    let load = load(&report).ok_or_else(|| "an impossible report".to_owned());
                    self.take(load, utilizations);
                }
                Ok(Ok(None)) => return "the backend has ended the stream".to_owned(),
                Ok(Err(status)) => return status.message().to_owned(),
                Err(_) => return format!("no report within {:?}", MAX_AGE * 2),
            }
        }
    }

    /// Takes note of a word, and says when a backend begins to speak or falls silent.
    fn take(&self, told: Result<Load, String>, utilizations: &Utilizations) {
        if let Ok(load) = &told
            && let Some(share) = load.utilization()
        {
            utilizations.set(&self.address, share);
        }
        if self.state.lock().replace(told.is_ok()) == Some(told.is_ok()) {
            return;
        }
        let (backend, address) = (&self.config.name, &self.address);
        match told {
            Ok(_) => tracing::info!(backend, address, "the backend tells its utilisation"),
            Err(reason) => {
                tracing::warn!(
                    backend,
                    address,
                    reason,
                    "the backend does not tell its utilisation"
                );
            }
        }
    }
}

fn load(report: &OrcaLoadReport) -> Option<Load> {
    let load = Load {
        application: report.application_utilization,
        cpu: report.cpu_utilization,
        memory: report.mem_utilization,
    };
    load.checked()
}
