//! The chain against rows that were changed in every way.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::rollout::{
    Actor, Bound, Candidate, Change, Event, Limits, Prediction, Proposal, SuggestionId, Target,
    TargetId, Transition, decide,
};

fn row() -> Row {
    Row {
        sequence: 0,
        at_ms: 1_700_000_000_000,
        subject: RowSubject::Rollout,
        subject_id: "r-1".into(),
        from_state: "canary".into(),
        to_state: "validating".into(),
        suggestion_id: "s-1".into(),
        rollout_id: "r-1".into(),
        attempt: 1,
        kind: "cache.size".into(),
        target_id: "node-1/redis/main".into(),
        target_node: "node-1".into(),
        target_kind: "redis".into(),
        target_name: "main".into(),
        change: "[]".into(),
        prediction_metric: "redis.hit_ratio".into(),
        prediction_before: Some(0.8),
        prediction_after: Some(0.9),
        prediction_low: Some(0.85),
        prediction_high: Some(0.95),
        prediction_confidence: None,
        observed_value: Some(0.9),
        observed_low: None,
        observed_high: Some(-0.0),
        observed_samples: 12,
        verdict: RowVerdict::Pass,
        nodes: vec!["node-1".into(), "node-2".into()],
        revision: 7,
        actor: "ana".into(),
        actor_address: "127.0.0.1".into(),
        reason: "all went well – really".into(),
        inputs: "{}".into(),
        prev_hash: [0; 32],
        hash: [0; 32],
    }
}

/// One change of each column but the hashes.
const CHANGES: [fn(&mut Row); 32] = [
    |row| row.sequence += 1,
    |row| row.at_ms += 1,
    |row| row.subject = RowSubject::Target,
    |row| row.subject_id.push('x'),
    |row| row.from_state.clear(),
    |row| row.to_state.push(' '),
    |row| row.suggestion_id = String::new(),
    |row| row.rollout_id = "r-2".into(),
    |row| row.attempt = 2,
    |row| row.kind.push('x'),
    |row| row.target_id.push('x'),
    |row| row.target_node.push('x'),
    |row| row.target_kind.push('x'),
    |row| row.target_name.push('x'),
    |row| row.change.push(' '),
    |row| row.prediction_metric.clear(),
    |row| row.prediction_before = None,
    |row| row.prediction_after = Some(0.900_000_000_000_000_1),
    |row| row.prediction_low = Some(0.0),
    |row| row.prediction_high = None,
    |row| row.prediction_confidence = Some(0.0),
    |row| row.observed_value = None,
    |row| row.observed_low = Some(0.0),
    |row| row.observed_high = Some(0.0),
    |row| row.observed_samples = 0,
    |row| row.verdict = RowVerdict::None,
    |row| row.nodes.swap(0, 1),
    |row| row.revision = 0,
    |row| row.actor.push('x'),
    |row| row.actor_address.clear(),
    |row| row.reason.push('.'),
    |row| row.inputs = "{ }".into(),
];

fn chain(length: u64) -> Vec<Row> {
    let mut head = Head::default();
    (0..length)
        .map(|n| {
            let next = Row { reason: format!("row {n}"), ..row() }.linked(head);
            head = head.follow(&next).unwrap();
            next
        })
        .collect()
}

fn broken(rows: &[Row]) -> (u64, Why) {
    let found = verify(rows).unwrap_err();
    (found.sequence, found.why)
}

#[test]
fn bytes_and_hash_never_change_between_versions() {
    let row = row().linked(Head::default());
    let hex: Vec<String> = row.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(row.bytes().len(), 391);
    assert_eq!(hex.concat(), "c7160cedcbaa2e576ce165037e45ea5de5cf73264a0bb451ac5918fa8e854182");
}

#[test]
fn every_column_is_in_the_bytes() {
    let mut seen = std::collections::BTreeSet::from([row().bytes()]);
    for (column, change) in CHANGES.iter().enumerate() {
        let mut row = row();
        change(&mut row);
        assert!(seen.insert(row.bytes()), "column {column}");
    }
    // Texts that are next to each other cannot pass a letter on.
    let shifted = Row { from_state: "canar".into(), to_state: "yvalidating".into(), ..row() };
    assert!(seen.insert(shifted.bytes()));
    let nodes = Row { nodes: vec!["node-1node-2".into()], ..row() };
    assert!(seen.insert(nodes.bytes()));
}

