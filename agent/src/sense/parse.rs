//! Parsing of the kernel's text files as bytes, without allocation. Nothing here guesses: what is not exactly a number is `None`.

use std::fmt::Write;

use flyball_proto::series::MAX_ATTRIBUTE_BYTES;

/// Lines that are not empty.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    let next = move || {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        rest = tail.get(1..).unwrap_or_default();
        (end > 0 || !rest.is_empty()).then_some(line)
    };
    std::iter::from_fn(next).filter(|line| !line.is_empty())
}

/// Fields between spaces, tabs and line ends.
pub(super) fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t' | b'\n')).filter(|field| !field.is_empty())
}

/// Digits only, below 2^64.
pub(super) fn unsigned(field: &[u8]) -> Option<u64> {
    if field.is_empty() {
        return None;
    }
    field.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Digits only, below 2^63: a counter as it travels.
pub(crate) fn integer(field: &[u8]) -> Option<i64> {
    unsigned(field).and_then(|value| i64::try_from(value).ok())
}

/// The next `N` numbers of a line. One too large for a sample is `None` in the array, that one's loss; what is no number makes the whole line suspect.
pub(super) fn numbers<'a, const N: usize>(
    mut fields: impl Iterator<Item = &'a [u8]>,
) -> Option<[Option<i64>; N]> {
    let mut values = [None; N];
    for value in &mut values {
        let field = fields.next().filter(|field| field.iter().all(u8::is_ascii_digit))?;
        *value = integer(field);
    }
    Some(values)
}

/// A decimal with `digits` places as an integer: `3.14` with 2 is 314. Further places are cut off, missing ones are zero.
pub(crate) fn decimal(field: &[u8], digits: usize) -> Option<i64> {
    let (whole, fraction) = match field.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&field[..dot], &field[dot + 1..]),
        None => (field, &b"0"[..]),
    };
    if fraction.is_empty() || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    (0..digits).try_fold(integer(whole)?, |value, place| {
        let digit = fraction.get(place).map_or(0, |byte| byte - b'0');
        value.checked_mul(10)?.checked_add(digit.into())
    })
}

/// The integers behind these keys in a file of one key and one value a line; `None` for a key that is missing or garbled.
pub(super) fn keyed<const N: usize>(text: &[u8], keys: &[&[u8]; N]) -> [Option<i64>; N] {
    let mut values = [None; N];
    for line in lines(text) {
        let mut fields = fields(line);
        let Some(key) = fields.next() else { continue };
        if let Some(index) = keys.iter().position(|wanted| *wanted == key) {
            values[index] = fields.next().and_then(integer);
        }
    }
    values
}

/// A name from the kernel as an attribute's value; bytes that are not UTF-8 are written as `\xNN`. `None` when it is too long to travel whole: a name cut short might be
/// another's.
pub(super) fn attribute(name: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("a string takes all that is written");
        }
    }
    (text.len() <= MAX_ATTRIBUTE_BYTES).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_are_numbers() {
        assert_eq!(unsigned(b"0"), Some(0));
        assert_eq!(unsigned(b"18446744073709551615"), Some(u64::MAX));
        for garbled in [&b""[..], b"-1", b"+1", b"1x", b"0x1", b"1.0", b"18446744073709551616"] {
            assert_eq!(unsigned(garbled), None, "{garbled:?}");
        }
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer(b"9223372036854775808"), None);
    }

    #[test]
    fn decimals_become_integers_of_their_last_place() {
        assert_eq!(decimal(b"3.14", 2), Some(314));
        assert_eq!(decimal(b"3.1", 2), Some(310));
        assert_eq!(decimal(b"3.149", 2), Some(314));
        assert_eq!(decimal(b"3", 2), Some(300));
        for garbled in [&b""[..], b".", b"3.", b".5", b"3.x", b"-3.1", b"99999999999999999999.0"] {
            assert_eq!(decimal(garbled, 2), None, "{garbled:?}");
        }
    }

    #[test]
    fn lines_are_split_with_and_without_a_last_line_end() {
        let all = |text: &'static [u8]| lines(text).collect::<Vec<_>>();
        assert_eq!(all(b"\na\n\n\nbc\nd"), [&b"a"[..], b"bc", b"d"]);
        assert_eq!(all(b"a\n"), [b"a"]);
        assert_eq!(all(b"a\n\n"), [b"a"]);
        assert!(all(b"\n\n").is_empty() && all(b"").is_empty());
    }

    #[test]
    fn keys_that_are_missing_or_garbled_are_unknown() {
        let text = b"a 1\nbb 2 kB\nc x\na_b 9\n\nd\n";
        assert_eq!(
            keyed(text, &[b"a", b"bb", b"c", b"d", b"e"]),
            [Some(1), Some(2), None, None, None]
        );
    }

    #[test]
    fn names_stay_distinct_when_they_are_not_text() {
        assert_eq!(attribute("größe".as_bytes()).as_deref(), Some("größe"));
        assert_eq!(attribute(b"a\xffb").as_deref(), Some("a\\xffb"));
        assert_eq!(attribute(&[b'a'; 257]), None);
    }
}
