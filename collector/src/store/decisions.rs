//! Rows of `optimization_logs`: written one at a time, read in the order of their numbers.
//!
//! What they mean, and which of two that race is the one that counts, is [`crate::steer::journal`]'s.

use clickhouse::Row;
use flyball_model::journal::{Row as Decision, RowSubject, RowVerdict};
use serde::{Deserialize, Serialize};

use super::config::Layout;
use super::error::StoreError;
use super::{Store, within};

/// The table.
pub(super) const DECISIONS: &str = "optimization_logs";

/// How many decisions there are, and which.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Row, Deserialize)]
pub struct DecisionCount {
    /// Rows, each counted once however often it was sent.
    pub rows: u64,
    /// Number of the first; 0 without any.
    pub first: u64,
    /// Number of the last; 0 without any.
    pub last: u64,
}

/// A row as the table has it, its columns in the table's order.
#[derive(Debug, Clone, Row, Serialize, Deserialize)]
pub(super) struct DecisionRow {
    sequence: u64,
    at: i64,
    subject: i8,
    subject_id: String,
    from_state: String,
    to_state: String,
    suggestion_id: String,
    rollout_id: String,
    attempt: u8,
    kind: String,
    target_id: String,
    target_node: String,
    target_kind: String,
    target_name: String,
    change: String,
    prediction_metric: String,
    prediction_before: Option<f64>,
    prediction_after: Option<f64>,
    prediction_low: Option<f64>,
    prediction_high: Option<f64>,
    prediction_confidence: Option<f64>,
    observed_value: Option<f64>,
    observed_low: Option<f64>,
    observed_high: Option<f64>,
    observed_samples: u64,
    verdict: i8,
    nodes: Vec<String>,
    revision: u64,
    actor: String,
    actor_address: String,
    reason: String,
    inputs: String,
    prev_hash: [u8; 32],
    hash: [u8; 32],
}

impl From<&Decision> for DecisionRow {
    fn from(row: &Decision) -> Self {
        Self {
            sequence: row.sequence,
            at: row.at_ms,
            subject: row.subject as i8,
            subject_id: row.subject_id.clone(),
            from_state: row.from_state.clone(),
            to_state: row.to_state.clone(),
            suggestion_id: row.suggestion_id.clone(),
            rollout_id: row.rollout_id.clone(),
            attempt: row.attempt,
            kind: row.kind.clone(),
            target_id: row.target_id.clone(),
            target_node: row.target_node.clone(),
            target_kind: row.target_kind.clone(),
            target_name: row.target_name.clone(),
            change: row.change.clone(),
            prediction_metric: row.prediction_metric.clone(),
            prediction_before: row.prediction_before,
            prediction_after: row.prediction_after,
            prediction_low: row.prediction_low,
            prediction_high: row.prediction_high,
            prediction_confidence: row.prediction_confidence,
            observed_value: row.observed_value,
            observed_low: row.observed_low,
            observed_high: row.observed_high,
            observed_samples: row.observed_samples,
            verdict: row.verdict as i8,
            nodes: row.nodes.clone(),
            revision: row.revision,
            actor: row.actor.clone(),
            actor_address: row.actor_address.clone(),
            reason: row.reason.clone(),
            inputs: row.inputs.clone(),
            prev_hash: row.prev_hash,
            hash: row.hash,
        }
    }
}

impl TryFrom<DecisionRow> for Decision {
    type Error = StoreError;

