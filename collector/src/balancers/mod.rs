//! What the collector knows of load balancers: pools over all of them, rows of their reports, and answers.

pub mod history;
mod join;
mod load;
pub mod pool;
pub mod settings;
pub mod shadow;
mod sums;
pub mod watch;
