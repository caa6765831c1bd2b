//! The dashboard's files, built by npm into dashboard/dist and embedded into the binary; a debug build reads them from the disk at each request.
//!
//! Files under `assets/` have a hash in their name and are kept by browsers for good; all others are asked for again with their ETag.
//! A path that is no file is a page of the dashboard, which finds its way by itself: it gets index.html when it has no extension, or when a browser
//! navigates to it (`/node/web-1.example.com`).

use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use rust_embed::{Embed, EmbeddedFile};

use super::ApiError;

/// Page of the dashboard.
const INDEX: &str = "index.html";
/// Page that shows openapi.json.
const DOCS: &str = "docs.html";
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
/// Everything from here and nothing from elsewhere. uPlot and the charts set styles on elements.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
);

#[derive(Embed)]
#[folder = "../dashboard/dist"]
#[allow_missing = true]
struct Dist;

/// Serves what no call does.
///
/// # Errors
/// When there is no such file or page, or the method is not one that reads.
pub(super) async fn serve(
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    serve_from::<Dist>(&method, uri.path(), &headers)
}

/// The page that shows openapi.json.
///
/// # Errors
/// When the binary was built without the dashboard.
pub(super) fn docs(headers: &HeaderMap) -> Result<Response, ApiError> {
    file::<Dist>(DOCS, headers).ok_or_else(|| missing("/docs", DOCS))
}

fn serve_from<Files: Embed>(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let name = path.trim_start_matches('/');
    if name.starts_with("api/") || name == "api" {
        return Err(ApiError::NoSuchPath(path.to_owned()));
    }
    if method != Method::GET && method != Method::HEAD {
        return Err(ApiError::MethodNotAllowed {
            method: method.to_string(),
            path: path.to_owned(),
        });
    }
    if let Some(response) = file::<Files>(name, headers) {
        return Ok(response);
    }
    let name = if is_page(name, headers) { INDEX } else { name };
    file::<Files>(name, headers).ok_or_else(|| missing(path, name))
}

fn is_page(path: &str, headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = path.rsplit('/').next().is_none_or(|name| !name.contains('.'));
    !path.starts_with("assets/") && (plain || accept.contains("text/html"))
}

fn missing(path: &str, name: &str) -> ApiError {
    ApiError::NoSuchPath(match name {
        INDEX | DOCS => format!("{path}: this binary was built without the dashboard (run `make`)"),
        _ => path.to_owned(),
    })
}

fn file<Files: Embed>(name: &str, headers: &HeaderMap) -> Option<Response> {
    let file = Files::get(name)?;
    let etag = etag(&file);
    let asked = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let cache = if name.starts_with("assets/") { FOR_GOOD } else { ASK_AGAIN };
    let mut response = if asked.is_some_and(|tags| matches(tags, &etag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = axum::body::Body::from(file.data.into_owned()).into_response();
        response.headers_mut().insert(CONTENT_TYPE, content_type(name));
        response
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, cache);
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(ETAG, HeaderValue::from_str(&etag).ok()?);
    Some(response)
}

/// Weak, because compression changes the bytes and not the meaning.
fn etag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let half: [u8; 16] = hash[..16].try_into().expect("half of 32 bytes");
    format!("W/\"{:032x}\"", u128::from_be_bytes(half))
}

fn matches(tags: &str, etag: &str) -> bool {
    let strong = etag.trim_start_matches("W/");
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == strong)
}

/// Media type by the name's extension: the ones that a built dashboard has.
fn content_type(name: &str) -> HeaderValue {
    HeaderValue::from_static(match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    #[derive(Embed)]
    #[folder = "tests/site"]
    struct Site;

    fn get(path: &str, headers: &[(HeaderName, &'static str)]) -> Result<Response, ApiError> {
        let headers =
            headers.iter().map(|(k, v)| (k.clone(), HeaderValue::from_static(v))).collect();
        serve_from::<Site>(&Method::GET, path, &headers)
    }

    #[test]
    fn files_are_served_with_type_policy_and_how_long_they_may_be_kept() {
        let index = get("/", &[]).unwrap();
        assert_eq!(index.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(index.headers()[CACHE_CONTROL], ASK_AGAIN);
        assert_eq!(index.headers()[CONTENT_SECURITY_POLICY], POLICY);
        let script = get("/assets/app-1a2b3c4d.js", &[]).unwrap();
        assert_eq!(script.headers()[CACHE_CONTROL], FOR_GOOD);
        assert_ne!(script.headers()[ETAG], index.headers()[ETAG]);
        assert!(serve_from::<Site>(&Method::POST, "/", &HeaderMap::new()).is_err());
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let etag = get("/", &[]).unwrap().headers()[ETAG].clone();
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, etag);
        let response = serve_from::<Site>(&Method::GET, "/", &headers).unwrap();
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert!(!response.headers().contains_key(CONTENT_TYPE));
    }

    #[test]
    fn pages_of_the_dashboard_get_its_index_and_missing_files_do_not() {
        let browser = [(ACCEPT, "text/html,application/xhtml+xml,*/*")];
        let tag = |path, headers| get(path, headers).unwrap().headers()[ETAG].clone();
        let index = tag("/", &[]);
        for page in ["/node/web-1", "/settings", "/node/"] {
            assert_eq!(tag(page, &[]), index, "{page}");
        }
        for page in ["/node/web-1.example.com", "/../Cargo.toml"] {
            assert_eq!(tag(page, &browser), index, "{page}");
        }
        for missing in ["/favicon.ico", "/assets/gone-1a2b3c4d.js", "/assets/x", "/api", "/api/x"] {
            assert!(matches!(get(missing, &[]), Err(ApiError::NoSuchPath(_))), "{missing}");
        }
        assert!(get("/assets/gone.js", &browser).is_err());
    }

    #[test]
    fn a_tag_is_found_in_a_list_weak_or_strong() {
        assert!(matches("\"x\", W/\"ab\"", "W/\"ab\""));
        assert!(matches("\"ab\"", "W/\"ab\"") && matches("*", "W/\"ab\""));
        assert!(!matches("\"abc\"", "W/\"ab\""));
    }

    #[test]
    fn scripts_and_styles_have_types_that_browsers_run() {
        assert_eq!(content_type("assets/index-4f3a.js"), "text/javascript; charset=utf-8");
        assert_eq!(content_type("assets/a.b.css"), "text/css; charset=utf-8");
        assert_eq!(content_type("x"), "application/octet-stream");
    }
}
