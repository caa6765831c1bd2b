//! A row of `optimization_logs`, and its bytes as they are hashed.
//!
//! The bytes are the columns in the table's order without the two hashes: numbers little-endian in
//! their width, enums as their number, texts and lists with their length before them (8 bytes), an
//! optional number as one byte and, if it is there, its bits. Lengths first, so that no two rows have
//! the same bytes; no JSON around it, so that no library's way of writing numbers matters.

/// One row. Columns as in migration 0003.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Place in the chain, from 1.
    pub sequence: u64,
    /// Epoch milliseconds.
    pub at_ms: i64,
    /// What it is about.
    pub subject: RowSubject,
    /// Its id.
    pub subject_id: String,
    /// Empty for the first transition.
    pub from_state: String,
    /// The same as before where only something within the state changes.
    pub to_state: String,
    /// Empty when none is involved.
    pub suggestion_id: String,
    /// Empty when none is involved.
    pub rollout_id: String,
    /// 0 when no rollout is involved.
    pub attempt: u8,
    /// For example `cache.size`.
    pub kind: String,
    /// Of the target, or of the group.
    pub target_id: String,
    /// Empty for a group.
    pub target_node: String,
    /// For example `redis`.
    pub target_kind: String,
    /// As its agent calls it.
    pub target_name: String,
    /// JSON: parameter, from, to and unit of each parameter.
    pub change: String,
    /// For example `redis.hit_ratio`; empty when there is no prediction.
    pub prediction_metric: String,
    /// Without the change.
    pub prediction_before: Option<f64>,
    /// With it.
    pub prediction_after: Option<f64>,
    /// Lower end.
    pub prediction_low: Option<f64>,
    /// Upper end.
    pub prediction_high: Option<f64>,
    /// 0 to 1.
    pub prediction_confidence: Option<f64>,
    /// What the judge saw.
    pub observed_value: Option<f64>,
    /// Lower end.
    pub observed_low: Option<f64>,
    /// Upper end.
    pub observed_high: Option<f64>,
    /// How many.
    pub observed_samples: u64,
    /// What the judge said.
    pub verdict: RowVerdict,
    /// That the step covers.
    pub nodes: Vec<String>,
    /// Of the policy, 0 when none is involved.
    pub revision: u64,
    /// User, or the part of the collector that decided.
    pub actor: String,
    /// Where a user's call came from.
    pub actor_address: String,
    /// In words.
    pub reason: String,
    /// JSON: `move` is the transition, `inputs` what it was computed from.
    pub inputs: String,
    /// Hash of the row before; zeros for the first.
    pub prev_hash: [u8; 32],
    /// SHA-256 of `prev_hash` and the row.
    pub hash: [u8; 32],
}

/// What a row is about. Numbers as in the table's enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RowSubject {
    /// A suggestion.
    Suggestion = 1,
    /// A rollout.
    Rollout = 2,
    /// A target.
    Target = 3,
}

/// What the judge said. Numbers as in the table's enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RowVerdict {
    /// It was not asked.
    None = 0,
    /// Not worse.
    Pass = 1,
    /// Worse.
    Harm = 2,
    /// Not decided.
    Inconclusive = 3,
}

/// Rises with every change of [`Row::bytes`].
const FORMAT: &[u8] = b"flyball.log.1\n";

impl RowSubject {
    /// As in the table's enum.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Suggestion => "suggestion",
            Self::Rollout => "rollout",
            Self::Target => "target",
        }
    }
}

impl RowVerdict {
    /// As in the table's enum.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Harm => "harm",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl TryFrom<u8> for RowSubject {
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        [Self::Suggestion, Self::Rollout, Self::Target]
            .into_iter()
            .find(|subject| *subject as u8 == number)
            .ok_or(number)
    }
}

impl TryFrom<u8> for RowVerdict {
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        [Self::None, Self::Pass, Self::Harm, Self::Inconclusive]
            .into_iter()
            .find(|verdict| *verdict as u8 == number)
            .ok_or(number)
    }
}

impl Row {
    /// All columns but the hashes, as they are hashed.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Bytes(FORMAT.to_vec());
        out.number(self.sequence).number(self.at_ms as u64);
        out.0.push(self.subject as u8);
        out.text(&self.subject_id).text(&self.from_state).text(&self.to_state);
        out.text(&self.suggestion_id).text(&self.rollout_id);
        out.0.push(self.attempt);
        out.text(&self.kind).text(&self.target_id).text(&self.target_node);
        out.text(&self.target_kind).text(&self.target_name).text(&self.change);
        out.text(&self.prediction_metric);
        out.maybe(self.prediction_before).maybe(self.prediction_after);
        out.maybe(self.prediction_low).maybe(self.prediction_high);
        out.maybe(self.prediction_confidence);
        out.maybe(self.observed_value).maybe(self.observed_low).maybe(self.observed_high);
        out.number(self.observed_samples);
        out.0.push(self.verdict as u8);
        out.number(self.nodes.len() as u64);
        for node in &self.nodes {
            out.text(node);
        }
        out.number(self.revision).text(&self.actor).text(&self.actor_address);
        out.text(&self.reason).text(&self.inputs);
        out.0
    }
}

struct Bytes(Vec<u8>);

impl Bytes {
    fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.0.extend(text.as_bytes());
        self
    }

    fn maybe(&mut self, number: Option<f64>) -> &mut Self {
        self.0.push(u8::from(number.is_some()));
        if let Some(number) = number {
            self.number(number.to_bits());
        }
        self
    }
}