proptest! {
    #[test]
    fn a_changed_row_is_found_where_it_is(length in 1_u64..20, at in any::<prop::sample::Index>()) {
        let rows = chain(length);
        prop_assert_eq!(verify(&rows).unwrap().sequence, length);
        let at = at.index(rows.len());
        for change in &CHANGES[1..] {
            let mut rows = rows.clone();
            change(&mut rows[at]);
            prop_assert_eq!(broken(&rows), (at as u64 + 1, Why::WrongHash));
            // With its own hash made anew, the next row shows it.
            rows[at].hash = rows[at].digest();
            if at + 1 < rows.len() {
                prop_assert_eq!(broken(&rows), (at as u64 + 2, Why::WrongLink));
            } else {
                prop_assert!(verify(&rows).unwrap().hash != chain(length)[at].hash);
            }
        }
    }

    #[test]
    fn a_missing_doubled_moved_or_forked_row_is_found(
        length in 3_u64..20, at in any::<prop::sample::Index>(),
    ) {
        let rows = chain(length);
        let at = at.index(rows.len() - 2) + 1;
        let sequence = at as u64 + 1;
        let mut missing = rows.clone();
        missing.remove(at);
        prop_assert_eq!(broken(&missing), (sequence + 1, Why::Gap { expected: sequence }));
        let mut moved = rows.clone();
        moved.swap(at, at + 1);
        prop_assert_eq!(broken(&moved), (sequence + 1, Why::Gap { expected: sequence }));
        let mut late = rows.clone();
        late.push(rows[at].clone());
        prop_assert_eq!(broken(&late), (sequence, Why::OutOfOrder));
        let mut twice = rows.clone();
        twice.insert(at, rows[at].clone());
        prop_assert_eq!(verify(&twice), verify(&rows), "a store may give a row twice");
        let other = Row { reason: "other".into(), ..rows[at].clone() };
        let before = Head { sequence: sequence - 1, hash: rows[at].prev_hash };
        for place in [at, at + 1] {
            let mut forked = rows.clone();
            forked.insert(place, other.clone().linked(before));
            prop_assert_eq!(broken(&forked), (sequence, Why::Fork));
        }
        // Older rows may be gone.
        prop_assert_eq!(verify(&rows[at..]), verify(&rows));
        prop_assert_eq!(verify_after(before, &rows[at..]), verify(&rows));
        let first = Row { prev_hash: [1; 32], ..rows[0].clone() };
        let first = Row { hash: first.digest(), ..first };
        prop_assert_eq!(broken(&[first]), (1, Why::WrongLink));
    }

    #[test]
    fn numbers_of_enums_are_those_of_the_table(number in any::<u8>()) {
        let names = ["suggestion", "rollout", "target"];
        let subject = RowSubject::try_from(number).ok().map(RowSubject::name);
        prop_assert_eq!(subject, number.checked_sub(1).and_then(|n| names.get(usize::from(n)).copied()));
        let names = ["none", "pass", "harm", "inconclusive"];
        let verdict = RowVerdict::try_from(number).ok().map(RowVerdict::name);
        prop_assert_eq!(verdict, names.get(usize::from(number)).copied());
    }
}

fn proposal(id: &str) -> Proposal {
    let target = Target {
        id: TargetId("node-1/redis/main".into()),
        node: "node-1".into(),
        kind: "redis".into(),
        name: "main".into(),
    };
    let change = Change {
        parameter: "maxmemory-policy".into(),
        from: "allkeys-lru".into(),
        to: "allkeys-lfu".into(),
        unit: String::new(),
        bound: Bound::OneOf(vec!["allkeys-lfu".into()]),
    };
    Proposal {
        id: SuggestionId(id.into()),
        kind: "cache.eviction_policy".into(),
        target: target.clone(),
        title: "set maxmemory-policy to allkeys-lfu".into(),
        members: vec![Candidate { target, change: vec![change], size: 0.1, traffic: 1e300 }],
        prediction: Prediction {
            after: 0.1 + 0.2,
            low: 5e-324,
            high: 1.0,
            ..Prediction::default()
        },
        undo: String::new(),
        details: json!({ "number": 0.1 + 0.7 }),
    }
}

