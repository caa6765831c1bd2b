//! `make demo`: the closed loop on real servers.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use flyball_tests::demo::Act;

/// First act: a Redis that is too small and its clients; shows what is found, confirmed, tried, judged and kept, and then how a harmful change is taken back.
/// Second act: HAProxys and Envoys before backends of different capacity, shared by round robin, by leastconn and by Flyball.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Acts to play, one after the other; both by default.
    #[arg(long = "act", value_enum, value_delimiter = ',', default_values = ["cache", "balance"])]
    acts: Vec<Act>,
    /// Where the picture of the second act goes, SVG.
    #[arg(long)]
    picture: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { acts, picture } = Arguments::parse();
    flyball_tests::demo::run(&acts, picture).await
}
