//! A Redis server for tests: started on a free port, stopped when it is dropped.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::port;
use crate::process::Process;
use crate::wait::{SOON, until};

/// A running Redis server.
#[derive(Debug)]
pub struct Redis {
    /// The process.
    pub process: Process,
    port: u16,
}

impl Redis {
    /// Starts a server with its files in `dir` and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(dir: &Path) -> Result<Self> {
        let port = port::free()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(dir);
        let process = Process::start("redis", command, dir)?;
        until("redis to answer", SOON, || async {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.write_all(b"PING\r\n").await?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).await?;
            ensure!(&answer == b"+PONG", "{answer:?}");
            Ok(())
        })
        .await?;
        Ok(Self { process, port })
    }

    /// What collectors are given.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// The port in a URL that [`Redis::url`] has given.
///
/// # Errors
/// When there is none.
pub fn port(url: &str) -> Result<u16> {
    let (_, port) = url.rsplit_once(':').context("a port")?;
    Ok(port.parse()?)
}