/// A log of a proposal, its confirmation and the begin of its rollout.
fn log() -> (Log, Vec<Row>) {
    let mut log = Log::default();
    let mut rows = Vec::new();
    let suggestion = SuggestionId("s-1".into());
    let by = Actor { name: "ana".into(), address: "127.0.0.1".into() };
    let confirmed = Event::confirmed(suggestion, by, "go".into());
    for event in [Event::Proposed(Box::new(proposal("s-1"))), confirmed] {
        let decision = decide(log.state(), &event, 1_000, &Limits::default()).unwrap();
        for made in &decision.transitions {
            let row = log.row(made).unwrap();
            assert_eq!(log.admit(&row), Ok(None));
            assert_eq!(&Transition::try_from(&row).unwrap(), made);
            rows.push(row);
        }
    }
    (log, rows)
}

#[test]
fn rows_tell_people_what_happened() {
    let (_, rows) = log();
    let [proposed, confirmed, started] = rows.as_slice() else { panic!("{rows:?}") };
    let states = |row: &Row| (row.subject, row.from_state.clone(), row.to_state.clone());
    assert_eq!(states(proposed), (RowSubject::Suggestion, String::new(), "proposed".into()));
    assert_eq!(states(confirmed), (RowSubject::Suggestion, "proposed".into(), "confirmed".into()));
    assert_eq!(states(started), (RowSubject::Rollout, String::new(), "canary".into()));
    assert_eq!((confirmed.actor.as_str(), confirmed.actor_address.as_str()), ("ana", "127.0.0.1"));
    assert_eq!((confirmed.reason.as_str(), confirmed.rollout_id.as_str()), ("go", "r-1"));
    assert_eq!(
        (started.attempt, started.revision, started.nodes.as_slice()),
        (1, 3, ["node-1".to_owned()].as_slice())
    );
    assert_eq!(started.suggestion_id, "s-1");
    assert_eq!(started.target_name, "main");
    assert_eq!(started.prediction_after, Some(0.1 + 0.2));
    let change =
        r#"[{"from":"allkeys-lru","parameter":"maxmemory-policy","to":"allkeys-lfu","unit":""}]"#;
    assert_eq!(started.change, change);
}

#[test]
fn a_row_that_another_collector_wrote_first_is_taken_instead() {
    let (mut ours, rows) = log();
    let mut theirs = ours.clone();
    let propose = |log: &Log, id: &str| {
        let event = Event::Proposed(Box::new(proposal(id)));
        let decision = decide(log.state(), &event, 2_000, &Limits::default()).unwrap();
        log.row(&decision.transitions[0]).unwrap()
    };
    let (our_row, their_row) = (propose(&ours, "s-2"), propose(&theirs, "s-3"));
    theirs.admit(&their_row).unwrap();
    ours.admit(&their_row).unwrap();
    assert_eq!(ours, theirs);
    let late = ours.admit(&our_row).unwrap_err();
    assert_eq!((late.sequence, late.why), (rows.len() as u64 + 1, Why::Fork));
    assert_eq!(ours, theirs, "what breaks the chain changes nothing");
    assert_eq!(ours.admit(&their_row), Ok(None), "once more changes nothing");
    assert_eq!(ours, theirs);
}

#[test]
fn odd_rows_are_told_and_change_nothing_but_the_sequence() {
    let (log, rows) = log();
    let odd = |change: fn(&mut Row)| {
        let mut log = log.clone();
        let mut row = rows[0].clone();
        change(&mut row);
        let row = row.linked(log.head());
        let odd = log.admit(&row).unwrap().unwrap();
        assert_eq!(log.state().sequence(), 4);
        assert_eq!(log.state().policy("node-1").revision, 3);
        odd
    };
    assert!(matches!(odd(|_| {}), Odd::Misfit { sequence: 4, .. }), "proposed twice");
    assert!(matches!(odd(|row| row.inputs = "{}".into()), Odd::Unreadable(_)));
    let other = odd(|row| row.inputs = row.inputs.replace("s-1", "s-9"));
    assert_eq!(other, Odd::Columns { sequence: 4 });
}

#[test]
fn a_journal_without_its_oldest_rows_can_be_followed() {
    let (log, rows) = log();
    let (late, odd) = Log::replay(&rows[1..]).unwrap();
    assert_eq!(late.head(), log.head());
    assert_eq!(odd.len(), 2, "the suggestion is not known");
    assert_eq!(late.state().policy("node-1").revision, 1, "revisions do not begin anew");
    assert_eq!(Log::replay(&[]).unwrap().0, Log::default());
}
