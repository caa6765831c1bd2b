//! The catalog of a collector against what is stored: each metric once, with all its nodes and the number of its series, whichever collector stored them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::http::Api;
use crate::wait::until;

/// Longest time until a collector has read which series another one has stored.
const KNOWN: Duration = Duration::from_secs(40);

/// Series of each metric, by node.
#[derive(Debug, Default)]
pub struct Expected(BTreeMap<String, BTreeMap<String, u64>>);

impl Expected {
    /// Adds what is stored of a node: series by metric.
    pub fn add(&mut self, node: &str, metrics: &BTreeMap<String, u64>) {
        for (metric, series) in metrics {
            self.0.entry(metric.clone()).or_default().insert(node.to_owned(), *series);
        }
    }

    /// Waits until the catalog of `api` is this.
    ///
    /// # Errors
    /// When it does not become so.
    pub async fn wait(&self, api: &Api) -> Result<()> {
        until("the catalog to be what is stored", KNOWN, || async {
            let catalog = api.json("/api/performance/catalog").await?;
            let metrics = catalog["metrics"].as_array().context("metrics")?;
            ensure!(metrics.len() == self.0.len(), "{} of {}", metrics.len(), self.0.len());
            for metric in metrics {
                let name = metric["name"].as_str().context("a name")?;
                let nodes = self.0.get(name).with_context(|| format!("{name} is not stored"))?;
                let series: u64 = nodes.values().sum();
                ensure!(metric["series"] == series, "{series} are stored: {metric}");
                let named: Vec<&String> = nodes.keys().collect();
                ensure!(metric["nodes"] == serde_json::json!(named), "{named:?}: {metric}");
            }
            Ok(())
        })
        .await
        .with_context(|| api.base().to_owned())
    }
}
