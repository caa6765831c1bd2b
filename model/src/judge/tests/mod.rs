//! Tests of the judge's properties.

mod cases;
mod missing;
mod partial;
mod plans;
mod properties;
pub(super) mod random;
mod stops;
mod world;
