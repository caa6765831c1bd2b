//! What is appended is read as it was, from any page, and by a second collector.

use flyball_collector::steer::journal::{Follower, Health, Journal};
use flyball_model::journal::{Log, Row};
use flyball_model::rollout::{SuggestionId, SuggestionStatus};

use crate::harness::{Opened, counts, fill, follow, proposed, run};

#[tokio::test]
async fn a_row_comes_back_with_every_column_as_it_was() {
    let opened = Opened::new().await;
    let journal = opened.journal();
    let rows = fill(&journal, 3).await;
    assert_eq!(journal.page(0).await.unwrap().0, rows);
    assert_eq!(journal.page(3).await.unwrap().0, rows[2..]);
    let newest = opened.store().newest_decisions("", u64::MAX, 2).await.unwrap();
    assert_eq!(newest, [rows[2].clone(), rows[1].clone()]);
    let about = opened.store().newest_decisions("s-2", 3, 9).await.unwrap();
    assert_eq!(about, rows[1..2]);
    opened.close().await;
}

#[tokio::test]
async fn a_follower_reads_on_page_by_page_and_then_what_is_new() {
    let opened = Opened::new().await;
    let journal = Journal::paged(opened.store(), 4);
    let mut follower = Follower::new(journal.clone());
    assert_eq!(follower.health(), &Health::Reading);
    assert_eq!(follower.catch_up().await, []);
    assert_eq!(follower.health(), &Health::Whole);

    let mut log = Log::default();
    let rows: Vec<Row> = (1..=30)
        .map(|number| {
            let row = log.row(&proposed(&format!("s-{number}"), number)).unwrap();
            log.admit(&row).unwrap();
            row
        })
        .collect();
    for row in &rows {
        opened.store().insert_decision(row, &format!("log/{}", row.sequence)).await.unwrap();
    }
    let taken = follower.catch_up().await;
    let numbers: Vec<u64> = taken.iter().map(|taken| taken.sequence).collect();
    assert_eq!(numbers, (1..=30).collect::<Vec<_>>());
    assert!(taken.iter().all(|taken| taken.transition.is_some()));
    assert_eq!((follower.log(), follower.health()), (&log, &Health::Whole));
    assert_eq!((follower.first(), follower.odd().len()), (1, 0));
    assert_eq!(follower.catch_up().await, []);

    fill(&journal, 2).await;
    assert_eq!(follower.catch_up().await.len(), 2);
    let found = follower.log().state().suggestion(&SuggestionId("s-32".into())).unwrap();
    assert_eq!(found.status, SuggestionStatus::Proposed);
    follower.check(false).await;
    assert_eq!(follower.health(), &Health::Whole);
    assert_eq!(follow(&journal).await.log(), follower.log());
    assert!(journal.verify().await.unwrap().intact);
    opened.close().await;
}

#[tokio::test]
async fn rows_that_are_too_old_may_be_gone() {
    let opened = Opened::new().await;
    let journal = opened.journal();
    fill(&journal, 5).await;
    run(
        opened.store(),
        "ALTER TABLE optimization_logs DELETE WHERE sequence < 3 SETTINGS mutations_sync = 2",
    )
    .await;
    let mut follower = follow(&journal).await;
    assert_eq!((follower.first(), follower.log().head().sequence), (3, 5));
    follower.check(false).await;
    assert_eq!(follower.health(), &Health::Whole);
    let verified = journal.verify().await.unwrap();
    assert_eq!((verified.intact, verified.first, verified.rows), (true, 3, 3));
    fill(&journal, 1).await;
    opened.close().await;
}

#[tokio::test]
async fn the_partition_of_a_row_follows_from_its_number() {
    let opened = Opened::new().await;
    let sql = "SELECT partition_key FROM system.tables WHERE database = currentDatabase() AND name = 'optimization_logs'";
    let key: String = opened.store().client().query(sql).fetch_one().await.unwrap();
    assert_eq!(key, "intDiv(sequence, 10000)");
    // Decisions survive the way back and forth.
    let journal = opened.journal();
    let rows = fill(&journal, 4).await;
    let migrator = opened.store().migrator();
    migrator.down(Some(5)).await.unwrap();
    let key: String = opened.store().client().query(sql).fetch_one().await.unwrap();
    assert_eq!(key, "toYYYYMM(at)");
    assert_eq!(journal.page(0).await.unwrap().0, rows);
    migrator.up().await.unwrap();
    assert_eq!(journal.page(0).await.unwrap().0, rows);
    assert_eq!(counts(opened.store()).await, (4, 4));
    opened.close().await;
}

#[tokio::test]
async fn a_store_that_is_away_is_waited_for() {
    let mut opened = Opened::new().await;
    let journal = opened.journal();
    fill(&journal, 1).await;
    let mut follower = follow(&journal).await;
    let row = follower.log().row(&proposed("s-x", 9)).unwrap();
    opened.open.engine.take().unwrap().stop().await;
    follower.catch_up().await;
    let Health::Away { error } = follower.health() else { panic!("{:?}", follower.health()) };
    assert!(error.contains("reached"), "{error}");
    assert!(!follower.health().may_decide());
    assert!(follower.append(&row).await.is_err());
    assert_eq!(follower.log().head().sequence, 1);
}
