//! Each distinct string once: names of metrics, nodes, units, attribute keys and values, as 4-byte symbols.

use std::collections::HashMap;
use std::sync::Arc;

/// Number of an interned string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Symbol(u32);

/// Strings by symbol and symbols by string.
#[derive(Debug, Default)]
pub(super) struct Strings {
    texts: Vec<Arc<str>>,
    symbols: HashMap<Arc<str>, Symbol>,
}

impl Strings {
    /// The symbol of `text`, a new one when it was not seen before.
    pub(super) fn intern(&mut self, text: &str) -> Symbol {
        if let Some(&symbol) = self.symbols.get(text) {
            return symbol;
        }
        let symbol = Symbol(u32::try_from(self.texts.len()).expect("fewer than 2^32 strings"));
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.symbols.insert(text, symbol);
        symbol
    }

    /// The symbol of `text` if it was seen before.
    pub(super) fn find(&self, text: &str) -> Option<Symbol> {
        self.symbols.get(text).copied()
    }

    /// The string of a symbol that this interner gave.
    pub(super) fn text(&self, symbol: Symbol) -> &Arc<str> {
        &self.texts[symbol.0 as usize]
    }
}
