//! Steers: what was decided goes into the journal, from there to the agents, and what came of it back.

pub mod journal;
pub mod watch;
