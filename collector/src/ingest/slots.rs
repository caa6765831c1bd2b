//! The slots of one stream: where the samples of each go, and the caps on how many series may be stored.
//!
//! A slot's samples are stored under a series of their own as long as the agent has fewer than `ingest.max_series_per_agent` and the catalog fewer than
//! `clickhouse.max_series`. Above that they are not refused: they add up in one series for each metric, [`OVERFLOW_ATTRIBUTE`], which keeps the
//! totals ([`super::sums`]). Slots without a sample for [`IDLE_S`] do not count for the agent's cap, so processes that have ended make room for new ones.
//!
//! The stream uses the series of its slots in the catalog until the dictionary begins anew or the stream ends; what nobody uses can be forgotten.

use std::sync::Arc;

use flyball_proto::frame::{Decoded, Sample};
use flyball_proto::series::{NodeName, Series};

use super::Shared;
use super::batch::NewSeries;
use super::ledger::Refused;
use super::sums::Sums;
use crate::account::Kind;
use crate::store::{SampleRow, SeriesId};

/// What tells a series that keeps sums from others, by OpenTelemetry's name.
const OVERFLOW_ATTRIBUTE: (&str, &str) = ("otel.metric.overflow", "true");
/// A slot without a sample for so many seconds does not count for the agent's cap.
const IDLE_S: u32 = 600;

/// See the module.
#[derive(Debug)]
pub(super) struct Slots {
    shared: Arc<Shared>,
    node: NodeName,
    all: Vec<Slot>,
    sums: Sums,
    /// Tells alerts: the stream is the node's live one.
    tells: bool,
    /// Members of sums when an alert was last told.
    told: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The series' id, or the number of a member of the sums.
    target: u64,
    /// When it last had a sample, in seconds since the Unix epoch.
    seen_s: u32,
    scale: i8,
    place: Place,
}

/// Where a slot's samples go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// To a series of their own.
    Own,
    /// Into a sum.
    Sum,
    /// Nowhere: there are too many metrics even for sums.
    Refused,
}

/// What of a frame is to be stored.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<SampleRow>,
    pub(super) refused: Vec<Refused>,
}

impl Slots {
    /// No slots yet. A stream that `tells` raises an alert when series are over a cap.
    pub(super) fn new(shared: Arc<Shared>, node: NodeName, tells: bool) -> Self {
        Self { shared, node, all: Vec::new(), sums: Sums::default(), tells, told: 0 }
    }

    /// Slots of the dictionary. A frame has no more rows than that.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The dictionary begins anew.
    pub(super) fn clear(&mut self) {
        self.release();
        self.all.clear();
        self.sums = Sums::default();
    }

