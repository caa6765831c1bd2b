//! The status of the whole fleet, written once for all who ask within a moment.
//!
//! With a thousand nodes it is half a megabyte of JSON: a thousand readers a second must not cost a thousand times as much as one. It is written anew when somebody asks
//! and the last one is older than [`LIFE`]; who asks meanwhile gets the last one, which is never older than [`LONGEST`]. Compressed it is kept too.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::Mutex;

use crate::live::Live;

/// Age from which on it is written anew.
const LIFE: Duration = Duration::from_millis(200);
/// Age from which on nobody is served it.
const LONGEST: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct FleetBody {
    kept: Mutex<Option<Arc<Written>>>,
    /// Held by whoever writes.
    writing: Mutex<()>,
}

#[derive(Debug)]
struct Written {
    at: Instant,
    plain: Bytes,
    gzip: OnceLock<Bytes>,
}

impl FleetBody {
    /// The answer for a caller with these headers.
    pub(super) fn answer(&self, live: &Live, headers: &HeaderMap) -> Response {
        let written = self.written(live, Instant::now());
        let takes_gzip = headers.get_all(ACCEPT_ENCODING).iter().any(accepts_gzip);
        let body = if takes_gzip { written.gzip() } else { written.plain.clone() };
        let mut response = Response::new(Body::from(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if takes_gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    fn written(&self, live: &Live, now: Instant) -> Arc<Written> {
        if let Some(written) = self.younger_than(LIFE, now) {
            return written;
        }
        let Some(_writing) = self.writing.try_lock() else {
            if let Some(written) = self.younger_than(LONGEST, now) {
                return written;
            }
            // Somebody writes: wait for it.
            drop(self.writing.lock());
            return self.younger_than(LONGEST, now).unwrap_or_else(|| self.write(live, now));
        };
        self.younger_than(LIFE, now).unwrap_or_else(|| self.write(live, now))
    }

    fn younger_than(&self, age: Duration, now: Instant) -> Option<Arc<Written>> {
        let kept = self.kept.lock().clone();
        kept.filter(|written| now.saturating_duration_since(written.at) < age)
    }

    fn write(&self, live: &Live, now: Instant) -> Arc<Written> {
        let json = serde_json::to_vec(&live.status(&[])).expect("texts and numbers");
        let written = Written { at: now, plain: json.into(), gzip: OnceLock::new() };
        let written = Arc::new(written);
        *self.kept.lock() = Some(Arc::clone(&written));
        written
    }
}

impl Written {
    fn gzip(&self) -> Bytes {
        let compress = || {
            let room = Vec::with_capacity(self.plain.len() / 6);
            let mut encoder = GzEncoder::new(room, Compression::fast());
            encoder.write_all(&self.plain).expect("memory takes everything");
            encoder.finish().expect("memory takes everything").into()
        };
        self.gzip.get_or_init(compress).clone()
    }
}

/// True when a value of `Accept-Encoding` names gzip and does not exclude it.
fn accepts_gzip(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| {
        text.split(',').any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            is_gzip && !parts.any(|part| part == "q=0" || part == "q=0.0")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_once_for_all_who_ask_within_a_moment() {
        let (body, live, now) = (FleetBody::default(), Live::new(10), Instant::now());
        let first = body.written(&live, now);
        assert!(Arc::ptr_eq(&first, &body.written(&live, now + LIFE / 2)));
        let second = body.written(&live, now + LIFE);
        assert!(!Arc::ptr_eq(&first, &second));
        let writing = body.writing.lock();
        let meanwhile = body.written(&live, now + LIFE * 2);
        assert!(Arc::ptr_eq(&second, &meanwhile), "while somebody writes, the last one");
        drop(writing);
        assert!(serde_json::from_slice::<serde_json::Value>(&first.plain).is_ok());
    }

    #[test]
    fn gzip_is_given_to_those_who_take_it() {
        for (text, takes) in [
            ("gzip", true),
            ("br, gzip;q=0.5", true),
            ("GZIP", true),
            ("gzip;q=0", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(accepts_gzip(&HeaderValue::from_str(text).unwrap()), takes, "{text}");
        }
    }
}
