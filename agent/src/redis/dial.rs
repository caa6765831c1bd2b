//! Where an instance is, and the stream to it: TCP, TLS over TCP, or a Unix socket.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::config::RedisConfig;
use super::error::Error;

const PORT: u16 = 6379;
/// A socket takes no time-out of zero.
const LEAST: Duration = Duration::from_millis(1);

/// Where an instance is. Its text holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    place: Place,
    database: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

/// A stream whose reads and writes end at a deadline.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Unix(UnixStream),
}

impl Endpoint {
    /// Reads `redis://HOST[:PORT][/DB]`, `rediss://HOST[:PORT][/DB]` or `unix://PATH`.
    ///
    /// # Errors
    /// What is wrong and how to mend it. The text is not repeated, since it may hold a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        const USE: &str = "use redis://HOST:PORT, rediss://HOST:PORT or unix://PATH";
        let (scheme, rest) = url.split_once("://").ok_or(USE)?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            "unix" if rest.starts_with('/') && rest.len() > 1 => {
                return Ok(Self { place: Place::Unix(rest.into()), database: 0 });
            }
            _ => return Err(USE.to_owned()),
        };
        if rest.contains('@') {
            return Err("holds a user or a password: give username and password_file".to_owned());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let database = match path {
            "" => 0,
            number => number.parse().map_err(|_| "the database must be a number".to_owned())?,
        };
        let (host, port) = split_port(authority, PORT).ok_or(USE)?;
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "?#[]".contains(c)) {
            return Err(USE.to_owned());
        }
        Ok(Self { place: Place::Tcp { host: host.to_owned(), port, tls }, database })
    }

    /// True when the stream is encrypted.
    pub const fn is_tls(&self) -> bool {
        matches!(self.place, Place::Tcp { tls: true, .. })
    }

    /// Number of the database that the URL names.
    pub const fn database(&self) -> u32 {
        self.database
    }

    /// Connects, with the handshake of TLS where it is asked for.
    pub(super) fn dial(&self, config: &RedisConfig, deadline: Instant) -> Result<Stream, Error> {
        let unreachable = |source| Error::Unreachable { endpoint: self.to_string(), source };
        match &self.place {
            Place::Unix(path) => {
                connect_unix(path, deadline).map(Stream::Unix).map_err(unreachable)
            }
            Place::Tcp { host, port, tls } => {
                let stream = connect(host, *port, deadline).map_err(unreachable)?;
                if *tls { secure(stream, host, config, deadline) } else { Ok(Stream::Tcp(stream)) }
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Place::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Stream {
    /// Sets the size of the system's buffer for what comes in.
    pub(super) fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        use rustix::net::sockopt::set_socket_recv_buffer_size as set;
        match self {
            Self::Tcp(tcp) => set(tcp, bytes)?,
            Self::Tls(tls) => set(&tls.sock, bytes)?,
            Self::Unix(unix) => set(unix, bytes)?,
        }
        Ok(())
    }

    /// True when the other end is on this host: a socket of it, or an address that is its own.
    pub(super) fn is_local(&self) -> bool {
        let tcp = match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => &tls.sock,
            Self::Unix(_) => return true,
        };
        match (tcp.local_addr(), tcp.peer_addr()) {
            (Ok(own), Ok(other)) => own.ip() == other.ip(),
            _ => false,
        }
    }

    /// Ends the next read or write at the deadline at the latest.
    pub(crate) fn set_deadline(&self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let left = Some(left.max(LEAST));
        match self {
            Self::Tcp(tcp) => tcp.set_read_timeout(left).and_then(|()| tcp.set_write_timeout(left)),
            Self::Tls(tls) => {
                tls.sock.set_read_timeout(left).and_then(|()| tls.sock.set_write_timeout(left))
            }
            Self::Unix(unix) => {
                unix.set_read_timeout(left).and_then(|()| unix.set_write_timeout(left))
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
            Self::Unix(unix) => unix.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(buffer),
            Self::Tls(tls) => tls.write(buffer),
            Self::Unix(unix) => unix.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
            Self::Unix(unix) => unix.flush(),
        }
    }
}

/// Host and port, or `default` where there is none; an IPv6 address stands in brackets.
pub(crate) fn split_port(authority: &str, default: u16) -> Option<(&str, u16)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, port.parse().ok().filter(|port| *port > 0)?)),
            None => rest.is_empty().then_some((host, default)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, port.parse().ok().filter(|port| *port > 0)?)),
        None => Some((authority, default)),
    }
}

