//! The name of a request in the log: its id, method and path.
//!
//! Most requests log nothing and are answered at once. So a span is made only when there is something to log, or when a request begins to wait; until then its
//! name lies where [`named`] finds it.

use std::cell::RefCell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use bytes::Bytes;
use tracing::Span;

/// Header that carries the id of a request, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is honoured.
const MAX_REQUEST_ID_BYTES: usize = 128;

thread_local! {
    /// The request that this thread works on.
    static CURRENT: RefCell<Option<Name>> = const { RefCell::new(None) };
}

/// What identifies a request.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) id: HeaderValue,
    pub(super) method: Method,
    pub(super) uri: Uri,
}

/// The name, and the span once there is one.
#[derive(Debug)]
pub(super) enum Named {
    Unlogged(Option<Name>),
    Logged(Name, Span),
}

/// Logs under the name of the request that this thread works on, if any.
pub(crate) fn named(log: impl FnOnce()) {
    let span = CURRENT.with_borrow(|name| name.as_ref().map(Name::span));
    match span {
        Some(span) => span.in_scope(log),
        None => log(),
    }
}

impl Name {
    pub(super) fn of(headers: &HeaderMap, method: &Method, uri: &Uri) -> Self {
        Self { id: request_id(headers), method: method.clone(), uri: uri.clone() }
    }

    fn span(&self) -> Span {
        tracing::info_span!(
            "request",
            request_id = self.id.to_str().unwrap_or_default(),
            method = %self.method,
            path = self.uri.path(),
        )
    }
}

impl Named {
    /// Runs `work`, which may log under the name.
    pub(super) fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        match self {
            Self::Logged(_, span) => span.in_scope(work),
            Self::Unlogged(name) => {
                CURRENT.set(name.take());
                let result = work();
                *name = CURRENT.take();
                result
            }
        }
    }

    /// Makes the span, because the request goes on later or something is to be logged.
    pub(super) fn log(&mut self) {
        if let Self::Unlogged(name) = self
            && let Some(name) = name.take()
        {
            let span = name.span();
            *self = Self::Logged(name, span);
        }
    }

    /// The name.
    pub(super) const fn name(&self) -> Option<&Name> {
        match self {
            Self::Logged(name, _) | Self::Unlogged(Some(name)) => Some(name),
            Self::Unlogged(None) => None,
        }
    }
}

/// The id that came with the request when it is short and printable, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fits = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=MAX_REQUEST_ID_BYTES).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(fits).cloned().unwrap_or_else(new_id)
}

/// 32 hexadecimal digits: one half is of this process, the other one counts. Ids only have to differ.
fn new_id() -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(rand::random);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = u128::from(*PROCESS) << 64 | u128::from(NEXT.fetch_add(1, Ordering::Relaxed));
    let digit = |at: usize| HEX[(id >> (124 - 4 * at)) as usize & 15];
    let text: [u8; 32] = std::array::from_fn(digit);
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&text))
        .expect("hexadecimal digits are a valid header")
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(given: &[u8]) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(given).unwrap());
        request_id(&headers)
    }

    #[test]
    fn a_request_id_is_honoured_or_made() {
        assert_eq!(id_of(b"trace-7/ok"), "trace-7/ok");
        for bad in [&b""[..], b"with space", b"caf\xe9", &[b'x'; 129]] {
            let made = id_of(bad);
            assert!(made.len() == 32 && made.as_bytes() != bad, "{bad:?}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }

    #[test]
    fn a_name_is_at_hand_while_its_request_is_worked_on() {
        let name = Name::of(&HeaderMap::new(), &Method::GET, &Uri::from_static("/x"));
        let id = name.id.clone();
        let mut named = Named::Unlogged(Some(name));
        let current = || CURRENT.with_borrow(|name| name.as_ref().map(|name| name.id.clone()));
        assert_eq!(named.run(current), Some(id.clone()));
        assert_eq!(current(), None);
        assert_eq!(named.name().map(|name| &name.id), Some(&id));
        named.log();
        assert_eq!((named.run(current), named.name().map(|name| &name.id)), (None, Some(&id)));
    }
}
