//! The protocol over real connections, with raw clients: the rules that a correct server satisfies,
//! by number, and the limits.

mod client;
mod delta;
mod limits;
mod sotw;
#[path = "../support/mod.rs"]
mod support;
