//! The runtime socket: commands in one write, their answers in order.
//!
//! Each batch has a connection of its own: one that is kept stays with the old process after a reload, and would set what nobody uses any more. A connection costs 10 us.
//! Commands are joined by `;`, and each answer ends with an empty line. A command that sets something answers nothing when it was done.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::config::Place;
use super::error::HaproxyError;
use crate::redis::{Stream, connect, connect_unix};

/// Longest time for a batch, with its connection.
const REQUEST: Duration = Duration::from_secs(1);
/// Larger than the statistics of 512 servers.
const MAX_ANSWER: usize = 4 << 20;
const CHUNK: usize = 32 * 1024;
/// HAProxy takes no more in one line than a buffer, 16 KiB, can hold.
const MAX_LINE: usize = 8 * 1024;

/// Asks, and gives the answer of each command.
///
/// # Errors
/// When there is no answer in time, or not one for each command.
pub fn ask(place: &Place, commands: &[impl AsRef<str>]) -> Result<Vec<String>, HaproxyError> {
    let mut answers = Vec::with_capacity(commands.len());
    let mut rest = commands;
    while !rest.is_empty() {
        let count = fitting(rest);
        let (now, later) = rest.split_at(count);
        let line: Vec<&str> = now.iter().map(AsRef::as_ref).collect();
        let text = exchange(place, &format!("{}\n", line.join(";")))?;
        answers.extend(split(&text, count)?);
        rest = later;
    }
    Ok(answers)
}

/// How many commands go into the next line: one at least.
fn fitting(commands: &[impl AsRef<str>]) -> usize {
    let mut length = 0;
    let fits = |command: &&_| {
        let command: &str = AsRef::as_ref(*command);
        length += command.len() + 1;
        length <= MAX_LINE
    };
    commands.iter().take_while(fits).count().max(1)
}

fn exchange(place: &Place, line: &str) -> Result<String, HaproxyError> {
    let deadline = Instant::now() + REQUEST;
    let stream = match place {
        Place::Unix(path) => connect_unix(path, deadline).map(Stream::Unix),
        Place::Tcp(host, port) => connect(host, *port, deadline).map(Stream::Tcp),
    };
    let unreachable = |source: std::io::Error| match source.kind() {
        // It is there, and as many as it lets wait do so already.
        ErrorKind::TimedOut => HaproxyError::Timeout,
        _ => HaproxyError::Unreachable { place: place.to_string(), source },
    };
    let mut stream = stream.map_err(unreachable)?;
    stream.set_deadline(deadline)?;
    stream.write_all(line.as_bytes())?;
    let mut answer = Vec::new();
    loop {
        if answer.len() > MAX_ANSWER {
            return Err(HaproxyError::Protocol("larger than is taken"));
        }
        stream.set_deadline(deadline)?;
        let before = answer.len();
        answer.resize(before + CHUNK, 0);
        let read = stream.read(&mut answer[before..]);
        answer.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    close(&stream);
    String::from_utf8(answer).map_err(|_| HaproxyError::Protocol("not UTF-8"))
}

fn close(stream: &Stream) {
    let _ = match stream {
        Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
        Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        Stream::Tls(_) => Ok(()),
    };
}

/// The answers, without the empty line that ends each.
fn split(text: &str, count: usize) -> Result<Vec<String>, HaproxyError> {
    let mut rest = text;
    let mut answers = Vec::with_capacity(count);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('\n') {
            answers.push(String::new());
            rest = after;
            continue;
        }
        let (answer, after) =
            rest.split_once("\n\n").ok_or(HaproxyError::Protocol("an answer without its end"))?;
        answers.push(answer.to_owned());
        rest = after;
    }
    if answers.len() == count {
        return Ok(answers);
    }
    // What it does not understand at all it answers once, for the whole line.
    match answers.iter().find(|answer| answer.contains("ermission denied")) {
        Some(said) => Err(HaproxyError::said(said)),
        None => Err(HaproxyError::Protocol("not an answer for each command")),
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

    use super::*;

    #[test]
    fn each_command_has_its_answer() {
        let text = "\nNo such server.\n\n\nPid: 1\nUptime_sec: 2\n\n";
        let answers = split(text, 4).unwrap();
        assert_eq!(answers, ["", "No such server.", "", "Pid: 1\nUptime_sec: 2"]);
        assert!(matches!(split("\n\n", 1), Err(HaproxyError::Protocol(_))));
        assert!(matches!(split("Pid: 1", 1), Err(HaproxyError::Protocol(_))));
        assert!(matches!(split("", 1), Err(HaproxyError::Protocol(_))));
        assert!(matches!(split("Permission denied\n\n", 2), Err(HaproxyError::Denied(_))));
    }

    #[test]
    fn one_that_takes_no_connection_is_waited_for_no_longer_than_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&listener, 0).unwrap();
        // The one that it lets wait.
        let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let place = Place::Unix(path);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(ask(&place, &["show info"])));
        let answer = told.recv_timeout(Duration::from_secs(30)).expect("an end of the wait");
        assert!(matches!(answer, Err(HaproxyError::Timeout)), "{answer:?}");
        assert!(matches!(answer, Err(error) if error.state().as_str() == "slow"));
    }

    #[test]
    fn a_line_is_not_longer_than_it_may_be() {
        let command = "set server group/backend weight 100";
        let commands = vec![command; 1_000];
        let count = fitting(&commands);
        assert!(count * (command.len() + 1) <= MAX_LINE && count > 200, "{count}");
        assert_eq!(fitting(&["x".repeat(MAX_LINE * 2)]), 1);
    }
}
