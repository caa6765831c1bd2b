//! `make demo`: the closed loop on real servers, in under three minutes.

use anyhow::Result;
use clap::Parser;

/// Starts a collector, an agent, a Redis that is too small and its clients; shows what is found, confirmed,
/// tried, judged and kept, and then how a harmful change is taken back.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments {} = Arguments::parse();
    flyball_tests::demo::run().await
}
