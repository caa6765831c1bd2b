//! Queries on a day of a fleet's samples: loads them through the shipped collector, then measures
//! what the API answers while the fleet goes on reporting.

mod load;

pub use self::load::{Loaded, load};

/// Tells people how far it is. May be lost.
fn say(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{what}");
}
