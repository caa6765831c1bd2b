//! What the collector knows of load balancers: pools over all of them, rows of their reports, and answers.

mod join;
mod load;
pub mod pool;
