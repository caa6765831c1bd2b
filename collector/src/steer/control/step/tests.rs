//! Tests of one window.

use flyball_model::rollout::{Control, Envelope, Hold, LastPush, RolloutId, Target};

use super::*;

const A: &str = "weight:web/a";

fn control(nodes: &[&str]) -> Control {
    let member = |node: &&str| Controlled {
        target: Target {
            id: TargetId(format!("haproxy:{node}:edge")),
            node: (*node).to_owned(),
            kind: "haproxy".into(),
            name: "edge".into(),
        },
        values: Values::from([(A.to_owned(), "100".to_owned())]),
        configured: Values::new(),
        hold: Hold::Standing,
    };
    let bounds = BTreeMap::from([(A.to_owned(), (0, 256))]);
    Control {
        rollout: RolloutId("r-1".into()),
        pool: Target {
            id: TargetId("pool:web".into()),
            node: String::new(),
            kind: "pool".into(),
            name: "web".into(),
        },
        envelope: Envelope { bounds, largest_shift: 0.2, push_ms: 1_000 }.into(),
        members: nodes.iter().map(member).collect(),
        frozen: None,
        killed: None,
        pushes: 1,
        last: Some(LastPush { at_ms: 0, window_ms: 0, sequence: 7 }),
        since_ms: 0,
    }
}

#[test]
fn a_minority_computes_nothing() {
    let control = control(&["lb-1", "lb-2"]);
    assert!(is_majority(2, control.standing().count()));
    assert!(!is_majority(1, control.standing().count()), "half is none");
    assert!(!is_majority(0, 0));
}
