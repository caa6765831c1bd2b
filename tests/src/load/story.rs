//! Values made beforehand: a few nodes of [`crate::workload`], told again and again from other places and from other bases.
//!
//! Each simulated agent takes one story, begins somewhere in it and adds a base of its own to every series that moves, so no two agents send
//! the same values and none costs more than an addition for a sample. When a story is over it begins again; counters go on from where they were.

use std::sync::Arc;

use flyball_proto::series::Kind;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::workload::{Node, Template};

/// Different stories.
const STORIES: u64 = 16;
/// Ticks of one story.
const TICKS: usize = 120;

/// All stories.
#[derive(Debug)]
pub(super) struct Stories {
    stories: Vec<Story>,
    /// For each series whether an agent's own base is added: series that are always zero or small stay as they are.
    is_based: Vec<bool>,
}

#[derive(Debug)]
struct Story {
    ticks: Vec<Vec<i64>>,
    /// What each series gains from one telling to the next; 0 for gauges.
    gain: Vec<i64>,
}

/// The values of one agent.
#[derive(Debug)]
pub(super) struct Teller {
    stories: Arc<Stories>,
    story: usize,
    tick: usize,
    base: Vec<i64>,
}

impl Stories {
    /// The stories of `seed`.
    pub(super) fn new(templates: &[Template], seed: u64) -> Self {
        let stories: Vec<_> =
            (0..STORIES).map(|index| Story::new(templates, seed, index)).collect();
        let moves = |series: usize| {
            let first = stories[0].ticks[0][series];
            first.abs() > 1_000 && stories.iter().any(|story| story.ticks[0][series] != first)
        };
        let is_based = (0..templates.len()).map(moves).collect();
        Self { stories, is_based }
    }
}

impl Story {
    fn new(templates: &[Template], seed: u64, index: u64) -> Self {
        let mut node = Node::new(templates, seed, index);
        let mut tick = || {
            let values = node.tick().iter().zip(templates);
            values.map(|(value, t)| t.series.scale.raw(*value).unwrap_or(0)).collect::<Vec<_>>()
        };
        let ticks: Vec<_> = (0..TICKS).map(|_| tick()).collect();
        let next = tick();
        let gain = |(series, template): (usize, &Template)| match template.series.kind {
            Kind::Counter => next[series] - ticks[0][series],
            Kind::Gauge => 0,
        };
        let gain = templates.iter().enumerate().map(gain).collect();
        Self { ticks, gain }
    }
}

impl Teller {
    /// The values of agent number `index`.
    pub(super) fn new(stories: Arc<Stories>, seed: u64, index: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let story = random.random_range(0..stories.stories.len());
        let tick = random.random_range(0..TICKS);
        let mut base =
            |is_based: &bool| if *is_based { random.random_range(0..1 << 20) * 4 } else { 0 };
        let base = stories.is_based.iter().map(&mut base).collect();
        Self { stories, story, tick, base }
    }

    /// Gives the next tick's raw integers to `take`, in the order of the templates.
    pub(super) fn tell(&mut self, mut take: impl FnMut(usize, i64)) {
        let story = &self.stories.stories[self.story];
        for (series, (raw, base)) in story.ticks[self.tick].iter().zip(&self.base).enumerate() {
            take(series, raw.wrapping_add(*base));
        }
        self.skip(1);
    }

    /// Passes over `ticks` ticks, as if they had been told.
    pub(super) fn skip(&mut self, ticks: u64) {
        let at = self.tick as u64 + ticks;
        self.tick = (at % TICKS as u64) as usize;
        let tellings = (at / TICKS as u64) as i64;
        if tellings > 0 {
            for (base, gain) in self.base.iter_mut().zip(&self.stories.stories[self.story].gain) {
                *base = base.wrapping_add(gain.wrapping_mul(tellings));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::templates;

    fn told(teller: &mut Teller) -> Vec<i64> {
        let mut raws = Vec::new();
        teller.tell(|_, raw| raws.push(raw));
        raws
    }

    #[test]
    fn counters_never_decrease_when_a_story_begins_again() {
        let templates = templates();
        let mut teller = Teller::new(Arc::new(Stories::new(&templates, 7)), 7, 3);
        let mut last = told(&mut teller);
        for _ in 0..TICKS * 3 {
            let next = told(&mut teller);
            for ((template, last), next) in templates.iter().zip(&last).zip(&next) {
                assert!(template.series.kind == Kind::Gauge || next >= last, "{template:?}");
            }
            last = next;
        }
    }

    #[test]
    fn ticks_that_are_passed_over_leave_what_telling_them_leaves() {
        let stories = Arc::new(Stories::new(&templates(), 7));
        for ticks in [0, 1, TICKS, 5 * TICKS + 17] {
            let [mut teller, mut skipper] =
                [(); 2].map(|()| Teller::new(Arc::clone(&stories), 7, 3));
            (0..ticks).for_each(|_| teller.tell(|_, _| {}));
            skipper.skip(ticks as u64);
            assert_eq!(told(&mut teller), told(&mut skipper), "{ticks}");
        }
    }

    #[test]
    fn two_agents_send_different_values_and_one_agent_always_the_same() {
        let stories = Arc::new(Stories::new(&templates(), 7));
        let agent = |index| told(&mut Teller::new(Arc::clone(&stories), 7, index));
        assert_eq!(agent(1), agent(1));
        let (one, two) = (agent(1), agent(2));
        let different = one.iter().zip(&two).filter(|(one, two)| one != two).count();
        assert!(different > one.len() / 2, "{different} of {}", one.len());
    }
}
