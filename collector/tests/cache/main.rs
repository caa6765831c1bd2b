//! The shared cache on a real Redis: what collectors share, what they tell each other, and every way in which Redis can fail.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test's helpers fail the test, and are not a library"
)]

mod faults;
mod harness;
mod leases;
mod sharing;
