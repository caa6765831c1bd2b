//! The newest values of nodes that are connected to another collector, from the store.

use std::collections::HashMap;
use std::sync::Arc;

use flyball_proto::series::{NodeName, Series};

use super::{Querier, QueryError};
use crate::live::LastValue;
use crate::store::catalog::Selector;

/// Most series of one question.
const MAX_SERIES: usize = 20_000;

impl Querier {
    /// Newest samples within `lookback_ms` of the series of these nodes that `wanted` accepts. Asks nothing when nobody else stores samples.
    ///
    /// # Errors
    /// When there are too many series, too many queries run, or the store fails.
    pub async fn last_elsewhere(
        &self,
        nodes: &[NodeName],
        metric: Option<&str>,
        lookback_ms: i64,
        wanted: impl Fn(&Series) -> bool,
    ) -> Result<Vec<LastValue>, QueryError> {
        if self.is_alone() || nodes.is_empty() {
            return Ok(Vec::new());
        }
        let mut series = HashMap::new();
        let names: Vec<String> = nodes.iter().map(|name| name.as_str().to_owned()).collect();
        let all: Vec<Arc<str>> = match metric {
            Some(metric) => vec![metric.into()],
            None => self.catalog().metrics().into_iter().map(|entry| entry.name).collect(),
        };
        for metric in all {
            let selector = Selector { metric: &metric, nodes: &names, ..Selector::default() };
            // A metric or a node without a series is no error here.
            let Ok(selection) = self.catalog().select(&selector) else { continue };
            for selected in selection.series {
                let described = self.catalog().describe(selected.id);
                let described = described.filter(|(_, series)| wanted(series));
                series.extend(described.map(|described| (selected.id.get(), described)));
            }
        }
        if series.len() > MAX_SERIES {
            let count = series.len();
            return Err(QueryError::TooExpensive(format!(
                "the question reads {count} series of nodes that are connected to other collectors, over {MAX_SERIES}: name nodes or a metric"
            )));
        }
        let ids: Vec<u64> = series.keys().copied().collect();
        let rows = self.newest(&ids, lookback_ms).await?;
        let value = |(id, ts_ms, value): (u64, i64, f64)| {
            let (node, series) = series.get(&id)?;
            let node = NodeName::new(node).ok()?;
            Some(LastValue { node, series: Arc::new(series.clone()), ts_ms, value })
        };
        Ok(rows.into_iter().filter_map(value).collect())
    }
}
