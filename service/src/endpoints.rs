//! `DIR/endpoints.json`: the addresses in use, for whoever started the process with port 0.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// Name of the file in the data directory.
pub const FILE: &str = "endpoints.json";

/// Writes the addresses, whole or not at all.
///
/// # Errors
/// When the directory cannot be written.
pub fn write(dir: &Path, endpoints: &BTreeMap<&str, SocketAddr>) -> io::Result<()> {
    let text = serde_json::to_string(endpoints).map_err(io::Error::other)?;
    let temporary = dir.join(format!("{FILE}.{}", std::process::id()));
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, dir.join(FILE))
}

/// Reads the addresses that a process wrote.
///
/// # Errors
/// When the file is missing or not what [`write()`] writes.
pub fn read(dir: &Path) -> io::Result<BTreeMap<String, SocketAddr>> {
    serde_json::from_str(&std::fs::read_to_string(dir.join(FILE))?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let http: SocketAddr = "127.0.0.1:7480".parse().unwrap();
        write(dir.path(), &BTreeMap::from([("http", http)])).unwrap();
        assert_eq!(read(dir.path()).unwrap()["http"], http);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
