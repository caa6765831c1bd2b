use std::collections::BTreeMap;

use super::*;
use crate::live::{Event, EventBody, EventFilter};

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn report(reported_ms: i64, produced: u64, shed: u64) -> Arc<Accounting> {
    Arc::new(Accounting {
        reported_ms,
        produced,
        stored: produced - shed,
        shed: BTreeMap::from([("full".to_owned(), shed)]),
        ..Accounting::default()
    })
}

fn text(accounts: &Accounts) -> String {
    let mut registry = Registry::with_prefix("flyball");
    accounts.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

#[test]
fn the_scrape_has_every_account_and_the_alerts() {
    let accounts = Accounts::new(Live::new(10), 10);
    accounts.report(&node("web-1"), report(1, 10, 0));
    accounts.report(&node("web-1"), report(2, 25, 4));
    accounts.report(&node("web-2"), report(2, 7, 0));
    let text = text(&accounts);
    for line in [
        "flyball_agent_samples_produced_total{node=\"web-1\"} 25",
        "flyball_agent_samples_stored_total{node=\"web-1\"} 21",
        "flyball_agent_samples_shed_total{node=\"web-1\",reason=\"full\"} 4",
        "flyball_agent_samples_in_flight{node=\"web-2\"} 0",
        "flyball_agent_samples_gap{node=\"web-2\"} 0",
        "flyball_alerts_firing{alert=\"samples.shed\"} 1",
        "flyball_alerts_raised_total{alert=\"samples.shed\"} 1",
        "flyball_alerts_dropped_total 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
}

#[test]
fn nodes_above_the_bound_make_room_and_take_their_alerts_along() {
    let accounts = Accounts::new(Live::new(10), 2);
    accounts.report(&node("a"), report(1, 10, 5));
    accounts.report(&node("b"), report(2, 10, 0));
    accounts.report(&node("c"), report(3, 10, 0));
    let alerts = accounts.alerts();
    assert_eq!(
        (alerts.len(), alerts[0].state, alerts[0].resolved_ms),
        (1, AlertState::Resolved, Some(3))
    );
    assert!(!text(&accounts).contains("node=\"a\""));
}

#[tokio::test]
async fn every_change_of_an_alert_is_an_event_that_can_be_resumed() {
    let live = Live::new(10);
    let accounts = Accounts::new(live.clone(), 10);
    let mut reader = live.subscribe(EventFilter::default(), None);
    reader.next().await.unwrap();
    accounts.set(Kind::SeriesOverflow, Some(&node("web-1")), Some("too many".to_owned()));
    accounts.set(Kind::SeriesOverflow, Some(&node("web-1")), Some("too many".to_owned()));
    let Event { id, body: EventBody::Alert(raised) } = reader.next().await.unwrap() else {
        panic!("not an alert")
    };
    assert_eq!((raised.name, raised.state), ("series.overflow", AlertState::Firing));
    accounts.set(Kind::SeriesOverflow, Some(&node("web-1")), None);
    let mut again = live.subscribe(EventFilter::default(), Some(id));
    let event = again.next().await.unwrap();
    let json = serde_json::to_value(&event.body).unwrap();
    assert_eq!((&json["type"], &json["state"]), (&"alert".into(), &"resolved".into()));
    assert_eq!(json["id"], raised.id);
}

#[test]
fn an_alert_ends_by_itself_when_nothing_happens_any_more() {
    let accounts = Accounts::new(Live::new(10), 10);
    accounts.report(&node("a"), report(1_000, 10, 5));
    accounts.tick(600_999);
    assert_eq!(accounts.alerts()[0].state, AlertState::Firing);
    accounts.tick(601_000);
    assert_eq!(accounts.alerts()[0].state, AlertState::Resolved);
}