    /// Adds the slots of a message. Series that are still to be written go to `unwritten`.
    pub(super) fn define<'a>(
        &mut self,
        series: impl Iterator<Item = &'a Arc<Series>>,
        now_ms: i64,
        unwritten: &mut Vec<NewSeries>,
    ) {
        let now_s = seconds(now_ms);
        let mut room = Room { free: self.free(None), counted: false };
        let more = series.size_hint().0;
        if self.all.capacity() - self.all.len() < more {
            // Little more than that: a fleet has millions of slots.
            self.all.reserve_exact(more.max(self.all.len() / 8));
        }
        for series in series {
            let has_room = room.take(|| self.free(Some(now_s)));
            let (place, target) = self.place(series, has_room, unwritten);
            if place != Place::Own {
                room.free += usize::from(has_room);
            }
            let scale = series.scale.code();
            self.all.push(Slot { target, seen_s: now_s, scale, place });
        }
        self.tell();
    }

    /// The series that a slot's samples are stored as, if it is one of their own.
    pub(super) fn own(&self, slot: u32) -> Option<SeriesId> {
        let slot = self.all.get(slot as usize)?;
        (slot.place == Place::Own).then(|| SeriesId::from(slot.target))
    }

    /// What is to be stored of a frame.
    pub(super) fn rows(&mut self, decoded: &Decoded<'_>, now_ms: i64) -> Rows {
        let mut all = Rows { rows: Vec::with_capacity(decoded.samples.len()), refused: Vec::new() };
        let (ts_ms, now_s) = (decoded.ts_ms, seconds(now_ms));
        let mut summed = 0;
        for sample in decoded.samples {
            let slot = &mut self.all[sample.slot.index()];
            slot.seen_s = now_s;
            match slot.place {
                Place::Own => {
                    let Slot { target: series_id, scale, .. } = *slot;
                    all.rows.push(SampleRow { series_id, ts_ms, raw: sample.raw, scale });
                }
                Place::Sum => {
                    summed += 1;
                    self.sums.take(slot.target as usize, sample, ts_ms, false);
                }
                Place::Refused => all.refused.push(refused(sample)),
            }
        }
        if summed > 0 {
            all.rows.extend(self.sums.rows());
            self.shared.metrics.samples_summed.inc_by(summed);
        }
        all
    }

    /// Takes note of a frame that is durable already.
    pub(super) fn pass(&mut self, decoded: &Decoded<'_>) {
        if self.sums.members() == 0 {
            return;
        }
        for sample in decoded.samples {
            let slot = self.all[sample.slot.index()];
            if slot.place == Place::Sum {
                self.sums.take(slot.target as usize, sample, decoded.ts_ms, true);
            }
        }
    }

    /// The alert of a stream that has ended is over.
    pub(super) fn untell(&mut self) {
        if std::mem::take(&mut self.told) > 0 {
            self.shared.accounts.set(Kind::SeriesOverflow, Some(&self.node), None);
        }
    }

    /// Series that the agent may still have: by the number of its slots or, at a time, by the number of those that are not idle.
    fn free(&self, now_s: Option<u32>) -> usize {
        let counts = |slot: &&Slot| {
            let is_idle = now_s.is_some_and(|now_s| now_s.saturating_sub(slot.seen_s) >= IDLE_S);
            slot.place == Place::Own && !is_idle
        };
        let used = self.all.iter().filter(counts).count();
        self.shared.settings.max_series_per_agent.saturating_sub(used)
    }

    fn place(
        &mut self,
        series: &Arc<Series>,
        has_room: bool,
        unwritten: &mut Vec<NewSeries>,
    ) -> (Place, u64) {
        if has_room && let Ok((id, to_write)) = self.shared.catalog.resolve(&self.node, series) {
            unwritten.extend(to_write.then(|| NewSeries::new(id, &self.node, series)));
            return (Place::Own, id.get());
        }
        let sum = self.sums.find(&series.metric).or_else(|| self.open(series, unwritten));
        match sum {
            Some(sum) => (Place::Sum, self.sums.join(sum, series.scale) as u64),
            None => (Place::Refused, 0),
        }
    }

    fn open(&mut self, series: &Series, unwritten: &mut Vec<NewSeries>) -> Option<u32> {
        if self.sums.is_full() {
            return None;
        }
        let (key, value) = OVERFLOW_ATTRIBUTE;
        let attributes = vec![(key.into(), value.into())];
        let overflow = Arc::new(Series { attributes, ..series.clone() });
        let resolved = self.shared.catalog.resolve_overflow(&self.node, &overflow);
        let (id, to_write) = resolved.ok()?;
        unwritten.extend(to_write.then(|| NewSeries::new(id, &self.node, &overflow)));
        self.sums.open(&overflow, id)
    }

    fn tell(&mut self) {
        let members = self.sums.members();
        if !self.tells || members == self.told {
            return;
        }
        if members == 0 {
            return self.untell();
        }
        self.told = members;
        let cap = self.shared.settings.max_series_per_agent;
        let (metric, most) = self.sums.largest().unwrap_or_default();
        let text = format!(
            "{members} series are over a cap (ingest.max_series_per_agent {cap}, clickhouse.max_series {}): their samples are kept as sums by metric; \
             most of them are {metric} ({most})",
            self.shared.catalog.max_series()
        );
        self.shared.accounts.set(Kind::SeriesOverflow, Some(&self.node), Some(text));
    }

    /// Ends the use of all series.
    fn release(&self) {
        let own = self.all.iter().filter(|slot| slot.place == Place::Own);
        let own = own.map(|slot| SeriesId::from(slot.target));
        self.shared.catalog.release(own.chain(self.sums.ids()));
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.release();
    }
}

