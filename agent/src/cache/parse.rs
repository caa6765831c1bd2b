//! Lines of `MONITOR` as requests: `1339518083.107412 [0 127.0.0.1:60866] "set" "key" "value"`.
//!
//! Words are quoted as in C. A key is needed as it is, so that it is hashed as elsewhere; of values
//! only the length is. What a command does to a key is told by its name; commands that are not known
//! here are told apart, since a cache that lives by them cannot be emulated.

use flyball_model::emulate::{Expiry, Request, What, string_bytes};

use super::hash::KeyHasher;

/// Most keys of one command that are looked at.
const MOST_KEYS: usize = 1024;

/// Reads lines.
#[derive(Debug, Clone)]
pub struct Lines {
    hasher: KeyHasher,
    words: Vec<Vec<u8>>,
}

/// What is told of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// What it does to its keys: its requests.
    Known,
    /// It may use keys in a way that is not known here.
    Unknown,
    /// It uses no key, or not in a way that matters to what is kept.
    Harmless,
}

impl Lines {
    /// Hashes keys like this.
    pub const fn new(hasher: KeyHasher) -> Self {
        Self { hasher, words: Vec::new() }
    }

    /// Gives the requests of a line to `out`. What is no line is harmless.
    pub fn read(&mut self, line: &[u8], out: &mut impl FnMut(Request)) -> Told {
        let mut words = std::mem::take(&mut self.words);
        let told = split(line, &mut words)
            .map_or(Told::Harmless, |(at_us, database)| self.command(at_us, database, &words, out));
        self.words = words;
        told
    }

    fn command(
        &self,
        at_us: u64,
        database: u32,
        words: &[Vec<u8>],
        out: &mut impl FnMut(Request),
    ) -> Told {
        let Some((name, arguments)) = words.split_first() else { return Told::Harmless };
        let at_ms = at_us / 1000;
        let mut give = |key: &Vec<u8>, what| {
            out(Request { at_ms, key_hash: self.hasher.of(database, key), what });
        };
        let name = name.to_ascii_lowercase();
        let all = arguments.iter().take(MOST_KEYS);
        match &*name {
            b"get" | b"strlen" | b"getrange" | b"hget" | b"hgetall" | b"hmget" | b"smembers"
            | b"sismember" | b"zrange" | b"zscore" | b"lrange" | b"getex" => {
                all.take(1).for_each(|key| give(key, What::Read));
            }
            b"mget" => all.for_each(|key| give(key, What::Read)),
            b"set" | b"setnx" | b"getset" => {
                if let [key, value, options @ ..] = arguments {
                    let bytes = string_bytes(key.len(), value.len());
                    give(key, What::Write { bytes, expiry: expiry(options) });
                }
            }
            b"setex" | b"psetex" => {
                if let [key, ttl, value] = arguments {
                    let bytes = string_bytes(key.len(), value.len());
                    let unit = if &*name == b"setex" { 1000 } else { 1 };
                    let ttl = number(ttl).map(|ttl| ttl * unit);
                    give(
                        key,
                        What::Write { bytes, expiry: ttl.map_or(Expiry::Keep, Expiry::After) },
                    );
                }
            }
            b"mset" => {
                for pair in arguments.chunks_exact(2).take(MOST_KEYS) {
                    let bytes = string_bytes(pair[0].len(), pair[1].len());
                    give(&pair[0], What::Write { bytes, expiry: Expiry::Never });
                }
            }
            b"del" | b"unlink" | b"getdel" => all.for_each(|key| give(key, What::Delete)),
            b"expire" | b"pexpire" | b"expireat" | b"pexpireat" => {
                if let [key, time, ..] = arguments
                    && let Some(time) = number(time)
                {
                    let ms = if name[0] == b'p' { time } else { time * 1000 };
                    let is_clock = name.ends_with(b"at");
                    let expiry = if is_clock { Expiry::At(ms) } else { Expiry::After(ms) };
                    give(key, What::Expire(expiry));
                }
            }
            b"persist" => all.take(1).for_each(|key| give(key, What::Expire(Expiry::Never))),
            _ if is_harmless(&name) => return Told::Harmless,
            _ => return Told::Unknown,
        }
        Told::Known
    }
}

