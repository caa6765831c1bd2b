//! A file of `server` lines: read and written again with everything in it that is not a weight or `down`.
//!
//! Properties, each a test: what is set is read back; all else stays byte for byte; setting what is set changes nothing.

use std::fmt::Write as _;

/// Largest file that is read, in bytes.
pub(super) const MAX_FILE_BYTES: u64 = 256 * 1024;

/// The lines of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    lines: Vec<Line>,
}

/// A server and how requests are given to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its weight; 1 where the file has none.
    pub weight: u32,
    /// It is given no requests.
    pub is_down: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Server {
        /// What stands before `server`.
        indent: String,
        address: String,
        setting: Setting,
        /// Parameters that are kept as they are.
        others: Vec<String>,
        /// What stands after the semicolon.
        rest: String,
    },
    Other(String),
}

impl Servers {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// Names the line that is neither a comment nor one whole `server` directive, or what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line = |(index, line): (usize, &str)| {
            parse_line(line).map_err(|reason| format!("line {}: {reason}", index + 1))
        };
        let lines: Vec<Line> = text.lines().enumerate().map(line).collect::<Result<_, _>>()?;
        let servers = Self { lines };
        let mut seen = std::collections::HashSet::new();
        if let Some((twice, _)) = servers.all().find(|(address, _)| !seen.insert(*address)) {
            return Err(format!("server {twice} is there twice"));
        }
        if seen.is_empty() {
            return Err("there is no server".to_owned());
        }
        Ok(servers)
    }

    /// The text to write.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            match line {
                Line::Other(other) => text.push_str(other),
                Line::Server { indent, address, setting, others, rest } => {
                    // Writing into a String cannot fail.
                    let _ = write!(text, "{indent}server {address}");
                    if setting.weight != 1 {
                        let _ = write!(text, " weight={}", setting.weight);
                    }
                    for other in others {
                        let _ = write!(text, " {other}");
                    }
                    text.push_str(if setting.is_down { " down;" } else { ";" });
                    text.push_str(rest);
                }
            }
            text.push('\n');
        }
        text
    }

    /// Addresses as the file has them, with what is set.
    pub fn all(&self) -> impl Iterator<Item = (&str, Setting)> {
        self.lines.iter().filter_map(|line| match line {
            Line::Server { address, setting, .. } => Some((address.as_str(), *setting)),
            Line::Other(_) => None,
        })
    }

    /// What is set of one server.
    pub fn get(&self, address: &str) -> Option<Setting> {
        self.all().find(|(other, _)| *other == address).map(|(_, setting)| setting)
    }

    /// Sets it; false when there is no such server.
    pub fn set(&mut self, address: &str, new: Setting) -> bool {
        let line = self.lines.iter_mut().find_map(|line| match line {
            Line::Server { address: other, setting, .. } if other == address => Some(setting),
            _ => None,
        });
        line.map(|setting| *setting = new).is_some()
    }
}

fn parse_line(line: &str) -> Result<Line, String> {
    let trimmed = line.trim_start();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Ok(Line::Other(line.to_owned()));
    }
    let indent = line[..line.len() - trimmed.len()].to_owned();
    let whole = "must be one server directive that ends with a semicolon, or a comment";
    let (directive, rest) = trimmed.split_once(';').ok_or(whole)?;
    if !(rest.trim_start().is_empty() || rest.trim_start().starts_with('#')) {
        return Err(whole.to_owned());
    }
    let mut words = directive.split_whitespace();
    if words.next() != Some("server") {
        return Err(whole.to_owned());
    }
    let address = words.next().ok_or("a server needs an address")?.to_owned();
    let mut setting = Setting { weight: 1, is_down: false };
    let mut others = Vec::new();
    for word in words {
        if word == "down" {
            setting.is_down = true;
        } else if let Some(weight) = word.strip_prefix("weight=") {
            let weight = weight.parse().ok().filter(|weight| (1..=65_535).contains(weight));
            setting.weight = weight.ok_or_else(|| format!("{word} is not from 1 to 65535"))?;
        } else {
            others.push(word.to_owned());
        }
    }
    Ok(Line::Server { indent, address, setting, others, rest: rest.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "# made by hand\n\n    server 10.0.0.1:80 weight=100 max_fails=3; # old\n\
        server unix:/run/a.sock backup down;\nserver b.example;\n";

    #[test]
    fn servers_are_read_and_all_else_is_kept() {
        let mut servers = Servers::parse(FILE).unwrap();
        let all: Vec<_> = servers.all().map(|(a, s)| (a, s.weight, s.is_down)).collect();
        let there = [("10.0.0.1:80", 100, false), ("unix:/run/a.sock", 1, true)];
        assert_eq!(all, [there[0], there[1], ("b.example", 1, false)]);
        assert_eq!(servers.render(), FILE);
        assert!(servers.set("b.example", Setting { weight: 7, is_down: true }));
        assert!(!servers.set("c.example", Setting { weight: 7, is_down: true }));
        let text = servers.render();
        assert!(text.ends_with("server b.example weight=7 down;\n"), "{text}");
        assert!(
            text.starts_with(
                "# made by hand\n\n    server 10.0.0.1:80 weight=100 max_fails=3; # old"
            )
        );
    }

    #[test]
    fn what_is_no_server_line_is_named() {
        for (text, words) in [
            ("", "no server"),
            ("# nothing\n", "no server"),
            ("server a\n", "line 1"),
            ("server a;\nkeepalive 8;\n", "line 2"),
            ("server a; server b;\n", "line 1"),
            ("server;\n", "address"),
            ("server a weight=0;\n", "weight=0"),
            ("server a;\nserver a down;\n", "twice"),
        ] {
            let error = Servers::parse(text).unwrap_err();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_back(
            weights in prop::collection::vec((1_u32..=256, any::<bool>()), 1..20),
        ) {
            let text: String = (0..weights.len()).fold(String::new(), |mut text, at| {
                let _ = writeln!(text, "  server 10.0.0.{at}:80 max_fails=2;");
                text
            });
            let mut servers = Servers::parse(&text).unwrap();
            for (at, &(weight, is_down)) in weights.iter().enumerate() {
                let is_set = servers.set(&format!("10.0.0.{at}:80"), Setting { weight, is_down });
                prop_assert!(is_set);
            }
            let again = Servers::parse(&servers.render()).unwrap();
            let all: Vec<_> = again.all().map(|(_, s)| (s.weight, s.is_down)).collect();
            prop_assert_eq!(all, weights);
            prop_assert_eq!(again.render(), servers.render());
        }
    }
}
