//! What the parts of the collector say about themselves, on one board that `/readyz` shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use crate::live::now_ms;

/// The board. Clones are the same board.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Check>>>);

/// Whether a part does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// It does.
    Ok,
    /// It does not; `detail` says why.
    Failing,
}

/// One part's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Check {
    /// Name of the part.
    #[schema(example = "clickhouse")]
    pub name: &'static str,
    /// Whether it does its work.
    pub status: CheckStatus,
    /// In words.
    pub detail: String,
    /// Since when the status is what it is, milliseconds since the Unix epoch.
    pub since_ms: i64,
}

impl Readiness {
    /// A part reports: `Ok` or `Err`, with a detail in words.
    pub fn report(&self, name: &'static str, result: Result<String, String>) {
        self.report_at(name, result, now_ms());
    }

    /// All checks by name.
    pub fn checks(&self) -> Vec<Check> {
        self.0.lock().values().cloned().collect()
    }

    fn report_at(&self, name: &'static str, result: Result<String, String>, now_ms: i64) {
        let (status, detail) = match result {
            Ok(detail) => (CheckStatus::Ok, detail),
            Err(detail) => (CheckStatus::Failing, detail),
        };
        let mut board = self.0.lock();
        let since_ms = match board.get(name) {
            Some(check) if check.status == status => check.since_ms,
            _ => now_ms,
        };
        board.insert(name, Check { name, status, detail, since_ms });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_last_change() {
        let board = Readiness::default();
        let since = |board: &Readiness| board.checks()[0].since_ms;
        board.report_at("clickhouse", Ok("3 ms".into()), 10);
        board.report_at("clickhouse", Ok("4 ms".into()), 20);
        assert_eq!((since(&board), board.checks()[0].detail.as_str()), (10, "4 ms"));
        board.report_at("clickhouse", Err("down".into()), 30);
        assert_eq!((since(&board), board.checks()[0].status), (30, CheckStatus::Failing));
    }
}