/// Tries each address of the host. Looking the name up has no deadline of ours, which is why each instance has a thread of its own.
pub(crate) fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in (host, port).to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects to a Unix socket. While its backlog is full the system waits for room, so the wait is bounded as one for room to write is.
pub(crate) fn connect_unix(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        set_socket_timeout(&socket, Timeout::Send, Some(left.max(LEAST)))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(UnixStream::from(socket)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn secure(
    tcp: TcpStream,
    host: &str,
    config: &RedisConfig,
    deadline: Instant,
) -> Result<Stream, Error> {
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| Error::Tls("the host is no name for a certificate".to_owned()))?;
    let client = ClientConnection::new(Arc::new(tls_config(config)?), name)?;
    let mut stream = StreamOwned::new(client, tcp);
    let handshake = |error: io::Error| match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Error::Timeout,
        _ => Error::Tls(format!("handshake: {error}")),
    };
    while stream.conn.is_handshaking() {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = if left.is_zero() { return Err(Error::Timeout) } else { Some(left.max(LEAST)) };
        stream.sock.set_read_timeout(left).map_err(handshake)?;
        stream.sock.set_write_timeout(left).map_err(handshake)?;
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut stream.sock).map_err(handshake)?;
        }
        if stream.conn.is_handshaking() && stream.conn.wants_read() {
            if stream.conn.read_tls(&mut stream.sock).map_err(handshake)? == 0 {
                return Err(Error::Tls("the server ended the handshake".to_owned()));
            }
            stream.conn.process_new_packets()?;
        }
    }
    Ok(Stream::Tls(Box::new(stream)))
}

fn tls_config(config: &RedisConfig) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &config.ca_file {
        for certificate in certificates(path)? {
            roots.add(certificate)?;
        }
    } else {
        let (_, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let (Some(cert), Some(key)) = (&config.cert_file, &config.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
    Ok(builder.with_client_auth_cert(certificates(cert)?, private)?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| unreadable(path, error))?;
    if all.is_empty() {
        return Err(Error::Tls(format!("{}: no certificate in it", path.display())));
    }
    Ok(all)
}

fn unreadable(path: &Path, error: rustls::pki_types::pem::Error) -> Error {
    match error {
        rustls::pki_types::pem::Error::Io(source) => Error::File { path: path.to_owned(), source },
        other => Error::Tls(format!("{}: {other}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (url, text, tls, database) in [
            ("redis://h", "h:6379", false, 0),
            ("rediss://h:7", "h:7", true, 0),
            ("redis://[::1]/3", "[::1]:6379", false, 3),
            ("redis://[::1]:8/", "[::1]:8", false, 0),
            ("unix:///run/r.sock", "/run/r.sock", false, 0),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!((endpoint.is_tls(), endpoint.database()), (tls, database), "{url}");
        }
    }

    #[test]
    fn urls_that_say_nothing_are_refused_and_not_repeated() {
        for url in [
            "",
            "h:6379",
            "http://h",
            "redis://",
            "redis://:7",
            "redis://h:0",
            "redis://h:x",
            "redis://h:70000",
            "redis://h/x",
            "redis://[::1",
            "redis://[::1]x",
            "unix://",
            "unix://x",
            "redis://h?x",
            "redis://u:secret@h",
        ] {
            let reason = Endpoint::parse(url).unwrap_err();
            assert!(!reason.contains("secret"), "{url}: {reason}");
        }
    }
}
