//! Recorded outputs, compared as text. `FLYBALL_RECORD=1` writes them anew; the difference is then read in the commit.

use std::path::Path;

/// Compares `actual` with `snapshots/NAME.txt`. Spaces at line ends do not count.
///
/// # Panics
/// When they differ.
pub(crate) fn check(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("snapshots/{name}.txt"));
    let mut actual: String =
        actual.lines().flat_map(|line| [line.trim_end(), "\n"]).collect::<String>();
    actual.truncate(actual.trim_end().len());
    actual.push('\n');
    if std::env::var_os("FLYBALL_RECORD").is_some() {
        std::fs::write(&path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "{} differs; record it anew with FLYBALL_RECORD=1 if this is right:\n{actual}",
        path.display()
    );
}
