//! The judge's error rates on made-up and recorded noise. Shared by a test with few runs and an example
//! with many.

pub(crate) mod noise;
pub(crate) mod rollouts;
