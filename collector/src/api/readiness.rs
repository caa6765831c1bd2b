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
    /// It does not, and others do their work without it; `detail` says why.
    Degraded,
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
        let (status, detail) = match result {
            Ok(detail) => (CheckStatus::Ok, detail),
            Err(detail) => (CheckStatus::Failing, detail),
        };
        self.report_at(name, status, detail, now_ms());
    }

    /// A part that others can do without reports in the same way.
    pub fn report_minor(&self, name: &'static str, result: Result<String, String>) {
        let (status, detail) = match result {
            Ok(detail) => (CheckStatus::Ok, detail),
            Err(detail) => (CheckStatus::Degraded, detail),
        };
        self.report_at(name, status, detail, now_ms());
    }

    /// All checks by name.
    pub fn checks(&self) -> Vec<Check> {
        self.0.lock().values().cloned().collect()
    }

    fn report_at(&self, name: &'static str, status: CheckStatus, detail: String, now_ms: i64) {
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
        let report = |status, detail: &str, now_ms| {
            board.report_at("clickhouse", status, detail.to_owned(), now_ms);
        };
        report(CheckStatus::Ok, "3 ms", 10);
        report(CheckStatus::Ok, "4 ms", 20);
        assert_eq!((since(&board), board.checks()[0].detail.as_str()), (10, "4 ms"));
        report(CheckStatus::Failing, "down", 30);
        assert_eq!((since(&board), board.checks()[0].status), (30, CheckStatus::Failing));
    }
}
