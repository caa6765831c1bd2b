//! Which of several collectors an agent sends to.
//!
//! Each agent begins with the one that a hash of its node's name picks, so that a fleet spreads evenly without anybody to coordinate it. When one cannot be reached,
//! stops or refuses, the next one in the list is tried at once; only when all were tried in vain does the agent wait. It stays with one that works.

use tonic::transport::Uri;

/// The collectors, and the one whose turn it is.
#[derive(Debug)]
pub(crate) struct Collectors {
    uris: Vec<Uri>,
    current: usize,
    /// How many were tried in vain since the last that worked, in this round.
    failed: usize,
}

impl Collectors {
    /// Begins with the one for `node`.
    pub(crate) fn new(uris: Vec<Uri>, node: &str) -> Self {
        let current = (hash(node) % uris.len().max(1) as u64) as usize;
        Self { uris, current, failed: 0 }
    }

    /// The one whose turn it is; `None` when there is none at all.
    pub(crate) fn current(&self) -> Option<&Uri> {
        self.uris.get(self.current)
    }

    /// The current one has welcomed the agent.
    pub(crate) fn works(&mut self) {
        self.failed = 0;
    }

    /// Goes on to the next one. True when all have failed, one after the other: the agent should wait.
    pub(crate) fn next(&mut self) -> bool {
        let count = self.uris.len().max(1);
        self.current = (self.current + 1) % count;
        self.failed += 1;
        let is_round = self.failed >= count;
        if is_round {
            self.failed = 0;
        }
        is_round
    }
}

/// FNV-1a with a finish that mixes the low bits: the same on all machines and versions.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collectors(count: u16, node: &str) -> Collectors {
        let uri = |n| format!("http://127.0.0.1:{}", 7400 + n).parse().unwrap();
        Collectors::new((0..count).map(uri).collect(), node)
    }

    #[test]
    fn a_fleet_spreads_evenly() {
        let mut agents = [0_u32; 3];
        for n in 0..3_000 {
            agents[collectors(3, &format!("web-{n}")).current] += 1;
        }
        assert!(agents.iter().all(|n| (900..=1_100).contains(n)), "{agents:?}");
    }

    #[test]
    fn every_other_collector_is_tried_before_the_agent_waits() {
        let mut round = collectors(3, "web-1");
        let first = round.current;
        assert!(!round.next());
        assert!(!round.next());
        assert!(round.next());
        assert_eq!(round.current, first);
        round.works();
        assert!(!round.next(), "a new round");
    }

    #[test]
    fn one_alone_is_waited_for_each_time() {
        let mut round = collectors(1, "web-1");
        assert!(round.next());
        assert!(round.next());
    }
}
