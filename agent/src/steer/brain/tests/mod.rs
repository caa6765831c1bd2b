//! The properties of the module's documentation, on a simulated server that can be killed, changed by others, and that can refuse.

mod killed;
mod leases;
mod permanent;
mod persons;
mod refusals;
mod restarts;
mod ways;
mod world;
