//! Settings of the command line: section `[cli]` of the file, `FLYBALL_CLI_*`, flags.

use std::time::Duration;

use flyball_service::config::{Problems, Settings};
use flyball_service::logging::LogFormat;
use reqwest::Url;
use serde::{Deserialize, Serialize};

/// All settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The only section.
    pub cli: CliSection,
}

/// `[cli]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CliSection {
    /// Address of the collector's HTTP port, `http://HOST:PORT`.
    pub server: String,
    /// How answers are printed.
    pub output: Output,
    /// Longest time to wait for an answer, 100 ms to 10 min.
    pub timeout: Timeout,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs: what the API answers.
    Json,
}

/// A length of time, written as in `500ms`, `10s`, `1m 30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Timeout(pub Duration);

impl TryFrom<String> for Timeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|e| format!("{e}; write a number and a unit, for example 500ms or 10s"))
    }
}

impl From<Timeout> for String {
    fn from(timeout: Timeout) -> Self {
        humantime::format_duration(timeout.0).to_string()
    }
}

impl Default for CliSection {
    fn default() -> Self {
        Self {
            server: "http://127.0.0.1:7480".to_owned(),
            output: Output::default(),
            timeout: Timeout(Duration::from_secs(10)),
            log_format: LogFormat::default(),
        }
    }
}

impl Settings for Config {
    fn validate(&self, problems: &mut Problems) {
        if let Err(reason) = check_server(&self.cli.server) {
            problems.push("cli.server", reason);
        }
        if !(Duration::from_millis(100)..=Duration::from_mins(10)).contains(&self.cli.timeout.0) {
            problems.push("cli.timeout", "must be 100ms to 10m");
        }
    }
}

fn check_server(server: &str) -> Result<(), String> {
    let example = "write http://HOST:PORT, for example http://127.0.0.1:7480";
    let url =
        Url::parse(server).map_err(|e| format!("{server:?} is not a URL ({e}); {example}"))?;
    match url.scheme() {
        "http" => {}
        "https" => return Err(format!("https is not spoken yet; {example}")),
        _ => return Err(format!("{server:?} is not an http URL; {example}")),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{server:?} has more than an address; {example}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use flyball_service::config::{Sources, load};

    use super::*;

    fn with(environment: &[(&str, &str)]) -> Sources {
        let own = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        Sources { environment: Some(environment.iter().map(own).collect()), ..Sources::default() }
    }

    #[test]
    fn the_example_file_shows_every_key_with_its_default() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/flyball.example.toml");
        let sources = Sources { file: Some(file.into()), ..with(&[]) };
        assert_eq!(load::<Config>(&sources).unwrap(), Config::default());
        let text = std::fs::read_to_string(file).unwrap();
        for key in ["server", "output", "timeout", "log_format"] {
            assert!(text.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
        }
    }

    #[test]
    fn the_environment_names_the_server() {
        let config: Config = load(&with(&[("FLYBALL_CLI_SERVER", "http://db:1/x")])).unwrap();
        assert_eq!(config.cli.server, "http://db:1/x");
    }

    #[test]
    fn every_wrong_key_is_told() {
        let environment = [
            ("FLYBALL_CLI_SERVER", "127.0.0.1:7480"),
            ("FLYBALL_CLI_OUTPUT", "xml"),
            ("FLYBALL_CLI_TIMEOUT", "1ms"),
        ];
        let problems = load::<Config>(&with(&environment)).unwrap_err();
        let keys: Vec<_> = problems.as_slice().iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["cli.output", "cli.server", "cli.timeout"]);
    }

    #[test]
    fn an_address_that_cannot_work_is_refused_with_one_that_can() {
        for server in ["", "localhost", "127.0.0.1:7480", "https://h", "ftp://h", "http://h?x=1"] {
            let reason = check_server(server).unwrap_err();
            assert!(reason.contains("http://127.0.0.1:7480"), "{server}: {reason}");
        }
        assert_eq!(check_server("http://[::1]:7480/"), Ok(()));
    }
}
