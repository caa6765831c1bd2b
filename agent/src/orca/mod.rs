//! What backends say of their own utilisation (ORCA: Open Request Cost Aggregation), for balancers of this agent and as series.
//!
//! Two ways: a header of any HTTP answer (`endpoint-load-metrics`), asked for each second, or the stream of `xds.service.orca.v3.OpenRcaService`. As a utilisation counts
//! `application_utilization`, or where a backend does not say that, the larger of its CPU's and its memory's (gRFC A51 and A58).

mod ask;
mod config;
mod header;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use ask::Orca;
pub use config::OrcaConfig;
pub(crate) use header::Load;

/// How long a backend's word counts: it is asked each second.
const MAX_AGE: Duration = Duration::from_secs(5);

/// The newest word of each backend, by the address that balancers know it by. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Utilizations(Arc<Mutex<HashMap<String, (f64, Instant)>>>);

impl Utilizations {
    /// The utilisation of the backend at `IP:PORT`, from 0 to 1; none when it said nothing of late.
    pub(crate) fn get(&self, address: &str) -> Option<f64> {
        let all = self.0.lock();
        let (share, at) = all.get(address)?;
        (at.elapsed() < MAX_AGE).then_some(*share)
    }

    fn set(&self, address: &str, share: f64) {
        self.0.lock().insert(address.to_owned(), (share, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_old_counts_no_more() {
        let all = Utilizations::default();
        all.set("10.0.0.1:80", 0.5);
        assert_eq!((all.get("10.0.0.1:80"), all.get("10.0.0.2:80")), (Some(0.5), None));
        let Some(old) = Instant::now().checked_sub(MAX_AGE) else { return };
        all.0.lock().insert("10.0.0.1:80".to_owned(), (0.5, old));
        assert_eq!(all.get("10.0.0.1:80"), None);
    }
}
