//! A command of nginx: run with a deadline, and the first of its words kept.
//!
//! Its words are taken while it runs, so that one that says much does not wait for a reader, and what is there when it has ended is all of them: a child that it leaves behind may
//! hold the other end for ever.

use std::io::{self, ErrorKind, Read as _};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::NginxError;

/// Longest time that a command may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// What is kept of its words, in bytes.
const MAX_WORDS: usize = 512;

/// Why a command has not done what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It could not be started.
    #[error("{0}: {1}")]
    NotStarted(String, io::Error),
    /// It took too long and was ended: nobody knows how far it was.
    #[error("{0}: took over {limit} s", limit = TIMEOUT.as_secs())]
    TooLong(String),
    /// It said no, in its own words.
    #[error("{0}: {1}: {2}")]
    Refused(String, ExitStatus, String),
}

impl From<Failure> for NginxError {
    fn from(failure: Failure) -> Self {
        let words = failure.to_string();
        if matches!(failure, Failure::Refused(..)) {
            Self::Refused(words)
        } else {
            Self::Away(words)
        }
    }
}

/// Runs a command and its arguments; no shell is involved.
pub(super) fn run(words: &[String]) -> Result<(), Failure> {
    let name = || words.join(" ");
    let not_started = |error| Failure::NotStarted(name(), error);
    let (command, arguments) =
        words.split_first().ok_or_else(|| not_started(ErrorKind::InvalidInput.into()))?;
    let child = Command::new(command)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(not_started)?;
    let mut said = Said::of(child.stderr.take());
    match wait(&mut child, &mut said) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(Failure::Refused(name(), status, said.text())),
        Ok(None) | Err(_) => Err(Failure::TooLong(name())),
    }
}

/// Waits for its end; `None`: it took too long and was ended.
fn wait(child: &mut Child, said: &mut Said) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let status = child.try_wait()?;
        said.listen();
        if status.is_some() {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::park_timeout(LOOK);
    }
}

/// What a command says.
struct Said {
    errors: Option<ChildStderr>,
    words: Vec<u8>,
}

impl Said {
    /// Words are for people only: where they cannot be read without waiting there are none.
    fn of(errors: Option<ChildStderr>) -> Self {
        let errors = errors.filter(|errors| {
            let flags = fcntl_getfl(errors);
            flags.and_then(|flags| fcntl_setfl(errors, flags | OFlags::NONBLOCK)).is_ok()
        });
        Self { errors, words: Vec::new() }
    }

    /// Takes what is there.
    fn listen(&mut self) {
        let Some(errors) = &mut self.errors else { return };
        let mut part = [0; 4 * 1024];
        loop {
            match errors.read(&mut part) {
                Ok(count) if count > 0 => {
                    let room = MAX_WORDS.saturating_sub(self.words.len()).min(count);
                    self.words.extend_from_slice(&part[..room]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Its end, or all that is there.
                _ => return,
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.words).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<(), Failure> {
        run(&["sh", "-c", script].map(str::to_owned))
    }

    #[test]
    fn a_command_is_taken_by_its_status_and_its_first_words() {
        assert!(shell("exit 0").is_ok());
        let refused = shell("echo oh no >&2; exit 3").unwrap_err().to_string();
        assert!(refused.contains("exit status: 3: oh no"), "{refused}");
        let much = shell(
            "i=0; while [ $i -lt 4000 ]; do echo 0123456789012345678901234567890 >&2; i=$((i+1)); done; exit 1",
        );
        let Err(Failure::Refused(_, _, said)) = much else { panic!("{much:?}") };
        assert!(said.len() > 400 && said.len() <= MAX_WORDS, "{} bytes", said.len());
        let missing = run(&["/nowhere/nginx".to_owned()]);
        assert!(matches!(missing, Err(Failure::NotStarted(..))), "{missing:?}");
    }

    #[test]
    fn a_child_that_is_left_behind_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("echo oh >&2; sleep 300 & echo $! > {}; exit 1", pid.display());
        let failure = shell(&script).unwrap_err();
        assert!(failure.to_string().ends_with("oh"), "{failure}");
        let left = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        let left = rustix::process::Pid::from_raw(left).unwrap();
        rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
    }
}
