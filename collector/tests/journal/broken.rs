//! A chain that is not whole: it is told where and why, and nothing is taken or appended after it.

use std::time::{Duration, Instant};

use flyball_collector::steer::journal::{Follower, Health, Journal, JournalError};
use flyball_model::journal::Row;

use crate::harness::{Opened, fill, follow, month_ms, proposed, run};

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

async fn delete(opened: &Opened, sequence: u64) {
    let sql = format!(
        "ALTER TABLE optimization_logs DELETE WHERE sequence = {sequence} SETTINGS mutations_sync = 2"
    );
    run(opened.store(), &sql).await;
}

/// A follower that has read everything and waits so long for rows that are on their way.
async fn patient(journal: &Journal, patience: Duration) -> Follower {
    let mut follower = Follower::patient(journal.clone(), patience);
    follower.catch_up().await;
    assert_eq!(follower.health(), &Health::Whole);
    follower
}

#[tokio::test]
async fn a_replica_that_lags_is_waited_for_and_not_for_ever() {
    let opened = Opened::new().await;
    let journal = opened.journal();
    let rows = fill(&journal, 4).await;
    let mut waits = patient(&journal, Duration::from_hours(1)).await;
    let mut hasty = patient(&journal, Duration::from_millis(1)).await;
    delete(&opened, 4).await;
    waits.catch_up().await;
    assert_eq!(waits.health(), &Health::Reading, "nothing is decided meanwhile");
    opened.store().insert_decision(&rows[3], "again").await.unwrap();
    waits.catch_up().await;
    assert_eq!(waits.health(), &Health::Whole);

    // One that is on its way in between stops nothing before it has been missed twice.
    delete(&opened, 2).await;
    waits.check(false).await;
    waits.check(false).await;
    assert_eq!(waits.health(), &Health::Whole);
    hasty.check(false).await;
    assert_eq!(hasty.health(), &Health::Whole);
    let end = Instant::now() + Duration::from_secs(10);
    while hasty.health() == &Health::Whole && Instant::now() < end {
        hasty.check(false).await;
    }
    assert!(matches!(hasty.health(), Health::Broken { sequence: 2, .. }), "{:?}", hasty.health());
    opened.close().await;
}

#[tokio::test]
async fn the_oldest_decisions_go_when_their_time_is_over_and_not_before() {
    let opened = Opened::new().await;
    let journal = opened.journal();
    run(opened.store(), "SYSTEM STOP TTL MERGES optimization_logs").await;
    let mut writer = follow(&journal).await;
    let eleven_years_ms = 11 * 366 * 24 * 3_600_000_i64;
    for (name, after_ms) in [("s-1", -eleven_years_ms), ("s-2", 0), ("s-3", 1)] {
        let row = writer.log().row(&proposed(name, after_ms)).unwrap();
        assert!(writer.append(&row).await.unwrap());
    }
    let mut reader = follow(&journal).await;
    delete(&opened, 1).await;
    reader.check(false).await;
    assert_eq!((reader.health(), reader.first()), (&Health::Whole, 2));
    delete(&opened, 2).await;
    reader.check(false).await;
    let Health::Broken { sequence: 2, reason } = reader.health() else {
        panic!("{:?}", reader.health());
    };
    assert!(reason.contains("before their time"), "{reason}");
    opened.close().await;
}

#[tokio::test]
async fn clocks_that_differ_are_told() {
    let opened = Opened::new().await;
    let journal = opened.journal();
    fill(&journal, 2).await;
    let mut reader = follow(&journal).await;
    let mut writer = follow(&journal).await;
    let now_ms = jiff::Timestamp::now().as_millisecond() - month_ms();
    for (name, after_ms, words) in [
        ("s-a", now_ms, None),
        // Less than an hour remains of it when it is read.
        ("s-b", now_ms + 3_600_000, Some(("decision 4 is dated ", " s after now"))),
        ("s-c", now_ms, Some(("decision 5 is dated 3600 s before", "the one that it follows"))),
    ] {
        let row = writer.log().row(&proposed(name, after_ms)).unwrap();
        assert!(writer.append(&row).await.unwrap());
        reader.catch_up().await;
        let told = reader.clocks();
        match words {
            None => assert_eq!(told, None),
            Some((begin, end)) => {
                let told = told.unwrap();
                assert!(told.contains(begin) && told.ends_with(end), "{told}");
            }
        }
    }
    opened.close().await;
}
