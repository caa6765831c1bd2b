//! URLs of the settings: plain HTTP, with a port.

use tonic::transport::Uri;

/// Reads `http://HOST:PORT`, with a path where one may be given.
///
/// # Errors
/// What would be right.
pub(crate) fn http_place(text: &str, may_have_path: bool) -> Result<Uri, &'static str> {
    const USE: &str = "use http://HOST:PORT";
    const USE_PATH: &str = "use http://HOST:PORT/PATH";
    let wrong = if may_have_path { USE_PATH } else { USE };
    let uri: Uri = text.parse().map_err(|_| wrong)?;
    let is_right = uri.scheme_str() == Some("http")
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.port_u16().is_some_and(|port| port > 0)
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        && (may_have_path || (uri.path() == "/" && uri.query().is_none()));
    if is_right { Ok(uri) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_with_a_port_is_taken() {
        for right in ["http://127.0.0.1:9901", "http://[::1]:1/", "http://h:1"] {
            assert!(http_place(right, false).is_ok(), "{right}");
        }
        for wrong in
            ["", "h:1", "http://h", "https://h:1", "http://u@h:1", "http://h:1/x", "http://:1"]
        {
            assert!(http_place(wrong, false).is_err(), "{wrong}");
        }
        assert!(http_place("http://h:1/x?y", true).is_ok());
    }
}