/// Commands that use no key, or not in a way that matters to what is kept.
fn is_harmless(name: &[u8]) -> bool {
    const HARMLESS: [&[u8]; 22] = [
        b"ping",
        b"info",
        b"client",
        b"config",
        b"select",
        b"auth",
        b"hello",
        b"object",
        b"memory",
        b"scan",
        b"randomkey",
        b"pttl",
        b"ttl",
        b"exists",
        b"type",
        b"dbsize",
        b"multi",
        b"exec",
        b"subscribe",
        b"psubscribe",
        b"command",
        b"slowlog",
    ];
    HARMLESS.contains(&name)
}

/// What the options of `SET` say.
fn expiry(options: &[Vec<u8>]) -> Expiry {
    for (i, option) in options.iter().enumerate() {
        let value = options.get(i + 1).and_then(|value| number(value));
        return match (&*option.to_ascii_lowercase(), value) {
            (b"keepttl", _) => Expiry::Keep,
            (b"ex", Some(seconds)) => Expiry::After(seconds * 1000),
            (b"px", Some(ms)) => Expiry::After(ms),
            (b"exat", Some(seconds)) => Expiry::At(seconds * 1000),
            (b"pxat", Some(ms)) => Expiry::At(ms),
            _ => continue,
        };
    }
    Expiry::Never
}

/// A number that no clock overflows with.
fn number(text: &[u8]) -> Option<u64> {
    let number: u64 = str::from_utf8(text).ok()?.parse().ok()?;
    (number < 1 << 50).then_some(number)
}

/// Microseconds since the Unix epoch and the database; the words go to `words`.
fn split(line: &[u8], words: &mut Vec<Vec<u8>>) -> Option<(u64, u32)> {
    let space = memchr::memchr(b' ', line)?;
    let (seconds, micros) = str::from_utf8(&line[..space]).ok()?.split_once('.')?;
    let at_us =
        seconds.parse::<u64>().ok()?.checked_mul(1_000_000)? + micros.parse::<u64>().ok()?;
    let rest = line[space + 1..].strip_prefix(b"[")?;
    // An IPv6 address has brackets of its own.
    let end = memchr::memmem::find(rest, b"] ")?;
    let database = str::from_utf8(&rest[..end]).ok()?.split(' ').next()?.parse().ok()?;
    let mut rest = &rest[end + 1..];
    let mut count = 0;
    while let Some(quoted) = rest.strip_prefix(b" \"") {
        if words.len() == count {
            words.push(Vec::new());
        }
        words[count].clear();
        rest = unquote(quoted, &mut words[count])?;
        count += 1;
    }
    words.truncate(count);
    Some((at_us, database))
}

