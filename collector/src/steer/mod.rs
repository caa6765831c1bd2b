//! Steers: what was decided goes into the journal, from there to the agents, and what came of it back.

pub mod control;
pub mod driver;
pub mod journal;
pub mod show;
pub mod tell;
pub mod watch;