    fn try_from(row: DecisionRow) -> Result<Self, StoreError> {
        let sequence = row.sequence;
        let unknown = |column| StoreError::UnknownWord { column, sequence };
        let subject = u8::try_from(row.subject).ok().and_then(|n| RowSubject::try_from(n).ok());
        let verdict = u8::try_from(row.verdict).ok().and_then(|n| RowVerdict::try_from(n).ok());
        Ok(Self {
            sequence,
            at_ms: row.at,
            subject: subject.ok_or_else(|| unknown("subject"))?,
            subject_id: row.subject_id,
            from_state: row.from_state,
            to_state: row.to_state,
            suggestion_id: row.suggestion_id,
            rollout_id: row.rollout_id,
            attempt: row.attempt,
            kind: row.kind,
            target_id: row.target_id,
            target_node: row.target_node,
            target_kind: row.target_kind,
            target_name: row.target_name,
            change: row.change,
            prediction_metric: row.prediction_metric,
            prediction_before: row.prediction_before,
            prediction_after: row.prediction_after,
            prediction_low: row.prediction_low,
            prediction_high: row.prediction_high,
            prediction_confidence: row.prediction_confidence,
            observed_value: row.observed_value,
            observed_low: row.observed_low,
            observed_high: row.observed_high,
            observed_samples: row.observed_samples,
            verdict: verdict.ok_or_else(|| unknown("verdict"))?,
            nodes: row.nodes,
            revision: row.revision,
            actor: row.actor,
            actor_address: row.actor_address,
            reason: row.reason,
            inputs: row.inputs,
            prev_hash: row.prev_hash,
            hash: row.hash,
        })
    }
}

impl Store {
    /// Stores a decision unless one was stored with the same `token` before, which is no error.
    ///
    /// # Errors
    /// As [`StoreError::class`] says. After an error the row is stored or not.
    pub async fn insert_decision(&self, row: &Decision, token: &str) -> Result<(), StoreError> {
        self.writer.insert_decision(&row.into(), token).await
    }

    /// Decisions with numbers from `from` on, at most `limit`, by number. Different rows with one number
    /// are all there.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked, or a row holds what this version does not know.
    pub async fn decisions(&self, from: u64, limit: u64) -> Result<Vec<Decision>, StoreError> {
        let sql = format!(
            "SELECT ?fields FROM {DECISIONS} WHERE sequence >= ? ORDER BY sequence, hash LIMIT ?"
        );
        let (sql, timeout) = (sql.as_str(), self.settings.timeout());
        let ask = |client: clickhouse::Client| async move {
            let query = client.query(sql).bind(from).bind(limit);
            within(timeout, async { query.fetch_all::<DecisionRow>().await }).await
        };
        self.servers.ask(ask).await?.into_iter().map(TryInto::try_into).collect()
    }

    /// Decisions about a subject, a suggestion or a rollout, the newest first, at most `limit`, with
    /// numbers below `before`; about anything when `subject` is empty.
    ///
    /// # Errors
    /// As [`Store::decisions`].
    pub async fn newest_decisions(
        &self,
        subject: &str,
        before: u64,
        limit: u64,
    ) -> Result<Vec<Decision>, StoreError> {
        let sql = format!(
            "SELECT ?fields FROM {DECISIONS} WHERE sequence < ? AND (? = '' OR subject_id = ? OR suggestion_id = ? \
             OR rollout_id = ? OR target_id = ?) ORDER BY sequence DESC, hash LIMIT ?"
        );
        let (sql, timeout) = (sql.as_str(), self.settings.timeout());
        let ask = |client: clickhouse::Client| async move {
            let query = client.query(sql).bind(before).bind(subject);
            let query = query.bind(subject).bind(subject).bind(subject).bind(subject).bind(limit);
            within(timeout, async { query.fetch_all::<DecisionRow>().await }).await
        };
        self.servers.ask(ask).await?.into_iter().map(TryInto::try_into).collect()
    }

    /// How many decisions there are.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn count_decisions(&self) -> Result<DecisionCount, StoreError> {
        let sql = format!(
            "SELECT count() AS rows, min(sequence) AS first, max(sequence) AS last FROM {DECISIONS}"
        );
        let (sql, timeout) = (sql.as_str(), self.settings.timeout());
        let ask = |client: clickhouse::Client| async move {
            let query = client.query(sql);
            within(timeout, async { query.fetch_one::<DecisionCount>().await }).await
        };
        self.servers.ask(ask).await
    }

    /// Whether a row that an insert found to be there already can be read at once: on one server, or on
    /// shards without replicas. A replica may lag.
    pub fn reads_what_is_written(&self) -> bool {
        !matches!(self.settings.layout(), Layout::Replicated { .. })
    }
}
