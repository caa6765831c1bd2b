//! Of two who append the same number never both win, however often an insert is sent and whatever is lost.

use std::collections::BTreeMap;

use flyball_collector::steer::journal::{Append, Follower, Journal, JournalError};
use flyball_model::journal::Row;

use crate::harness::{Opened, counts, fill, follow, other, proposed, run};
use crate::proxy::{Mode, Proxy};

/// Who appended what, by number.
type Wins = Vec<(u64, [u8; 32])>;

/// Appends until `count` decisions are its own. Some inserts are sent before, during and after.
async fn append(journal: Journal, name: &str, count: usize, retries: bool) -> (Wins, usize) {
    let (mut wins, mut losses) = (Wins::new(), 0);
    let mut follower = follow(&journal).await;
    for round in 0_i64.. {
        if wins.len() == count {
            break;
        }
        // Clocks of collectors differ: here by enough for two months to meet.
        let at_ms = if name == "a" { -1 } else { round };
        let made = proposed(&format!("s-{name}-{round}"), at_ms);
        let row = follower.log().row(&made).unwrap();
        if retries && round % 2 == 0 {
            let token = format!("log/{}", row.sequence);
            journal.store().insert_decision(&row, &token).await.unwrap();
        }
        if decide(&mut follower, &row, &journal, retries).await {
            wins.push((row.sequence, row.hash));
        } else {
            losses += 1;
            follower.catch_up().await;
        }
    }
    (wins, losses)
}

/// True when the row is ours.
async fn decide(follower: &mut Follower, row: &Row, journal: &Journal, retries: bool) -> bool {
    let ours = follower.append(row).await.unwrap();
    if retries && row.sequence.is_multiple_of(3) {
        // A retry that comes late, after both know who won.
        let token = format!("log/{}", row.sequence);
        journal.store().insert_decision(row, &token).await.unwrap();
    }
    ours
}

async fn check(opened: &Opened, all: Vec<Wins>) {
    let mut by_number: BTreeMap<u64, [u8; 32]> = BTreeMap::new();
    for (number, hash) in all.into_iter().flatten() {
        assert_eq!(by_number.insert(number, hash), None, "two won {number}");
    }
    let total = by_number.len() as u64;
    assert_eq!(counts(opened.store()).await, (total, total));
    let journal = opened.journal();
    let verified = journal.verify().await.unwrap();
    assert_eq!((verified.intact, verified.rows, verified.last), (true, total, total));
    for row in read(&journal).await {
        assert_eq!(by_number[&row.sequence], row.hash);
    }
}

async fn read(journal: &Journal) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let page = journal.page(rows.last().map_or(0, |row| row.sequence + 1)).await.unwrap().0;
        if page.is_empty() {
            return rows;
        }
        rows.extend(page);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_appenders_exactly_one_wins_each_number() {
    let opened = Opened::new().await;
    let names = ["a", "b", "c"];
    let tasks = names.map(|name| tokio::spawn(append(opened.journal(), name, 40, true)));
    let (mut all, mut lost) = (Vec::new(), 0);
    for task in tasks {
        let (wins, losses) = task.await.unwrap();
        all.push(wins);
        lost += losses;
    }
    assert!(lost > 15, "they hardly met: {lost} losses");
    check(&opened, all).await;
    opened.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_inserts_at_the_same_instant_have_one_winner() {
    let opened = Opened::new().await;
    let journal = opened.journal();
    let (mut first, mut second) = (follow(&journal).await, follow(&journal).await);
    for round in 1..=150_u64 {
        let one = first.log().row(&proposed(&format!("s-1-{round}"), -1)).unwrap();
        let two = second.log().row(&proposed(&format!("s-2-{round}"), 0)).unwrap();
        assert_eq!((one.sequence, two.sequence), (round, round));
        let (one, two) = tokio::join!(first.append(&one), second.append(&two));
        assert_ne!(one.unwrap(), two.unwrap(), "round {round}");
        assert_eq!(first.log().head(), second.log().head());
    }
    assert_eq!(counts(opened.store()).await, (150, 150));
    opened.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_that_is_lost_leaves_one_row_and_one_winner() {
    let opened = Opened::new().await;
    let url = opened.open.engine.as_ref().unwrap().endpoint().url.clone();
    let proxy = Proxy::start(url.trim_start_matches("http://").to_owned()).await;
    let far = Journal::new(&other(&opened, &format!("http://{}", proxy.address)).await);
    let near = opened.journal();
    fill(&near, 1).await;
    let mut wins = BTreeMap::new();
    for round in 0..20_u64 {
        let (mut one, mut two) = (follow(&far).await, follow(&near).await);
        let ours = one.log().row(&proposed(&format!("s-far-{round}"), 5)).unwrap();
        let theirs = two.log().row(&proposed(&format!("s-near-{round}"), 5)).unwrap();
        proxy.set(Mode::LoseAnswers);
        let (lost, won) = tokio::join!(one.append(&ours), two.append(&theirs));
        assert!(matches!(lost, Err(JournalError::Store(_))), "{lost:?}");
        proxy.set(Mode::Pass);
        // The far one does not know. It sends the same again and is told who has the number.
        let found = far.append(&ours).await.unwrap();
        let far_won = found == Append::Ours;
        assert_ne!(far_won, won.unwrap());
        let (winner, number) = (if far_won { &ours } else { &theirs }, ours.sequence);
        assert_eq!(wins.insert(number, winner.hash), None);
        one.catch_up().await;
        two.catch_up().await;
        assert_eq!(one.log().head(), two.log().head());
        assert_eq!(one.log().head().hash, winner.hash);
    }
    assert_eq!(counts(opened.store()).await, (21, 21));
    opened.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_that_was_spent_on_nothing_stops_nobody() {
    let opened = Opened::new().await;
    let journal = opened.journal();
    let rows = fill(&journal, 3).await;
    // As a server that crashed between noting the token and committing the row.
    run(
        opened.store(),
        "ALTER TABLE optimization_logs DELETE WHERE sequence = 3 SETTINGS mutations_sync = 2",
    )
    .await;
    assert_eq!(counts(opened.store()).await, (2, 2));
    let (mut first, mut second) = (follow(&journal).await, follow(&journal).await);
    let one = first.log().row(&proposed("s-one", 7)).unwrap();
    let two = second.log().row(&proposed("s-two", 7)).unwrap();
    assert_eq!((one.sequence, two.sequence), (rows[2].sequence, 3));
    let (one, two) = tokio::join!(first.append(&one), second.append(&two));
    assert_ne!(one.unwrap(), two.unwrap());
    assert_eq!(counts(opened.store()).await, (3, 3));
    fill(&journal, 5).await;
    assert!(journal.verify().await.unwrap().intact);
    opened.close().await;
}
