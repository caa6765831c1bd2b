//! `cache.size`: more memory where misses are for want of it, less where nobody would notice.
//!
//! Both read the measured curve and never leave it: beyond its reach nothing is known. What counts
//! is the difference along the curve, added to the hit ratio that is measured now; a curve that
//! misses the present hit ratio is not believed in at all.
//!
//! *More*: the size with the largest lower bound of the gain, less [`SuggestSettings::min_gain`] for
//! each doubling, so that memory is asked for only while it brings what it costs. Never when no miss
//! is for want of memory: the gain is at most the share of misses whose key had been evicted. The
//! host must have room for what the server's process grows by.
//!
//! *Less*: the smallest size whose largest loss is below [`SuggestSettings::max_loss`]. That is below
//! the least gain for which memory is added, so a cache does not grow and shrink in turn.
//!
//! Properties, each a test (`tests.rs`): (a) without misses for want of memory, more is never
//! suggested; (b) what is suggested is within reach, bounds and the host's room; (c) the lower end
//! clears the threshold; (d) after the change was made and came true, the opposite is not suggested;
//! (e) same inputs, same answer.

use flyball_model::record::Better;
use flyball_proto::steering::{CacheFacts, HitCurve};
use serde_json::json;

use super::draft::{Draft, Evidence, Gain, Risk, RiskLevel, bytes, percent};
use super::estimate::{Estimate, ModelError, at};
use super::limit::Limit;
use super::room::HostRoom;
use super::settings::SuggestSettings;
use super::view::{CacheView, MAXMEMORY_POLICY, Recent, curve_json};
use super::{Advisor, Context};

/// Sizes are multiples of this.
pub const GRAIN: u64 = 1 << 20;
/// Largest share that one step of a shrink takes away: what is too much is evicted at once.
pub const SHRINK_STEP: f64 = 0.05;
/// Largest factor of one step of a growth.
pub const GROWTH_STEP: f64 = 2.0;
/// Misses that an attribution must have been taken from.
const LEAST_MISSES: u64 = 50;
/// The curve may be this far from the measured hit ratio, besides the noise of the latter.
const ANCHOR: f64 = 0.01;
/// A cache that is not fuller has never evicted for its size.
const FULL: f64 = 0.9;
/// A cache is made smaller by half at most at once.
const LEAST_LEFT: f64 = 0.5;

/// The advisor.
#[derive(Debug, Clone, Copy)]
pub struct CacheSize;

/// What both directions start from.
struct Scene<'a> {
    view: &'a CacheView,
    facts: &'a CacheFacts,
    recent: &'a Recent,
    curve: &'a HitCurve,
    /// The curve at the present size.
    here: Estimate,
    limit: Limit,
    widening: f64,
    room: Result<HostRoom, String>,
    settings: &'a SuggestSettings,
}

impl Advisor for CacheSize {
    fn kind(&self) -> &'static str {
        "cache.size"
    }

    fn advise(&self, view: &CacheView, context: &Context<'_>) -> Result<Vec<Draft>, String> {
        let scene = Scene::new(view, context, self.kind())?;
        let more = match scene.more() {
            Ok(draft) => return Ok(vec![draft]),
            Err(reason) => reason,
        };
        match scene.less() {
            Ok(draft) => Ok(vec![draft]),
            Err(less) => Err(format!("not larger: {more}; not smaller: {less}")),
        }
    }
}

impl<'a> Scene<'a> {
    fn new(view: &'a CacheView, context: &'a Context<'_>, kind: &str) -> Result<Self, String> {
        let settings = context.settings;
        let facts = view.facts(context.now_ms, settings)?;
        if facts.max_bytes == 0 {
            return Err("it has no maxmemory".to_owned());
        }
        if view.setting(MAXMEMORY_POLICY)? == "noeviction" {
            return Err("it evicts nothing (noeviction), so its size decides no hit".to_owned());
        }
        let recent = view.recent()?;
        let curve = view.curve(context.now_ms, settings)?;
        let here = at(curve, facts.max_bytes)?;
        let hit_ratio = recent.hit_ratio();
        let noise = 1.645 * (hit_ratio * (1.0 - hit_ratio) / recent.requests()).sqrt();
        let off = (here.value - hit_ratio).abs();
        if off > ANCHOR + noise {
            let (says, is) = (percent(here.value), percent(hit_ratio));
            return Err(format!("its curve says {says} at its present size, and {is} is measured"));
        }
        let limit = view.limit()?;
        let widening = context.widening(kind, &view.target());
        let room = HostRoom::new(view, facts, context);
        Ok(Self { view, facts, recent, curve, here, limit, widening, room, settings })
    }

