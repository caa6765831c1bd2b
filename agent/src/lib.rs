//! Samples a host and streams the samples to a collector: sense -> ship -> steer.

pub mod sense;
