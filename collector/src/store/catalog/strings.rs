//! Each distinct string once: names of metrics, nodes, units, attribute keys and values, as 4-byte symbols.
//!
//! Symbols are counted by their users and given anew when nobody uses them, so that the names of processes that are gone take no memory.

use std::collections::HashMap;
use std::sync::Arc;

/// Number of an interned string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Symbol(u32);

/// Strings by symbol and symbols by string.
#[derive(Debug, Default)]
pub(super) struct Strings {
    texts: Vec<Text>,
    free: Vec<Symbol>,
    symbols: HashMap<Arc<str>, Symbol>,
}

#[derive(Debug)]
struct Text {
    text: Arc<str>,
    uses: u32,
}

impl Strings {
    /// The symbol of `text`, which its user gives back with [`Strings::release`].
    pub(super) fn intern(&mut self, text: &str) -> Symbol {
        if let Some(&symbol) = self.symbols.get(text) {
            self.texts[symbol.0 as usize].uses += 1;
            return symbol;
        }
        let text: Arc<str> = text.into();
        let entry = Text { text: Arc::clone(&text), uses: 1 };
        let symbol = if let Some(symbol) = self.free.pop() {
            self.texts[symbol.0 as usize] = entry;
            symbol
        } else {
            self.texts.push(entry);
            Symbol(u32::try_from(self.texts.len() - 1).expect("fewer than 2^32 strings"))
        };
        self.symbols.insert(text, symbol);
        symbol
    }

    /// Gives back one use of a symbol.
    pub(super) fn release(&mut self, symbol: Symbol) {
        let entry = &mut self.texts[symbol.0 as usize];
        entry.uses -= 1;
        if entry.uses == 0 {
            let text = std::mem::take(&mut entry.text);
            self.symbols.remove(&text);
            self.free.push(symbol);
        }
    }

    /// The symbol of `text` if somebody uses it.
    pub(super) fn find(&self, text: &str) -> Option<Symbol> {
        self.symbols.get(text).copied()
    }

    /// The string of a symbol that is in use.
    pub(super) fn text(&self, symbol: Symbol) -> &Arc<str> {
        &self.texts[symbol.0 as usize].text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_lives_as_long_as_its_users_and_its_symbol_is_given_anew() {
        let mut strings = Strings::default();
        let (a, b) = (strings.intern("a"), strings.intern("b"));
        assert_eq!(strings.intern("a"), a);
        strings.release(a);
        assert_eq!(strings.find("a"), Some(a));
        strings.release(a);
        assert_eq!(strings.find("a"), None);
        let c = strings.intern("c");
        assert_eq!((c, &**strings.text(c), &**strings.text(b)), (a, "c", "b"));
        assert_eq!(strings.texts.len(), 2);
    }
}