    fn misses(&self) -> f64 {
        1.0 - self.recent.hit_ratio()
    }

    /// Change of the hit ratio from the present size to another one.
    fn delta(&self, size: u64) -> Result<Estimate, String> {
        let there = at(self.curve, size)?;
        let delta = there.less(self.here).with(ModelError::SIZE, self.misses());
        Ok(delta.widened(self.widening))
    }

    fn more(&self) -> Result<Draft, String> {
        let for_want = self.for_want_of_memory()?;
        let room = self.room.as_ref().map_err(String::clone)?;
        let (size, limit) = (self.facts.max_bytes, self.largest(room)?);
        let doubling = self.settings.min_gain;
        let worth = |size: u64| -> Option<(u64, Estimate, f64)> {
            let delta = self.delta(size).ok()?.within(-1.0, for_want);
            let doublings = (size as f64 / self.facts.max_bytes as f64).log2();
            Some((size, delta, delta.low - doubling * doublings))
        };
        let points = self.curve.points.iter().map(|point| point.bytes).chain([limit]);
        let sizes = points.map(|bytes| bytes / GRAIN * GRAIN);
        let sizes = sizes.filter(|bytes| *bytes > size && *bytes <= limit);
        // What pays best of what brings enough; a smaller size may pay better for each byte, and bring too little.
        let gain = |delta: &Estimate| Gain::HitRatio { low: delta.low, misses: self.misses() };
        let enough = |delta: &Estimate| super::gates::worth(&gain(delta), self.settings).is_ok();
        let best = sizes.filter_map(worth).max_by(|a, b| {
            let (first, second) = (enough(&a.1), enough(&b.1));
            first.cmp(&second).then(a.2.total_cmp(&b.2)).then(b.0.cmp(&a.0))
        });
        let reach =
            || format!("nothing is known of sizes from {} to {}", bytes(size), bytes(limit));
        let (to, delta, _) = best.ok_or_else(reach)?;
        let gain = gain(&delta);
        super::gates::worth(&gain, self.settings)?;
        let risk = Risk::low("memory is given, nothing is evicted").and(
            RiskLevel::Low,
            format!("the server's process grows by up to {}", bytes(room.growth_to(to))),
        );
        let mut draft = self.draft(to, delta, gain, risk);
        draft.evidence.extend(room.evidence(self.view, to));
        draft.inputs["room"] = room.inputs();
        let (name, was) = (&self.view.report.target.name, bytes(size));
        draft.title = format!("Grow {name} from {was} to {}", bytes(to));
        draft.undo = format!(
            "Set maxmemory back to {was} ({size}), in steps of {} %; what no longer fits is evicted.",
            (SHRINK_STEP * 100.0).round()
        );
        Ok(draft)
    }

    /// The most that memory can bring: misses whose key had been evicted.
    fn for_want_of_memory(&self) -> Result<f64, String> {
        let misses =
            self.view.report.misses.as_ref().ok_or("why requests miss is not known yet")?;
        if misses.sampled < LEAST_MISSES {
            return Err(format!("why requests miss is known of {} of them only", misses.sampled));
        }
        let evicts = self.facts.evictions_per_second.is_some_and(|rate| rate > 0.0);
        if !evicts || misses.capacity <= 0.0 {
            return Err("no request misses for want of memory".to_owned());
        }
        Ok(misses.capacity * self.misses())
    }