/// Series that one message may still add. Idle ones are counted out at most once, when it is needed.
struct Room {
    free: usize,
    counted: bool,
}

impl Room {
    fn take(&mut self, count: impl FnOnce() -> usize) -> bool {
        if self.free == 0 && !std::mem::replace(&mut self.counted, true) {
            self.free = count();
        }
        let has_room = self.free > 0;
        self.free -= usize::from(has_room);
        has_room
    }
}

fn refused(sample: &Sample) -> Refused {
    let reason = "the node has more metrics over its cap on series than there are sums for";
    Refused { slot: sample.slot.0, samples: 1, reason: reason.to_owned() }
}

/// Seconds since the Unix epoch, until 2106.
fn seconds(ms: i64) -> u32 {
    u32::try_from(ms / 1_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use flyball_proto::frame::{Decoder, Encoder, Limits};
    use flyball_proto::series::{Kind as SeriesKind, Scale};

    use super::*;
    use crate::ingest::tests::shared;

    fn slots(shared: &Arc<Shared>) -> Slots {
        Slots::new(Arc::clone(shared), NodeName::new("web-1").unwrap(), true)
    }

    fn series(number: usize) -> Arc<Series> {
        Arc::new(Series {
            metric: "m".into(),
            unit: "1".into(),
            kind: SeriesKind::Gauge,
            scale: Scale::UNIT,
            attributes: vec![("n".into(), number.to_string())],
        })
    }

    fn define(slots: &mut Slots, numbers: std::ops::Range<usize>, now_ms: i64) -> usize {
        let (all, mut unwritten): (Vec<_>, _) = (numbers.map(series).collect(), Vec::new());
        slots.define(all.iter(), now_ms, &mut unwritten);
        unwritten.len()
    }

    fn places(slots: &Slots) -> Vec<Place> {
        slots.all.iter().map(|slot| slot.place).collect()
    }

    #[tokio::test]
    async fn a_stream_uses_its_series_until_its_dictionary_or_itself_ends() {
        let shared = shared(3);
        let (mut first, mut second) = (slots(&shared), slots(&shared));
        assert_eq!(define(&mut first, 0..5, 0), 4, "three of their own and a sum");
        assert_eq!(define(&mut second, 0..2, 0), 2, "nobody has written them yet");
        let catalog = &shared.catalog;
        catalog.mark_written(&catalog.unwritten_ids());
        assert_eq!(catalog.unwritten_ids(), [], "those in use are not meant");
        let all: Vec<_> = first.all.iter().map(|slot| SeriesId::from(slot.target)).collect();
        catalog.mark_written(&all[..3]);
        assert_eq!((catalog.written_ids(true).len(), catalog.written_ids(false).len()), (3, 0));
        first.clear();
        assert_eq!((catalog.written_ids(true).len(), catalog.written_ids(false).len()), (2, 1));
        drop(second);
        assert_eq!(catalog.written_ids(false).len(), 3);
        assert_eq!(catalog.unwritten_ids().len(), 1, "the sum");
        drop(first);
        assert_eq!(catalog.written_ids(false).len(), 3, "released once");
    }

    #[tokio::test]
    async fn slots_without_samples_for_long_make_room_for_new_ones() {
        let shared = shared(2);
        let mut slots = slots(&shared);
        define(&mut slots, 0..2, 0);
        define(&mut slots, 2..3, 1_000);
        assert_eq!(places(&slots), [Place::Own, Place::Own, Place::Sum]);
        assert_eq!(shared.accounts.alerts().len(), 1);

        // Only the first one goes on.
        let mut encoder = Encoder::new(Limits::default());
        let slot = encoder.define((*series(0)).clone()).unwrap();
        let mut decoder = Decoder::new(Limits::default());
        for message in encoder.definitions() {
            decoder.define(message).unwrap();
        }
        let late_ms = i64::from(IDLE_S) * 1_000;
        encoder.set(slot, 1);
        let mut payload = Vec::new();
        encoder.encode(late_ms - 1_000, &mut payload);
        slots.rows(&decoder.decode(&payload).unwrap(), late_ms - 1_000);
        define(&mut slots, 3..5, late_ms);
        assert_eq!(places(&slots)[3..], [Place::Own, Place::Sum], "one was idle");
    }
}