/// Reads a word up to its closing quote; the rest of the line.
fn unquote<'a>(mut text: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let special = memchr::memchr2(b'"', b'\\', text)?;
        word.extend_from_slice(&text[..special]);
        let (mark, rest) = text[special..].split_first()?;
        if *mark == b'"' {
            return Some(rest);
        }
        let (escaped, rest) = rest.split_first()?;
        let (byte, rest) = match escaped {
            b'n' => (b'\n', rest),
            b'r' => (b'\r', rest),
            b't' => (b'\t', rest),
            b'a' => (7, rest),
            b'b' => (8, rest),
            b'x' => {
                let digits = str::from_utf8(rest.get(..2)?).ok()?;
                (u8::from_str_radix(digits, 16).ok()?, &rest[2..])
            }
            other => (*other, rest),
        };
        word.push(byte);
        text = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Vec<Request> {
        let (mut lines, mut out) = (Lines::new(KeyHasher::new(7)), Vec::new());
        lines.read(line.as_bytes(), &mut |request| out.push(request));
        out
    }

    fn hash(key: &[u8]) -> u64 {
        KeyHasher::new(7).of(3, key)
    }

    #[test]
    fn a_line_is_the_requests_for_its_keys() {
        let at = "1339518083.107412 [3 127.0.0.1:60866]";
        let at_ms = 1_339_518_083_107;
        let one = |words: &str| {
            let requests = read(&format!("{at} {words}"));
            assert_eq!(requests.len(), 1, "{words}");
            assert_eq!((requests[0].at_ms, requests[0].key_hash), (at_ms, hash(b"k")), "{words}");
            requests[0].what
        };
        let bytes = string_bytes(1, 5);
        let write = |expiry| What::Write { bytes, expiry };
        assert_eq!(one(r#""GET" "k""#), What::Read);
        assert_eq!(one(r#""set" "k" "value""#), write(Expiry::Never));
        assert_eq!(one(r#""set" "k" "value" "EX" "10""#), write(Expiry::After(10_000)));
        assert_eq!(one(r#""set" "k" "value" "nx" "PX" "10""#), write(Expiry::After(10)));
        assert_eq!(
            one(r#""set" "k" "value" "exat" "1400000000""#),
            write(Expiry::At(1_400_000_000_000))
        );
        assert_eq!(one(r#""set" "k" "value" "keepttl""#), write(Expiry::Keep));
        assert_eq!(one(r#""setex" "k" "10" "value""#), write(Expiry::After(10_000)));
        assert_eq!(one(r#""psetex" "k" "10" "value""#), write(Expiry::After(10)));
        assert_eq!(one(r#""unlink" "k""#), What::Delete);
        assert_eq!(one(r#""pexpire" "k" "5""#), What::Expire(Expiry::After(5)));
        assert_eq!(
            one(r#""expireat" "k" "1400000000""#),
            What::Expire(Expiry::At(1_400_000_000_000))
        );
        assert_eq!(one(r#""persist" "k""#), What::Expire(Expiry::Never));
        assert_eq!(read(&format!("{at} \"mget\" \"a\" \"b\"")).len(), 2);
        assert_eq!(read(&format!("{at} \"mset\" \"a\" \"1\" \"b\" \"2\"")).len(), 2);
    }

    #[test]
    fn what_is_not_known_is_told() {
        let mut lines = Lines::new(KeyHasher::new(7));
        for (words, told) in [
            ("\"ping\"", Told::Harmless),
            ("\"OBJECT\" \"idletime\" \"k\"", Told::Harmless),
            ("\"eval\" \"x\"", Told::Unknown),
            ("\"get\" \"k\"", Told::Known),
            ("\"hset\" \"k\"", Told::Unknown),
            ("no words", Told::Harmless),
        ] {
            let line = format!("1.2 [0 lua] {words}");
            assert_eq!(lines.read(line.as_bytes(), &mut |_| {}), told, "{words}");
        }
    }

    #[test]
    fn quoted_bytes_are_the_bytes_that_were_sent() {
        let requests = read(r#"1.000002 [3 [::1]:5] "get" "a\"b\\\x00\xff\n\t\r\a\b c""#);
        assert_eq!(requests[0].key_hash, hash(b"a\"b\\\x00\xff\n\t\r\x07\x08 c"));
    }

    proptest! {
        #[test]
        fn whatever_comes_nothing_breaks(line in prop::collection::vec(any::<u8>(), 0..200)) {
            Lines::new(KeyHasher::new(1)).read(&line, &mut |_| {});
        }

        #[test]
        fn whatever_words_come_nothing_breaks(words in prop::collection::vec("[a-z0-9\\\\\"]{0,8}", 0..6)) {
            let line = format!("1.2 [0 x] {}", words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(" "));
            Lines::new(KeyHasher::new(1)).read(line.as_bytes(), &mut |_| {});
        }
    }
}
