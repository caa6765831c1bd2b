//! A store, and decisions to append.

use std::path::{Path, PathBuf};

use flyball_collector::steer::journal::{Follower, Health, Journal};
use flyball_collector::store::{OpenStore, Store, StoreConfig, StoreMetrics, open};
use flyball_model::journal::Row;
use flyball_model::rollout::{
    Actor, Bound, Candidate, Change, Move, Prediction, Proposal, SuggestionId, Target, TargetId,
    Transition,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// An open store with the embedded engine, and its directory.
pub struct Opened {
    pub open: OpenStore,
    pub dir: TempDir,
}

impl Opened {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let open = open_in(&config(dir.path())).await;
        Self { open, dir }
    }

    pub fn store(&self) -> &Store {
        &self.open.store
    }

    pub fn journal(&self) -> Journal {
        Journal::new(self.store())
    }

    pub async fn close(self) {
        self.open.engine.unwrap().stop().await;
    }
}

fn config(dir: &Path) -> StoreConfig {
    let program = Some(PathBuf::from(env!("CARGO_BIN_EXE_flyball-collector")));
    StoreConfig { program, ..StoreConfig::embedded(dir) }
}

pub async fn open_in(config: &StoreConfig) -> OpenStore {
    match open(config, &StoreMetrics::default(), CancellationToken::new()).await {
        Ok(open) => open,
        Err(error) => panic!("{error}"),
    }
}

/// Another collector's store on the same engine, reached at `url`.
pub async fn other(opened: &Opened, url: &str) -> Store {
    let endpoint = opened.open.engine.as_ref().unwrap().endpoint().clone();
    let mut config = config(opened.dir.path());
    config.clickhouse.url = vec![url.to_owned()];
    config.clickhouse.user = endpoint.user;
    config.clickhouse.timeout_ms = 5_000;
    let password = opened.dir.path().join("password");
    std::fs::write(&password, format!("{}\n", endpoint.password.expose())).unwrap();
    config.clickhouse.password_file = Some(password);
    open_in(&config).await.store
}

/// A suggestion that is made, so many milliseconds after the start of this month: old ones would be dropped.
pub fn proposed(id: &str, after_ms: i64) -> Transition {
    let at_ms = month_ms() + after_ms;
    let target = Target {
        id: TargetId("redis:a:sessions".into()),
        node: "a".into(),
        kind: "redis".into(),
        name: "sessions".into(),
    };
    let change = Change {
        parameter: "maxmemory".into(),
        from: "64".into(),
        to: "128".into(),
        unit: "bytes".into(),
        bound: Bound::OneOf(vec!["128".into()]),
    };
    let proposal = Proposal {
        id: SuggestionId(id.to_owned()),
        kind: "cache.size".into(),
        target: target.clone(),
        title: "Grow it's {x}\n\\ \"sessions\"".into(),
        members: vec![Candidate { target, change: vec![change], size: 64.0, traffic: 0.1 }],
        prediction: Prediction {
            metric: "redis.hit_ratio".into(),
            before: 0.841,
            after: 0.913,
            low: 0.1 + 0.2,
            high: 1.0,
            unit: "ratio".into(),
            confidence: 0.9,
        },
        undo: "back".into(),
        details: json!({ "evidence": [] }),
    };
    Transition {
        at_ms,
        actor: Actor { name: "advisor".into(), address: String::new() },
        reason: "tries".into(),
        inputs: json!({ "number": 0.1 }),
        what: Move::Proposed { proposal: Box::new(proposal), expires_at_ms: at_ms + 1_000 },
    }
}

/// Start of this month in UTC.
pub fn month_ms() -> i64 {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let start = now.first_of_month().unwrap().start_of_day().unwrap();
    start.timestamp().as_millisecond()
}

/// A follower that has read everything.
pub async fn follow(journal: &Journal) -> Follower {
    let mut follower = Follower::new(journal.clone());
    follower.catch_up().await;
    assert_eq!(follower.health(), &Health::Whole);
    follower
}

/// Appends so many decisions.
pub async fn fill(journal: &Journal, count: u64) -> Vec<Row> {
    let mut follower = follow(journal).await;
    let mut rows = Vec::new();
    for _ in 0..count {
        let number = follower.log().head().sequence + 1;
        let row = follower.log().row(&proposed(&format!("s-{number}"), number as i64));
        let row = row.unwrap();
        assert!(follower.append(&row).await.unwrap());
        rows.push(row);
    }
    rows
}

/// Rows in the table: all, and by different numbers.
pub async fn counts(store: &Store) -> (u64, u64) {
    let sql = "SELECT count(), uniqExact(sequence) FROM optimization_logs SETTINGS final = 0";
    store.client().query(sql).fetch_one().await.unwrap()
}

pub async fn run(store: &Store, sql: &str) {
    store.client().query_raw(sql).execute().await.unwrap();
}
