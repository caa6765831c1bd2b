//! A chain that is not whole: it is told where and why, and nothing is taken or appended after it.

use flyball_collector::steer::journal::{Follower, Health, Journal, JournalError};
use flyball_model::journal::Row;

use crate::harness::{Opened, fill, follow, proposed, run};

/// A follower that began before the damage, and one that begins after it: both must see it.
async fn breaks(journal: &Journal, mut before: Follower, sequence: u64, words: &str, all: bool) {
    before.catch_up().await;
    if before.health() == &Health::Whole {
        before.check(all).await;
    }
    let mut after = Follower::new(journal.clone());
    after.catch_up().await;
    for follower in [&before, &after] {
        let Health::Broken { sequence: at, reason } = follower.health() else {
            panic!("{:?}: {words}", follower.health());
        };
        assert_eq!(*at, sequence, "{reason}");
        assert!(reason.contains(words), "{reason}");
        assert!(!follower.health().may_decide());
    }
    assert_eq!(after.log().head().sequence, sequence - 1);
    // It stays so, whatever comes.
    assert_eq!(after.catch_up().await, []);
    let verified = journal.verify().await.unwrap();
    assert!(!verified.intact && verified.problem.unwrap().contains(words));
}

/// `all`: it takes more than counting for who has read the rows before.
async fn damaged(sequence: u64, words: &str, all: bool, damage: impl AsyncFnOnce(&Opened, &[Row])) {
    let opened = Opened::new().await;
    // Pages of three: a number can be at the end of one.
    let journal = Journal::paged(opened.store(), 3);
    let rows = fill(&journal, 6).await;
    let before = follow(&journal).await;
    damage(&opened, &rows).await;
    breaks(&journal, before, sequence, words, all).await;
    opened.close().await;
}

#[tokio::test]
async fn a_second_row_with_an_old_number_is_found() {
    damaged(4, "two different rows", false, async |opened, rows| {
        let mut second = rows[3].clone();
        second.reason = "another".to_owned();
        second.hash = second.digest();
        opened.store().insert_decision(&second, "forged").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_row_that_was_changed_is_found() {
    damaged(3, "hash is not that of its contents", true, async |opened, _| {
        let sql = "ALTER TABLE optimization_logs UPDATE actor = 'nobody' WHERE sequence = 3 SETTINGS mutations_sync = 2";
        run(opened.store(), sql).await;
    })
    .await;
}

#[tokio::test]
async fn a_row_that_is_gone_is_found() {
    damaged(3, "missing", false, async |opened, _| {
        let sql =
            "ALTER TABLE optimization_logs DELETE WHERE sequence = 3 SETTINGS mutations_sync = 2";
        run(opened.store(), sql).await;
    })
    .await;
}

#[tokio::test]
async fn an_appender_that_meets_a_fork_wins_nothing() {
    let opened = Opened::new().await;
    let journal = opened.journal();
    fill(&journal, 2).await;
    let mut follower = follow(&journal).await;
    for name in ["s-x", "s-y"] {
        let row = follower.log().row(&proposed(name, 9)).unwrap();
        opened.store().insert_decision(&row, name).await.unwrap();
    }
    let row = follower.log().row(&proposed("s-z", 9)).unwrap();
    let error = follower.append(&row).await.unwrap_err();
    assert!(matches!(error, JournalError::Fork { sequence: 3 }), "{error}");
    assert!(matches!(follower.health(), Health::Broken { sequence: 3, .. }));
    assert_eq!(follower.log().head().sequence, 2);
    opened.close().await;
}

#[tokio::test]
async fn a_row_that_this_version_cannot_read_ends_deciding() {
    let opened = Opened::new().await;
    let journal = opened.journal();
    fill(&journal, 1).await;
    let mut follower = follow(&journal).await;
    let row = follower.log().row(&proposed("s-x", 9)).unwrap();
    let inputs = r#"{"move":{"teleported":{}},"inputs":null}"#.to_owned();
    let mut newer = Row { inputs, ..row };
    newer.hash = newer.digest();
    opened.store().insert_decision(&newer, "log/2").await.unwrap();
    follower.catch_up().await;
    let Health::Broken { sequence: 2, reason } = follower.health() else { panic!() };
    assert!(reason.contains("teleported"), "{reason}");
    assert_eq!(follower.odd().len(), 1);
    opened.close().await;
}
