//! Tests of the judge's properties.

pub(super) mod random;
