//! What the collector knows of load balancers: pools over all of them, and the rows of their reports.

pub mod gather;
pub mod history;
pub mod in_force;
mod join;
pub mod kept;
mod lines;
mod load;
pub mod past;
pub mod pool;
pub mod recall;
pub mod recorder;
pub mod settings;
pub mod shadow;
mod sums;
pub mod watch;
