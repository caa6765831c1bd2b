//! One connection: commands go out, answers come back in order, each before a deadline.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use super::dial::Stream;
use super::error::{Error, Refusal};
use super::instance::{Instance, Limits};
use super::resp::{self, Malformed, Reply};

/// How the agent's connections are named in `CLIENT LIST`.
pub const CLIENT_NAME: &str = "flyball-agent";
/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;
/// A buffer that a large answer has made larger than this is let go.
const KEPT: usize = 16 * CHUNK;

/// An open connection. After an error that [is broken](Error::is_broken) it is of no use any more.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    limits: Limits,
    input: Vec<u8>,
    start: usize,
    output: Vec<u8>,
    touches: bool,
}

impl Connection {
    /// Connects, shows the password, and says who it is. Its commands leave the age of keys alone where the server can do that.
    ///
    /// # Errors
    /// When the instance cannot be reached, does not answer in time, or refuses us.
    pub fn open(instance: &Instance) -> Result<Self, Error> {
        let (limits, config) = (*instance.limits(), instance.config());
        let deadline = Instant::now() + limits.connect;
        let password = instance.password()?;
        let stream = instance.endpoint().dial(config, deadline)?;
        let (input, output) = (Vec::new(), Vec::new());
        let mut connection = Self { stream, limits, input, start: 0, output, touches: true };
        if let Some(password) = password {
            connection.authenticate(config.username.as_deref(), &password, deadline)?;
        }
        let database = instance.endpoint().database();
        if database != 0 {
            let number = database.to_string();
            connection.call_until(&[b"SELECT", number.as_bytes()], deadline)?;
        }
        connection.optional(&[b"CLIENT", b"SETNAME", CLIENT_NAME.as_bytes()], deadline)?;
        connection.touches = !connection.optional(&[b"CLIENT", b"NO-TOUCH", b"on"], deadline)?;
        Ok(connection)
    }

    /// True when commands of this connection make keys look used: the server is older than 7.2, or does not let us change that.
    pub const fn touches(&self) -> bool {
        self.touches
    }

    /// Asks the system for a receive buffer of this size. Where it grants less than half of that the
    /// buffer stays as it is, since one that was set does not grow by itself any more.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn widen(&mut self, bytes: usize) -> Result<(), Error> {
        let most = std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok();
        let most = most.and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(0);
        if most < bytes / 2 {
            return Ok(());
        }
        Ok(self.stream.set_receive_buffer(bytes)?)
    }

    /// True when the instance runs on this host.
    pub fn is_local(&self) -> bool {
        self.stream.is_local()
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// When there is none in time, or it is a refusal.
    pub fn call(&mut self, words: &[&[u8]]) -> Result<Reply, Error> {
        self.call_until(words, Instant::now() + self.limits.request)
    }

    /// Puts a command behind those that go out with the next [`Connection::flush`].
    pub fn queue(&mut self, words: &[&[u8]]) {
        resp::write(words, &mut self.output);
    }

    /// Sends what is queued. As many answers are to be [received](Connection::receive).
    ///
    /// # Errors
    /// When it cannot be sent in time.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.flush_until(Instant::now() + self.limits.request)
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// When there is none in time, or it is a refusal.
    pub fn receive(&mut self) -> Result<Reply, Error> {
        self.receive_until(Instant::now() + self.limits.request)
    }

    /// Waits at most this long for the next answer or message; what has come of it by then is kept.
    ///
    /// # Errors
    /// When the connection has broken, or it is a refusal.
    pub fn receive_within(&mut self, patience: Duration) -> Result<Option<Reply>, Error> {
        match self.receive_until(Instant::now() + patience) {
            Ok(reply) => Ok(Some(reply)),
            Err(Error::Timeout) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn authenticate(
        &mut self,
        username: Option<&str>,
        password: &str,
        deadline: Instant,
    ) -> Result<(), Error> {
        let mut words: Vec<&[u8]> = vec![b"AUTH"];
        words.extend(username.map(str::as_bytes));
        words.push(password.as_bytes());
        match self.call_until(&words, deadline) {
            Ok(_) => Ok(()),
            Err(Error::Refused(refusal)) => {
                // Whatever answers here might repeat what it was sent.
                let text = refusal.text.replace(password, "***");
                Err(Error::Refused(Refusal { text, ..refusal }))
            }
            Err(error) => Err(error),
        }
    }

    /// True when the server has done it, false when it cannot or we may not.
    fn optional(&mut self, words: &[&[u8]], deadline: Instant) -> Result<bool, Error> {
        match self.call_until(words, deadline) {
            Ok(_) => Ok(true),
            Err(Error::Refused(refusal))
                if refusal.is_unknown()
                    || matches!(&*refusal.code, "NOPERM" | "LOADING" | "BUSY" | "MASTERDOWN") =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn call_until(&mut self, words: &[&[u8]], deadline: Instant) -> Result<Reply, Error> {
        self.queue(words);
        self.flush_until(deadline)?;
        self.receive_until(deadline)
    }

    fn flush_until(&mut self, deadline: Instant) -> Result<(), Error> {
        let mut sent = 0;
        while sent < self.output.len() {
            self.stream.set_deadline(deadline)?;
            match self.stream.write(&self.output[sent..]) {
                Ok(0) => return Err(Error::Broken(ErrorKind::WriteZero.into())),
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.output.clear();
        self.stream.flush().map_err(Error::from)
    }

    fn receive_until(&mut self, deadline: Instant) -> Result<Reply, Error> {
        loop {
            let read = resp::read(&self.input[self.start..], self.limits.reply_bytes);
            match read.map_err(|Malformed(reason)| Error::Protocol(reason))? {
                Some((reply, length)) => {
                    self.start += length;
                    self.tidy();
                    return match reply {
                        Reply::Refused(refusal) => Err(Error::Refused(refusal)),
                        reply => Ok(reply),
                    };
                }
                None => self.fill(deadline)?,
            }
        }
    }

    fn fill(&mut self, deadline: Instant) -> Result<(), Error> {
        self.input.drain(..self.start);
        self.start = 0;
        self.stream.set_deadline(deadline)?;
        let before = self.input.len();
        self.input.resize(before + CHUNK, 0);
        let read = loop {
            match self.stream.read(&mut self.input[before..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.input.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(Error::Broken(io::Error::from(ErrorKind::UnexpectedEof))),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn tidy(&mut self) {
        if self.start < self.input.len() {
            return;
        }
        self.start = 0;
        self.input.clear();
        if self.input.capacity() > KEPT {
            self.input = Vec::new();
        }
    }
}
