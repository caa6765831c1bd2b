//! What backends say of their own utilisation ([`crate::orca`]).

use flyball_proto::series::{Kind, Scale};

use super::{Handle, Metric, Readings, SampleError, Sampler};
use crate::orca::{Orca, Utilizations};

/// The name of the sampler.
pub(super) const NAME: &str = "orca";

const UTILIZATION: Metric = Metric {
    name: "flyball.backend.utilization",
    unit: "1",
    kind: Kind::Gauge,
    scale: Scale::decimal(6),
    attributes: &["server.address", "server.port"],
    description: "Share of a backend's capacity in use, as the backend itself says it (ORCA): of the application, or else the larger of CPU and memory; 1 where it says more.",
};

/// Publishes what was heard last.
pub(super) struct Backends {
    utilizations: Utilizations,
    backends: Vec<(String, Option<Handle>)>,
}

impl Backends {
    pub(super) fn new(backends: &[Orca], utilizations: Utilizations) -> Self {
        let backends = backends.iter().map(|orca| (orca.address().to_owned(), None)).collect();
        Self { utilizations, backends }
    }
}

impl Sampler for Backends {
    fn name(&self) -> &'static str {
        NAME
    }

    fn metrics(&self) -> &'static [Metric] {
        &[UTILIZATION]
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        for (address, handle) in &mut self.backends {
            let Some(share) = self.utilizations.get(address) else { continue };
            let handle = handle.get_or_insert_with(|| {
                let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
                let host = host.trim_matches(['[', ']']);
                let attributes = [("server.address", host), ("server.port", port)];
                readings.define(&UTILIZATION, &attributes)
            });
            readings.set_value(*handle, share);
        }
        Ok(())
    }
}
