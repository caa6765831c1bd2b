//! RESP2: how commands are written and answers are read.
//!
//! An answer is read again from its beginning when more bytes have come, so nothing is kept of a half one. Answers are small, and what is
//! larger than the bound is refused.

use memchr::memmem::find;

use super::error::Refusal;

/// Deepest nesting of arrays.
const MAX_DEPTH: usize = 8;
/// Longest line before its end: numbers and errors are shorter.
const MAX_LINE: usize = 64 * 1024;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status or a string.
    Text(Vec<u8>),
    /// A number.
    Integer(i64),
    /// Several answers.
    Array(Vec<Self>),
    /// A refusal within an array; alone it is an error.
    Refused(Refusal),
    /// Nothing.
    Nil,
}

/// What is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl Reply {
    /// The bytes of a text.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number, also one that is written as a text.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The parts of an array; nothing for all else.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::Array(parts) => parts,
            _ => &[],
        }
    }
}

/// Writes a command as an array of strings.
pub(super) fn write(words: &[&[u8]], out: &mut Vec<u8>) {
    let number = |out: &mut Vec<u8>, mark: u8, number: usize| {
        out.push(mark);
        out.extend_from_slice(number.to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    number(out, b'*', words.len());
    for word in words {
        number(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads one answer and its length; `None` when it is not whole yet. A string of more than `max_bytes` is refused as soon as it begins.
pub(super) fn read(input: &[u8], max_bytes: usize) -> Result<Option<(Reply, usize)>, Malformed> {
    let mut reader = Reader { input, at: 0, max_bytes };
    Ok(reader.reply(0)?.map(|reply| (reply, reader.at)))
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    max_bytes: usize,
}

impl<'a> Reader<'a> {
    fn reply(&mut self, depth: usize) -> Result<Option<Reply>, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed("nested too deep"));
        }
        let Some((mark, line)) = self.line()? else { return Ok(None) };
        Ok(Some(match mark {
            b'+' => Reply::Text(line.to_vec()),
            b'-' => Reply::Refused(Refusal::parse(line)),
            b':' => Reply::Integer(integer(line)?),
            b'$' => match length(line, self.max_bytes)? {
                None => Reply::Nil,
                Some(length) => match self.bytes(length)? {
                    None => return Ok(None),
                    Some(bytes) => Reply::Text(bytes),
                },
            },
            b'*' => match length(line, self.max_bytes)? {
                None => Reply::Nil,
                // No room is made for what is only announced.
                Some(length) => {
                    let mut parts = Vec::with_capacity(length.min(64));
                    for _ in 0..length {
                        match self.reply(depth + 1)? {
                            None => return Ok(None),
                            Some(part) => parts.push(part),
                        }
                    }
                    Reply::Array(parts)
                }
            },
            _ => return Err(Malformed("an unknown kind of answer")),
        }))
    }

    /// The first byte of a line and the rest of it, without its end.
    fn line(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        let rest = &self.input[self.at..];
        // What does not even begin like an answer has no end to wait for.
        if rest.first().is_some_and(|mark| !b"+-:$*".contains(mark)) {
            return Err(Malformed("an unknown kind of answer"));
        }
        // A status may be as long as a string: the lines of MONITOR are.
        let bound = if rest.first() == Some(&b'+') { self.max_bytes } else { MAX_LINE };
        let Some(end) = find(rest, b"\r\n") else {
            return if rest.len() > bound {
                Err(Malformed("a line without end"))
            } else {
                Ok(None)
            };
        };
        self.at += end + 2;
        let (mark, line) = rest[..end].split_first().ok_or(Malformed("an empty line"))?;
        Ok(Some((*mark, line)))
    }

    fn bytes(&mut self, length: usize) -> Result<Option<Vec<u8>>, Malformed> {
        let rest = &self.input[self.at..];
        if rest.len() < length + 2 {
            return Ok(None);
        }
        if &rest[length..length + 2] != b"\r\n" {
            return Err(Malformed("a string without end"));
        }
        self.at += length + 2;
        Ok(Some(rest[..length].to_vec()))
    }
}

/// A length; `None` for -1.
fn length(line: &[u8], most: usize) -> Result<Option<usize>, Malformed> {
    match integer(line)? {
        -1 => Ok(None),
        length => match usize::try_from(length) {
            Ok(length) if length <= most => Ok(Some(length)),
            _ => Err(Malformed("larger than is taken")),
        },
    }
}

fn integer(line: &[u8]) -> Result<i64, Malformed> {
    let number = str::from_utf8(line).ok().and_then(|text| text.parse().ok());
    number.ok_or(Malformed("a number that is none"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(input: &[u8]) -> Reply {
        let (reply, length) = read(input, 1000).unwrap().unwrap();
        assert_eq!(length, input.len());
        reply
    }

    #[test]
    fn every_kind_of_answer_is_read() {
        let text = |text: &str| Reply::Text(text.as_bytes().to_vec());
        assert_eq!(whole(b"+OK\r\n"), text("OK"));
        assert_eq!(whole(b":-12\r\n"), Reply::Integer(-12));
        assert_eq!(whole(b"$3\r\na\r\n\r\n"), text("a\r\n"));
        assert_eq!(whole(b"$0\r\n\r\n"), text(""));
        assert_eq!(whole(b"$-1\r\n"), Reply::Nil);
        assert_eq!(whole(b"*-1\r\n"), Reply::Nil);
        let refused = Reply::Refused(Refusal::parse(b"ERR no"));
        assert_eq!(whole(b"-ERR no\r\n"), refused);
        let array = Reply::Array(vec![Reply::Array(Vec::new()), text("a"), refused]);
        assert_eq!(whole(b"*3\r\n*0\r\n$1\r\na\r\n-ERR no\r\n"), array);
    }

    #[test]
    fn what_is_no_answer_is_refused_at_once() {
        for input in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\r\n",
            b"x",
            b":1x\r\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"$1001\r\n",
            b"*1001\r\n",
            b"$1\r\nabc",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        ] {
            assert!(read(input, 1000).is_err(), "{:?}", String::from_utf8_lossy(input));
        }
        assert!(read(&[b'+'; 2000], 1000).is_err());
        assert_eq!(read(&[b'+'; 900], 1000), Ok(None));
        assert!(read(&vec![b':'; MAX_LINE + 2], usize::MAX).is_err());
    }

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut out = Vec::new();
        write(&[b"SET", b"", b"a\r\n"], &mut out);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$3\r\na\r\n\r\n");
    }

    proptest! {
        #[test]
        fn an_answer_in_parts_is_the_answer(cut in 0_usize..30) {
            let input = b"*3\r\n:1\r\n$4\r\nabcd\r\n-ERR x\r\n";
            let cut = cut.min(input.len() - 1);
            prop_assert_eq!(read(&input[..cut], 1000), Ok(None));
            prop_assert!(read(input, 1000).unwrap().is_some());
        }

        #[test]
        fn whatever_comes_nothing_breaks(input in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((_, length))) = read(&input, 1000) {
                prop_assert!(length <= input.len());
            }
        }
    }
}
