//! What the collector knows of load balancers: pools over all of them, and the rows of their reports.

pub mod gather;
pub mod history;
mod join;
mod load;
pub mod pool;
pub mod recorder;
