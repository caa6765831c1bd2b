//! The agent's own record: everything that it has produced, in a file, for tests that compare it with what the collector answers.
//!
//! The file is a stream as one on the wire would be: messages of `Telemetry.Stream`, each behind its length as a varint. Each start of the agent adds a
//! Hello with its epoch, then come definitions and frames. A tick is written with one call and only after the outbox has taken it. So what is in the
//! record was promised to be delivered or counted as shed, and a `kill -9` leaves at most one tick that was taken and is not in the record.
//!
//! It is off unless asked for. It grows without limit and is never read back, except that a torn last message is cut off at the start.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use flyball_proto::v1;
use flyball_proto::v1::agent_message::Kind;
use prost::Message as _;
use tonic::codegen::Bytes;

/// Longest length prefix: a varint of 64 bits.
const LONGEST_PREFIX: usize = 10;

/// An open record.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    /// `None` after a write has failed: a record with a hole would accuse the wrong one.
    file: Option<File>,
    tick: Vec<u8>,
}

impl Record {
    /// Opens or creates the file and begins with `hello`.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: &Path, hello: &v1::Hello) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let whole = whole_messages(&file)?;
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        let mut record = Self { path: path.to_owned(), file: Some(file), tick: Vec::new() };
        record.push(Kind::Hello(hello.clone()));
        record.commit();
        Ok(record)
    }

    /// Adds definitions to the tick.
    pub(super) fn define(&mut self, define: &v1::Define) {
        self.push(Kind::Define(define.clone()));
    }

    /// Adds a frame to the tick.
    pub(super) fn frame(&mut self, payload: &[u8]) {
        self.push(Kind::Frame(v1::Frame { payload: Bytes::copy_from_slice(payload) }));
    }

    /// Writes the tick.
    pub(super) fn commit(&mut self) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(&self.tick)
        {
            tracing::error!(path = %self.path.display(), %error, "the record ends here");
            self.file = None;
        }
        self.tick.clear();
    }

    fn push(&mut self, kind: Kind) {
        let message = v1::AgentMessage { kind: Some(kind) };
        self.tick.extend_from_slice(&message.encode_length_delimited_to_vec());
    }
}

/// Bytes of the messages that are whole.
fn whole_messages(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let mut whole = 0;
    loop {
        let mut prefix = Vec::with_capacity(LONGEST_PREFIX);
        while prefix.last().is_none_or(|byte| byte & 0x80 != 0) && prefix.len() < LONGEST_PREFIX {
            let mut byte = [0];
            if reader.read(&mut byte)? == 0 {
                return Ok(whole);
            }
            prefix.push(byte[0]);
        }
        let Ok(bytes) = prost::decode_length_delimiter(prefix.as_slice()) else { return Ok(whole) };
        let end = whole + prefix.len() as u64 + bytes as u64;
        if end > length {
            return Ok(whole);
        }
        reader.seek_relative(bytes as i64)?;
        whole = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(epoch: u8) -> v1::Hello {
        v1::Hello { epoch: vec![epoch; 16], node: "web-1".to_owned(), ..v1::Hello::default() }
    }

    fn read(path: &Path) -> Vec<Kind> {
        let bytes = std::fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut kinds = Vec::new();
        while !rest.is_empty() {
            kinds.extend(v1::AgentMessage::decode_length_delimited(&mut rest).unwrap().kind);
        }
        kinds
    }

    #[test]
    fn a_tick_is_in_the_file_once_it_is_committed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        let mut record = Record::open(&path, &hello(1)).unwrap();
        let define = v1::Define { dictionary_version: 1, series: Vec::new() };
        record.define(&define);
        record.frame(b"payload");
        assert_eq!(read(&path), [Kind::Hello(hello(1))]);
        record.commit();
        let frame = Kind::Frame(v1::Frame { payload: Bytes::from_static(b"payload") });
        assert_eq!(read(&path), [Kind::Hello(hello(1)), Kind::Define(define), frame]);
    }

    #[test]
    fn a_later_start_adds_to_the_file_and_cuts_a_torn_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        let mut record = Record::open(&path, &hello(1)).unwrap();
        record.frame(&[7; 300]);
        record.commit();
        drop(record);
        let whole = std::fs::read(&path).unwrap();
        for torn in 0..whole.len() {
            std::fs::write(&path, [whole.as_slice(), &whole[..torn]].concat()).unwrap();
            drop(Record::open(&path, &hello(2)).unwrap());
            let kinds = read(&path);
            assert_eq!(kinds.last(), Some(&Kind::Hello(hello(2))), "torn at {torn}");
            // The first message of the second copy may be whole.
            assert!((3..=4).contains(&kinds.len()), "torn at {torn}: {}", kinds.len());
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Record::open(&dir.path().join("no/such/directory"), &hello(1)).is_err());
    }
}
