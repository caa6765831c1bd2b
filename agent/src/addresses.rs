//! Addresses of collectors, as settings name them: one, several separated by commas, or a list.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tonic::transport::Uri;

/// Most collectors that an agent may know.
const MAX_ADDRESSES: usize = 64;

/// Addresses that were written, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Addresses(Vec<String>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    One(String),
    Several(Vec<String>),
}

impl From<Written> for Addresses {
    fn from(written: Written) -> Self {
        match written {
            Written::One(text) => text.into(),
            Written::Several(texts) => Self(texts),
        }
    }
}

impl From<Addresses> for Written {
    fn from(Addresses(mut texts): Addresses) -> Self {
        match texts.pop() {
            Some(only) if texts.is_empty() => Self::One(only),
            last => {
                texts.extend(last);
                Self::Several(texts)
            }
        }
    }
}

impl From<String> for Addresses {
    fn from(text: String) -> Self {
        Self(text.split(',').map(|part| part.trim().to_owned()).collect())
    }
}

impl std::fmt::Display for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl Addresses {
    /// The addresses, checked.
    ///
    /// # Errors
    /// What is wrong with the first wrong one and how to mend it.
    pub fn uris(&self) -> Result<Vec<Uri>, String> {
        if self.0.is_empty() || self.0.len() > MAX_ADDRESSES {
            return Err(format!("must be 1 to {MAX_ADDRESSES} addresses, http://HOST:PORT"));
        }
        let named = |text: &String| {
            uri(text).map_err(|reason| match self.0.len() {
                1 => reason,
                _ => format!("{text}: {reason}"),
            })
        };
        self.0.iter().map(named).collect()
    }
}

/// Checks one address.
fn uri(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|e| format!("{e}; write http://HOST:PORT"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("TLS is not available yet; write http://HOST:PORT".to_owned()),
        _ => return Err("has no scheme; write http://HOST:PORT".to_owned()),
    }
    if uri.host().is_none_or(str::is_empty) || uri.port_u16().is_none() {
        return Err("has no host or no port; write http://HOST:PORT".to_owned());
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err("has a path; write http://HOST:PORT".to_owned());
    }
    Ok(uri)
}

/// True when the address is on this host.
pub fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_several_and_a_list_are_the_same() {
        let text = "http://127.0.0.1:1, http://127.0.0.1:2";
        let several: Addresses = serde_json::from_str(&format!("\"{text}\"")).unwrap();
        let list: Addresses =
            serde_json::from_str(r#"["http://127.0.0.1:1", "http://127.0.0.1:2"]"#).unwrap();
        assert_eq!(several, list);
        assert_eq!(list.uris().unwrap().len(), 2);
        let one = Addresses::from("http://127.0.0.1:1".to_owned());
        assert_eq!(serde_json::to_string(&one).unwrap(), "\"http://127.0.0.1:1\"");
    }

    #[test]
    fn a_wrong_one_among_several_is_named() {
        let wrong = Addresses::from("http://127.0.0.1:1,nonsense".to_owned());
        assert!(wrong.uris().unwrap_err().starts_with("nonsense: "));
        assert!(Addresses(Vec::new()).uris().is_err());
    }
}
