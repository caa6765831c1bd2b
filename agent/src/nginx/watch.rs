//! Tells what is set in nginx's upstreams, now and again: nginx itself counts nothing of its servers that could be read.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flyball_proto::steering::{
    BackendGroup, BackendServer, BackendState, BalancerReport, BalancerState, MAX_REASON_BYTES,
    Target, WeightMeaning, clip,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::file::Servers;
use super::{KIND, Nginx, NginxError};
use crate::steer::outbox::Outbox;

/// Time between two reports.
const PERIOD: Duration = Duration::from_secs(5);

/// Reports on each until `drain` is cancelled.
pub async fn watch(all: Vec<Nginx>, outbox: Arc<Outbox>, drain: CancellationToken) {
    if all.is_empty() {
        return;
    }
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = drain.cancelled() => return,
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for nginx in &all {
            outbox.balancer(report(nginx, now.as_millis() as i64));
        }
    }
}

/// What is known of one.
fn report(nginx: &Nginx, now_ms: i64) -> BalancerReport {
    let target = Target::new(KIND, &nginx.config().name);
    let known = nginx.identity().and_then(|identity| Ok((identity, nginx.upstreams()?)));
    match known {
        Ok((process, upstreams)) => BalancerReport {
            process,
            groups: upstreams.iter().map(|(name, servers)| group(name, servers)).collect(),
            missing: missing(nginx),
            ..BalancerReport::new(target, BalancerState::Up, now_ms)
        },
        Err(error) => {
            let state = match &error {
                NginxError::File { source, .. }
                    if source.kind() == std::io::ErrorKind::PermissionDenied =>
                {
                    BalancerState::Denied
                }
                _ => BalancerState::Unreachable,
            };
            let reason = clip(&error.to_string(), MAX_REASON_BYTES);
            BalancerReport { reason, ..BalancerReport::new(target, state, now_ms) }
        }
    }
}

fn missing(nginx: &Nginx) -> Vec<String> {
    let mut missing = vec!["requests: nginx tells nothing of single servers".to_owned()];
    if nginx.is_unsure() {
        missing.push(
            "what the workers have: nginx has not loaded what is in its files yet".to_owned(),
        );
    }
    missing
}

fn group(name: &str, servers: &Servers) -> BackendGroup {
    let backend = |(address, setting): (&str, super::Setting)| BackendServer {
        state: if setting.is_down { BackendState::Drain } else { BackendState::Ready },
        ..BackendServer::new(address, address, setting.weight)
    };
    BackendGroup {
        name: name.to_owned(),
        limit: None,
        algorithm: "nginx".to_owned(),
        weights: WeightMeaning::Exact,
        weights_note: "by a reload, so for drains and large shifts only".to_owned(),
        queue: 0,
        latency: None,
        backends: servers.all().map(backend).collect(),
    }
}
