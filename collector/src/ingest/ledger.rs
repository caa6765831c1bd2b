//! What became of one stream's frames: written by the batcher, told to the agent by the stream's session.
//!
//! Outcomes are summed up until the session takes them, so that a flush is one acknowledgement for each stream and a slow agent
//! costs a few numbers, not a queue. Frames settle in the order in which they were submitted, so the last settled one stands for all before it.

use std::collections::BTreeMap;

use flyball_proto::v1;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::metrics::NodeAccount;

/// `Rejection.slot` of samples that were refused by frame and not by slot.
pub(super) const ALL_SLOTS: u32 = u32::MAX;
/// Most different rejections in one acknowledgement; further ones are counted with the last one.
const MAX_REJECTIONS: usize = 256;

/// Outcomes of one stream that its agent does not know yet.
#[derive(Debug)]
pub(super) struct Ledger {
    account: NodeAccount,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    durable_seq: u64,
    written: u64,
    rejected: BTreeMap<(u32, String), u64>,
    is_news: bool,
    /// Frames that were submitted and have not settled.
    frames_in_flight: u64,
}

/// Samples of one frame that are refused for good, known before anything is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) slot: u32,
    pub(super) samples: u64,
    pub(super) reason: String,
}

impl Ledger {
    /// Nothing in flight; frames up to `acked_seq` are durable.
    pub(super) fn new(account: NodeAccount, acked_seq: u64) -> Self {
        let state = State { durable_seq: acked_seq, ..State::default() };
        Self { account, state: Mutex::new(state), news: Notify::new() }
    }

    /// A frame with `samples` samples is on its way to the store.
    pub(super) fn submitted(&self, samples: u64) {
        self.account.received(samples);
        self.state.lock().frames_in_flight += 1;
    }

    /// The frame `seq` is durable; `written` of its samples were stored and the others refused for good.
    pub(super) fn settled(&self, seq: u64, written: u64, refused: Vec<Refused>) {
        let mut state = self.state.lock();
        state.frames_in_flight -= 1;
        state.durable_seq = state.durable_seq.max(seq);
        state.written += written;
        state.is_news = true;
        let mut rejected = 0;
        for Refused { slot, samples, reason } in refused {
            rejected += samples;
            state.reject(slot, samples, reason);
        }
        drop(state);
        self.account.settled(written, rejected);
        self.news.notify_one();
    }

    /// Frames that were submitted and have not settled.
    pub(super) fn frames_in_flight(&self) -> u64 {
        self.state.lock().frames_in_flight
    }

    /// True when [`Ledger::take`] would give something.
    pub(super) fn has_news(&self) -> bool {
        self.state.lock().is_news
    }

    /// The acknowledgement of everything that settled since the last one.
    pub(super) fn take(&self) -> Option<v1::Ack> {
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.is_news) {
            return None;
        }
        let rejected = std::mem::take(&mut state.rejected).into_iter();
        Some(v1::Ack {
            durable_seq: state.durable_seq,
            written: std::mem::take(&mut state.written),
            rejected: rejected
                .map(|((slot, reason), samples)| v1::Rejection { slot, samples, reason })
                .collect(),
        })
    }

    /// Waits until something settles.
    pub(super) async fn changed(&self) {
        self.news.notified().await;
    }
}

impl State {
    fn reject(&mut self, slot: u32, samples: u64, reason: String) {
        if self.rejected.len() >= MAX_REJECTIONS
            && !self.rejected.contains_key(&(slot, reason.clone()))
            && let Some(mut last) = self.rejected.last_entry()
        {
            *last.get_mut() += samples;
            return;
        }
        *self.rejected.entry((slot, reason)).or_default() += samples;
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::IngestMetrics;
    use super::*;

    fn refused(slot: u32, reason: &str) -> Refused {
        Refused { slot, samples: 2, reason: reason.into() }
    }

    #[test]
    fn outcomes_are_summed_until_they_are_taken() {
        let ledger = Ledger::new(IngestMetrics::new(10).account("a"), 4);
        assert_eq!(ledger.take(), None);
        for _ in 0..3 {
            ledger.submitted(10);
        }
        ledger.settled(5, 8, vec![refused(1, "old")]);
        ledger.settled(6, 8, vec![refused(1, "old")]);
        assert_eq!(ledger.frames_in_flight(), 1);
        let rejected = vec![v1::Rejection { slot: 1, samples: 4, reason: "old".into() }];
        assert_eq!(ledger.take(), Some(v1::Ack { durable_seq: 6, written: 16, rejected }));
        assert_eq!(ledger.take(), None);
    }

    #[test]
    fn rejections_are_bounded_and_none_is_lost() {
        let ledger = Ledger::new(IngestMetrics::new(10).account("a"), 0);
        ledger.submitted(2_000);
        ledger.settled(1, 0, (0..1_000).map(|slot| refused(slot, "full")).collect());
        let ack = ledger.take().unwrap();
        assert_eq!(ack.rejected.len(), MAX_REJECTIONS);
        assert_eq!(ack.rejected.iter().map(|r| r.samples).sum::<u64>(), 2_000);
    }
}
