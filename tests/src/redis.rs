//! A Redis server for tests: started on a free port, stopped when it is dropped.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
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
        Self::start_with(dir, &[]).await
    }

    /// As [`Redis::start`], with options of its command line.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_with(dir: &Path, options: &[&str]) -> Result<Self> {
        Self::start_as(dir, None, options).await
    }

    /// As [`Redis::start`], with a file of settings that the server may rewrite.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_with_file(dir: &Path, file: &str) -> Result<Self> {
        Self::start_as(dir, Some(file), &[]).await
    }

    async fn start_as(dir: &Path, file: Option<&str>, options: &[&str]) -> Result<Self> {
        Self::start_at(port::free()?, dir, file, options).await
    }

    async fn start_at(port: u16, dir: &Path, file: Option<&str>, options: &[&str]) -> Result<Self> {
        let mut command = Command::new("redis-server");
        command.args(file);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(dir).args(options);
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

    /// Kills it and starts another one on the same port, with these options.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart_with(&mut self, dir: &Path, options: &[&str]) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(SOON).await?;
        *self = Self::start_at(self.port, dir, None, options).await?;
        Ok(())
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

/// A setting that is in force on the server of this port.
///
/// # Errors
/// When the server does not say.
pub async fn config(port: u16, parameter: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("CONFIG GET {parameter}\r\nQUIT\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    // *2, $ length, parameter, $ length, value.
    Ok(answer.lines().nth(4).with_context(|| format!("redis says {answer}"))?.to_owned())
}

/// A number of INFO of the server of this port.
///
/// # Errors
/// When the server does not say.
pub async fn info(port: u16, name: &str) -> Result<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"INFO\r\nQUIT\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name} in {answer}"))?.trim().parse()?)
}
