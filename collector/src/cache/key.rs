//! Keys and tags: what an entry is found by, and what it is invalidated by.
//!
//! Both are hashes. A key has 128 bits, so that two questions never share one; a tag has 64, and two that do are merely invalidated together.

use std::fmt;

use twox_hash::{XxHash3_64, XxHash3_128};

/// What an entry is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u128);

/// What entries are invalidated by, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u64);

/// Builds a key of parts; no two different lists of parts give the same bytes.
#[derive(Debug, Default)]
pub struct KeyBuilder(Vec<u8>);

impl Key {
    /// Begins a key of one kind of entries.
    pub fn builder(kind: &str) -> KeyBuilder {
        KeyBuilder::default().text(kind)
    }

    /// For the statistics of accesses, which need 64 even bits.
    pub const fn short(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl KeyBuilder {
    /// Adds a text.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Adds a list of texts, in its order.
    #[must_use]
    pub fn texts<'a>(mut self, texts: impl ExactSizeIterator<Item = &'a str>) -> Self {
        self.0.extend_from_slice(&(texts.len() as u32).to_le_bytes());
        texts.fold(self, Self::text)
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, number: i64) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// The key.
    pub fn build(&self) -> Key {
        Key(XxHash3_128::oneshot(&self.0))
    }
}

impl Tag {
    /// Every entry has it.
    pub const ALL: Self = Self(0);

    /// A tag by its name.
    pub fn new(name: &str) -> Self {
        // Zero is taken.
        Self(XxHash3_64::oneshot(name.as_bytes()).max(1))
    }

    /// A tag that another collector sent.
    pub(super) const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// As it is sent.
    pub(super) const fn raw(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_part_ends_matters() {
        let key = |parts: &[&str]| {
            parts.iter().fold(Key::builder("k"), |key, part| key.text(part)).build()
        };
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["a"]), key(&["a", ""]));
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        let list =
            |texts: &[&str]| Key::builder("k").texts(texts.iter().copied()).text("x").build();
        assert_ne!(list(&["a"]), list(&["a", "x"]));
    }

    #[test]
    fn no_name_is_the_tag_of_all() {
        assert_ne!(Tag::new(""), Tag::ALL);
    }
}
