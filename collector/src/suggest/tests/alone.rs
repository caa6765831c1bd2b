//! What goes without a person, and what does not any more.

use flyball_model::rollout::{Event, Judgement, SuggestionId};

use super::*;
use crate::suggest::look::{AUTO, may_go};

const MINUTE_MS: i64 = 60_000;

/// A cache whose suggestions go alone after so many that persons had confirmed.
struct Alone {
    state: State,
    settings: SuggestSettings,
    now_ms: i64,
    size: u64,
}

impl Alone {
    fn after(auto_confirm_after: u32) -> Self {
        let settings = SuggestSettings {
            auto_confirm: vec!["cache.size".into()],
            auto_confirm_after,
            ..SuggestSettings::default()
        };
        Self { state: State::default(), settings, now_ms: NOW_MS, size: 64 * MIB }
    }

    /// A suggestion for the cache, and whether it goes by itself.
    fn suggested(&mut self) -> (SuggestionId, bool) {
        // Long enough after whatever was before for the target to be free again.
        self.now_ms += 60 * MINUTE_MS;
        let mut view = view(Truth { most: 0.95, scale: 400e6 }, self.size);
        view.node = NodeName::new("a").unwrap();
        view.received_at_ms = self.now_ms;
        let context = Context { now_ms: self.now_ms, ..context(&[]) };
        let proposal = advise(&[view], &context, &self.state).proposals.remove(0);
        let id = proposal.id.clone();
        happened(&mut self.state, &Event::Proposed(Box::new(proposal)), self.now_ms);
        let goes = may_go(&self.state, &self.settings, self.now_ms).contains(&id);
        (id, goes)
    }

    fn ends(&mut self, id: &SuggestionId, by: Actor, result: Judgement) {
        carried_out(&mut self.state, id, by, result, &mut self.now_ms);
        if result == Judgement::Pass {
            let planned = &self.state.rollout(&id.rollout()).unwrap().plan.members[0];
            self.size = planned.last()["maxmemory"].parse().unwrap();
        }
    }

    /// Another hand sets the old limit.
    fn set_back(&mut self, id: &SuggestionId) {
        set_back_by_hand(&mut self.state, id, self.now_ms);
        self.size = 64 * MIB;
    }
}

#[test]
fn it_goes_after_enough_that_persons_had_confirmed() {
    let mut alone = Alone::after(2);
    for _ in 0..2 {
        let (id, goes) = alone.suggested();
        assert!(!goes);
        alone.ends(&id, by("ann"), Judgement::Pass);
    }
    let (id, goes) = alone.suggested();
    assert!(goes);
    alone.ends(&id, Actor::part(AUTO), Judgement::Pass);
    assert!(alone.suggested().1, "what went by itself takes nothing away");
}

#[test]
fn what_a_person_has_set_back_does_not_go_again_by_itself() {
    for after in [0, 1] {
        let mut alone = Alone::after(after);
        let (id, goes) = alone.suggested();
        assert_eq!(goes, after == 0);
        alone.ends(&id, by("ann"), Judgement::Pass);
        alone.set_back(&id);
        let (id, goes) = alone.suggested();
        assert!(!goes, "{after}: a person wants the old value");
        alone.ends(&id, by("ann"), Judgement::Pass);
        assert!(alone.suggested().1, "{after}: and now the new one");
    }
}

#[test]
fn what_went_back_does_not_go_again_by_itself() {
    let mut alone = Alone::after(0);
    let (id, goes) = alone.suggested();
    assert!(goes);
    alone.ends(&id, Actor::part(AUTO), Judgement::Harm);
    let (id, goes) = alone.suggested();
    assert!(!goes, "it did not stay");
    alone.ends(&id, by("ann"), Judgement::Pass);
    assert!(alone.suggested().1);
}
