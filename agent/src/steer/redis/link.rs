//! A connection to a server, as far as steering needs one.

use std::fmt::{Debug, Write as _};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use crate::steer::actuator::Trouble;

/// Longest time for connecting, and for each part of an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Largest answer.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// First words of refusals that pass by themselves.
const PASSING: [&str; 8] = [
    "LOADING",
    "BUSY",
    "MASTERDOWN",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "NOAUTH",
    "WRONGPASS",
    "UNBLOCKED",
];

/// An open connection.
pub trait Link: Debug + Send {
    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// When there is none, or it is a refusal.
    fn call(&mut self, words: &[&str]) -> Result<Reply, Trouble>;

    /// True when the server runs on this host.
    fn is_local(&self) -> bool;
}

/// Opens connections.
#[derive(Debug, Clone)]
pub struct Connect {
    address: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A text or a number.
    Text(String),
    /// Several.
    List(Vec<Self>),
}

impl Reply {
    /// The text; empty for a list.
    pub fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::List(_) => String::new(),
        }
    }

    /// The texts of a list.
    pub fn texts(self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text],
            Self::List(list) => list.into_iter().map(Self::text).collect(),
        }
    }
}

/// Opens connections to `HOST:PORT`.
pub fn connect(address: &str) -> Connect {
    Connect { address: address.to_owned() }
}

impl Connect {
    pub(super) fn open(&self) -> Result<Box<dyn Link>, Trouble> {
        let away = |error: std::io::Error| {
            Trouble::Away(format!("cannot reach {}: {error}", self.address))
        };
        let mut addresses = self.address.to_socket_addrs().map_err(away)?;
        let address = addresses.next();
        let address =
            address.ok_or_else(|| Trouble::Away(format!("{} is nowhere", self.address)))?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(away)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(away)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(away)?;
        stream.set_nodelay(true).map_err(away)?;
        Ok(Box::new(Tcp(BufReader::new(stream))))
    }
}

#[derive(Debug)]
struct Tcp(BufReader<TcpStream>);

impl Link for Tcp {
    fn call(&mut self, words: &[&str]) -> Result<Reply, Trouble> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            let _ = write!(command, "${}\r\n{word}\r\n", word.len());
        }
        let away = |error: std::io::Error| Trouble::Away(error.to_string());
        self.0.get_mut().write_all(command.as_bytes()).map_err(away)?;
        self.reply()
    }

    fn is_local(&self) -> bool {
        let stream = self.0.get_ref();
        match (stream.local_addr(), stream.peer_addr()) {
            (Ok(own), Ok(peer)) => own.ip() == peer.ip(),
            _ => false,
        }
    }
}

impl Tcp {
    fn reply(&mut self) -> Result<Reply, Trouble> {
        let away = |error: std::io::Error| Trouble::Away(error.to_string());
        let odd = || Trouble::Away("not the answer of a redis".to_owned());
        let mut line = String::new();
        (&mut self.0).take(64 * 1024).read_line(&mut line).map_err(away)?;
        let line = line.strip_suffix("\r\n").ok_or_else(odd)?;
        let (mark, rest) = line.split_at_checked(1).ok_or_else(odd)?;
        match mark {
            "+" | ":" => Ok(Reply::Text(rest.to_owned())),
            "-" => Err(refusal(rest)),
            "$" if rest == "-1" => Ok(Reply::Text(String::new())),
            "$" => {
                let bytes: usize = rest.parse().map_err(|_| odd())?;
                if bytes > MAX_BYTES {
                    return Err(odd());
                }
                let mut text = vec![0; bytes + 2];
                self.0.read_exact(&mut text).map_err(away)?;
                text.truncate(bytes);
                Ok(Reply::Text(String::from_utf8_lossy(&text).into_owned()))
            }
            "*" => {
                let count: usize = rest.parse().map_err(|_| odd())?;
                (0..count.min(1_000))
                    .map(|_| self.reply())
                    .collect::<Result<_, _>>()
                    .map(Reply::List)
            }
            _ => Err(odd()),
        }
    }
}

fn refusal(text: &str) -> Trouble {
    let code = text.split(' ').next().unwrap_or_default();
    if PASSING.contains(&code) {
        return Trouble::Away(text.to_owned());
    }
    Trouble::Refused(text.to_owned())
}