    /// The largest size that reach, settings, agent and host allow.
    fn largest(&self, room: &HostRoom) -> Result<u64, String> {
        let size = self.facts.max_bytes;
        let grown = (size as f64 * self.settings.max_growth) as u64;
        let limits = [
            (self.curve.reach_bytes, "what was measured reaches no further".to_owned()),
            (grown, "suggest.max_growth".to_owned()),
            (self.limit.most, "its agent sets no more".to_owned()),
            (self.limit.reach(size, self.limit.most), "its agent takes no larger steps".to_owned()),
            (room.largest(), room.lack()),
        ];
        let least = limits.into_iter().min_by_key(|limit| limit.0);
        let (limit, why) = least.unwrap_or_default();
        let limit = limit / GRAIN * GRAIN;
        if limit > size { Ok(limit) } else { Err(why) }
    }

    fn less(&self) -> Result<Draft, String> {
        let size = self.facts.max_bytes;
        if (self.facts.used_bytes as f64) < FULL * size as f64 {
            return Err("it is not full".to_owned());
        }
        let floor = ((size as f64 * LEAST_LEFT) as u64).max(self.limit.least);
        let floor = self.limit.reach(size, floor.min(size));
        let points = self.curve.points.iter().map(|point| point.bytes.div_ceil(GRAIN) * GRAIN);
        let sizes = points.chain([floor.div_ceil(GRAIN) * GRAIN]);
        let sizes =
            sizes.filter(|bytes| (floor..size).contains(bytes) && *bytes <= self.limit.most);
        let harmless = sizes.filter_map(|size| {
            let delta = self.delta(size).ok()?.within(-1.0, 0.0);
            (-delta.low <= self.settings.max_loss).then_some((size, delta))
        });
        let least = harmless.min_by_key(|(size, _)| *size);
        let (to, delta) =
            least.ok_or_else(|| "every smaller size that was measured could be felt".to_owned())?;
        let gain = Gain::Memory { share: (size - to) as f64 / size as f64, loss: -delta.low };
        super::gates::worth(&gain, self.settings)?;
        let risk = Risk::low("what no longer fits is evicted, in small steps").and(
            RiskLevel::Medium,
            format!("up to {} of the requests miss that hit before", percent(-delta.low)),
        );
        let mut draft = self.draft(to, delta, gain, risk);
        let (name, was) = (&self.view.report.target.name, bytes(size));
        draft.title = format!("Shrink {name} from {was} to {}", bytes(to));
        draft.undo =
            format!("Set maxmemory back to {was} ({size}); the cache fills again by itself.");
        Ok(draft)
    }

    fn draft(&self, to: u64, delta: Estimate, gain: Gain, risk: Risk) -> Draft {
        let before = self.recent.hit_ratio();
        Draft {
            kind: "cache.size",
            title: String::new(),
            change: vec![self.limit.change(self.facts.max_bytes, to, None)],
            metric: "redis.hit_ratio",
            unit: "ratio",
            before,
            after: delta.plus(before).within(0.0, 1.0),
            better: Better::Higher,
            widened_by: self.widening,
            gain,
            evidence: self.evidence(to),
            risk,
            undo: String::new(),
            record: "cache.size",
            by_hand: false,
            inputs: json!({ "curve": curve_json(self.curve), "method": self.curve.method }),
        }
    }

    fn evidence(&self, to: u64) -> Vec<Evidence> {
        let view = self.view;
        let before = self.recent.hit_ratio();
        let mut all = vec![Evidence::hit_ratio(view, before)];
        let facts = self.facts;
        if let Some(rate) = facts.evictions_per_second {
            all.push(Evidence::metric(view, "evictions", "redis.keys.evicted", rate, "1/s"));
        }
        if let Some(misses) = &view.report.misses {
            let share = misses.capacity;
            all.push(Evidence::reported(view, "misses.capacity", share, "share of misses"));
        }
        for size in [facts.max_bytes, to] {
            if let Ok(point) = at(self.curve, size) {
                let name = format!("curve at {}", bytes(size));
                all.push(Evidence::reported(view, &name, point.value, "ratio"));
            }
        }
        all
    }
}
