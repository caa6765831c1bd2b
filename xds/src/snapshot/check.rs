//! Checks of a snapshot before anything is sent. The first problem is reported, with the path of
//! its field.
//!
//! The bounds are the intersection of what Envoy and gRPC accept (`proto constraint` rules of the
//! data-plane API, gRFC A27 for weights and priorities).

use std::collections::HashSet;
use std::time::Duration;

use super::{
    Bind, Cluster, Listener, MAX_NAME_BYTES, MAX_WEIGHT, OutlierDetection, Policy, Snapshot,
};

/// A snapshot that no client may see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SnapshotError {
    /// Path of the field, such as `clusters[web].endpoints[10.0.0.1:80].weight`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

fn wrong<T>(field: impl Into<String>, problem: impl Into<String>) -> Result<T, SnapshotError> {
    Err(SnapshotError { field: field.into(), problem: problem.into() })
}

impl Snapshot {
    /// Whether every client can take this snapshot: each field within its bounds, names unique, and
    /// every reference answered.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), SnapshotError> {
        name("version", &self.version)?;
        let mut clusters = HashSet::new();
        for cluster in &self.clusters {
            name("clusters[].name", &cluster.name)?;
            if !clusters.insert(cluster.name.as_str()) {
                return wrong(format!("clusters[{}].name", cluster.name), "used twice");
            }
            cluster.check(&format!("clusters[{}]", cluster.name))?;
        }
        let (mut names, mut sockets) = (HashSet::new(), HashSet::new());
        for listener in &self.listeners {
            name("listeners[].name", &listener.name)?;
            let path = format!("listeners[{}]", listener.name);
            if !names.insert(listener.name.as_str()) {
                return wrong(format!("{path}.name"), "used twice");
            }
            if let Bind::Socket { address, port } = listener.bind
                && !sockets.insert((address, port))
            {
                return wrong(format!("{path}.bind"), "used by another listener");
            }
            listener.check(&path, &clusters)?;
        }
        Ok(())
    }
}

impl Cluster {
    fn check(&self, path: &str) -> Result<(), SnapshotError> {
        duration(format!("{path}.connect_timeout"), self.connect_timeout)?;
        percent(format!("{path}.panic_percent"), self.panic_percent)?;
        match self.policy {
            Policy::LeastRequest { choices } if !(2..=16).contains(&choices) => {
                return wrong(
                    format!("{path}.policy.choices"),
                    format!("{choices} is not 2 to 16"),
                );
            }
            Policy::LeastRequest { .. } if self.locality_per_endpoint => {
                return wrong(
                    format!("{path}.policy"),
                    "with locality_per_endpoint only round robin",
                );
            }
            _ => {}
        }
        if let Some(outlier) = &self.outlier_detection {
            outlier.check(&format!("{path}.outlier_detection"))?;
        }
        self.check_endpoints(path)
    }

    fn check_endpoints(&self, path: &str) -> Result<(), SnapshotError> {
        let mut seen = HashSet::new();
        let mut sums: Vec<(u32, u64)> = Vec::new();
        for endpoint in &self.endpoints {
            let path = format!("{path}.endpoints[{}]", endpoint.name());
            if endpoint.port == 0 {
                return wrong(format!("{path}.port"), "0 is no port");
            }
            if !seen.insert((endpoint.address, endpoint.port)) {
                return wrong(path, "used twice");
            }
            if endpoint.weight == 0 || endpoint.weight > MAX_WEIGHT {
                let problem = format!("{} is not 1 to {MAX_WEIGHT}", endpoint.weight);
                return wrong(format!("{path}.weight"), problem);
            }
            match sums.iter_mut().find(|(priority, _)| *priority == endpoint.priority) {
                Some((_, sum)) => *sum += u64::from(endpoint.weight),
                None => sums.push((endpoint.priority, u64::from(endpoint.weight))),
            }
        }
        sums.sort_unstable();
        for (expected, (priority, sum)) in sums.iter().enumerate() {
            if usize::try_from(*priority) != Ok(expected) {
                let problem = format!("no endpoint of priority {expected}, but one of {priority}");
                return wrong(format!("{path}.endpoints[].priority"), problem);
            }
            if *sum > u64::from(u32::MAX) {
                let problem = format!("the sum {sum} of priority {priority} is not less than 2^32");
                return wrong(format!("{path}.endpoints[].weight"), problem);
            }
        }
        Ok(())
    }
}

impl OutlierDetection {
    fn check(&self, path: &str) -> Result<(), SnapshotError> {
        duration(format!("{path}.interval"), self.interval)?;
        duration(format!("{path}.base_ejection"), self.base_ejection)?;
        percent(format!("{path}.max_ejection_percent"), self.max_ejection_percent)
    }
}

impl Listener {
    fn check(&self, path: &str, clusters: &HashSet<&str>) -> Result<(), SnapshotError> {
        if matches!(self.bind, Bind::Socket { port: 0, .. }) {
            return wrong(format!("{path}.bind.port"), "0 is no port");
        }
        if self.routes.is_empty() {
            return wrong(format!("{path}.routes"), "empty");
        }
        for (index, route) in self.routes.iter().enumerate() {
            let path = format!("{path}.routes[{index}]");
            if !route.prefix.starts_with('/') || route.prefix.chars().any(char::is_control) {
                return wrong(
                    format!("{path}.prefix"),
                    "does not begin with / or holds a control character",
                );
            }
            if !clusters.contains(route.cluster.as_str()) {
                return wrong(format!("{path}.cluster"), format!("no cluster {}", route.cluster));
            }
            if let Some(timeout) = route.timeout {
                duration(format!("{path}.timeout"), timeout)?;
            }
        }
        Ok(())
    }
}

fn name(field: &str, value: &str) -> Result<(), SnapshotError> {
    if value.is_empty() {
        return wrong(field, "empty");
    }
    if value.len() > MAX_NAME_BYTES {
        return wrong(field, format!("{} bytes, at most {MAX_NAME_BYTES}", value.len()));
    }
    if value.chars().any(char::is_control) {
        return wrong(field, "holds a control character");
    }
    if value == "*" {
        return wrong(field, "* means all names");
    }
    Ok(())
}

/// More than 0, and within what a protobuf duration holds (10,000 years).
fn duration(field: String, value: Duration) -> Result<(), SnapshotError> {
    match value.as_secs() {
        0 if value.subsec_nanos() == 0 => wrong(field, "not more than 0"),
        315_576_000_000.. => wrong(field, "more than 10,000 years"),
        _ => Ok(()),
    }
}

fn percent(field: String, value: u32) -> Result<(), SnapshotError> {
    if value > 100 { wrong(field, format!("{value} is more than 100 percent")) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
