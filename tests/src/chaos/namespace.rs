//! A network namespace for one process, with one link to the host that can be taken down.
//!
//! ```text
//! host  10.213.N.1  flyN ---- eth0  10.213.N.2  namespace flyball-N
//! ```

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

/// Namespaces of one host at a time; each takes a network of its own.
const NUMBERS: std::ops::RangeInclusive<u8> = 1..=250;

/// A namespace. Dropping it takes it away.
#[derive(Debug)]
pub struct Namespace {
    number: u8,
}

impl Namespace {
    /// Makes a namespace; `None` where this process may not, or where `ip` is missing.
    ///
    /// # Errors
    /// When it can be made but not be given a link.
    pub async fn create() -> Result<Option<Self>> {
        for number in NUMBERS {
            let name = name(number);
            if std::path::Path::new("/run/netns").join(&name).exists() {
                continue;
            }
            if ip(&["netns", "add", &name]).await.is_err() {
                return Ok(None);
            }
            let namespace = Self { number };
            namespace.link().await?;
            return Ok(Some(namespace));
        }
        Ok(None)
    }

    /// The host's address on the link: where the process finds everybody else.
    pub fn host(&self) -> IpAddr {
        Ipv4Addr::new(10, 213, self.number, 1).into()
    }

    /// A command that runs `program` in the namespace.
    pub fn command(number: u8, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name(number)]).arg(program);
        command
    }

    /// Its number, for [`Namespace::command`].
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Takes the link down or up. The process inside is told nothing.
    ///
    /// # Errors
    /// When the link cannot be set.
    pub async fn set_link(&self, up: bool) -> Result<()> {
        ip(&["link", "set", &format!("fly{}", self.number), if up { "up" } else { "down" }]).await
    }

    async fn link(&self) -> Result<()> {
        let (name, host) = (name(self.number), format!("fly{}", self.number));
        let addresses = [1, 2].map(|last| format!("10.213.{}.{last}/24", self.number));
        ip(&["link", "add", &host, "type", "veth", "peer", "name", "eth0", "netns", &name]).await?;
        ip(&["addr", "add", &addresses[0], "dev", &host]).await?;
        ip(&["link", "set", &host, "up"]).await?;
        ip(&["-n", &name, "addr", "add", &addresses[1], "dev", "eth0"]).await?;
        ip(&["-n", &name, "link", "set", "eth0", "up"]).await?;
        ip(&["-n", &name, "link", "set", "lo", "up"]).await
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The link first: the kernel takes down what a namespace leaves behind at a time of its own, when a browser may be looking at the host's addresses.
        // What is left after a failure does no harm to the next run.
        for arguments in [
            ["link", "delete", &format!("fly{}", self.number)],
            ["netns", "delete", &name(self.number)],
        ] {
            let _ = std::process::Command::new("ip").args(arguments).status();
        }
    }
}

fn name(number: u8) -> String {
    format!("flyball-{number}")
}

async fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().await.context("run ip")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {errors}", arguments.join(" "));
    Ok(())
}
