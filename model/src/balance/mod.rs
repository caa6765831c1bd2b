//! Load balancing as pure functions: how much each backend should get, what may be done about it at once, and what will come of it.
//!
//! | module | question |
//! |---|---|
//! | [`law`] | What is each backend able to do, and which weights follow from that? |
//! | [`envelope`] | May these weights be pushed now, and how far? |
//! | [`queueing`] | What will latency and utilisation be? |
//! | [`eject`] | Which backends should get nothing for a while? |
//! | [`judge`] | Did a change of balancers do harm? |
//! | [`limits`] | How many requests may be under way at a backend, and how many of them by each balancer? |
//!
//! One round of a pool, every window: [`law::Law::step`], [`envelope::guard`], then what the guard lets through is sent, and [`law::PoolState::settle`] says
//! what became of it. The state is all that is kept between rounds; it is plain data (serde).
//!
//! Weights are computed centrally because only the collector sees all balancers. They do not replace a policy that decides for each request (least
//! connections, two random choices): [`queueing::advise`] says where that alone is as good.

pub mod eject;
pub mod envelope;
pub mod judge;
pub mod law;
pub mod limits;
pub mod queueing;

/// The largest weight. Flyball computes weights from 1 to this, and the largest of a pool is always this.
pub const MAX_WEIGHT: u16 = 256;

/// The middle of `values`, the mean of both middles of an even number. None of what is not finite counts.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
