//! Layered configuration: defaults, then the TOML file, then `FLYBALL_<SECTION>_<KEY>`, then flags; the last one that names a key wins.
//!
//! serde stops at the first error, so each key is first tried alone on top of the defaults: an operator sees every unknown key, every value of a wrong type and
//! every value out of range in one go, each with the place it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Prefix of environment variables.
pub const ENV_PREFIX: &str = "FLYBALL_";

/// Settings of one binary: sections of keys. `Default` must give values that work, and every key must appear when it is serialized.
pub trait Settings: Default + Serialize + DeserializeOwned {
    /// What no single key shows: ranges and combinations. Pushes one problem for each wrong key.
    fn validate(&self, problems: &mut Problems);
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Full key, for example `agent.interval`.
    pub key: String,
    /// Where the value came from, for example `flyball.toml` or `FLYBALL_AGENT_INTERVAL`; empty for defaults.
    pub origin: String,
    /// What is wrong and how to mend it.
    pub reason: String,
}

/// Everything that is wrong with the configuration, in the order of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

/// Where settings come from besides their defaults.
#[derive(Debug, Default, Clone)]
pub struct Sources {
    /// `--config`
    pub file: Option<PathBuf>,
    /// Flags that were given, as full key and value.
    pub flags: Vec<(String, Value)>,
    /// Environment; `None` reads that of the process.
    pub environment: Option<Vec<(String, String)>>,
}

impl Sources {
    /// Adds a flag when it was given.
    ///
    /// # Panics
    /// When the value cannot be serialized, which plain values always can.
    pub fn flag<T: Serialize>(&mut self, key: &str, value: Option<T>) -> &mut Self {
        if let Some(value) = value {
            let value = Value::serialize(value).expect("a flag's value is plain data");
            self.flags.push((key.to_owned(), value));
        }
        self
    }
}

impl Problems {
    /// Adds a problem with a key of the settings.
    pub fn push(&mut self, key: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Problem { key: key.into(), origin: String::new(), reason: reason.into() });
    }

    /// The problems.
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }

    fn into_result<T>(mut self, value: T, layers: &Layers) -> Result<T, Self> {
        if self.0.is_empty() {
            return Ok(value);
        }
        for problem in &mut self.0 {
            if problem.origin.is_empty() {
                problem.origin = layers.origin(&problem.key);
            }
        }
        self.0.sort_by(|a, b| a.key.cmp(&b.key));
        Err(self)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}: {}", problem.key, problem.reason)?;
            if !problem.origin.is_empty() {
                write!(f, " (from {})", problem.origin)?;
            }
        }
        Ok(())
    }
}

/// Reads settings of type `T`.
///
/// # Errors
/// All problems together: an unreadable file, unknown keys, wrong types, values out of range.
pub fn load<T: Settings>(sources: &Sources) -> Result<T, Problems> {
    let defaults = Figment::from(Serialized::defaults(T::default()));
    let known = flatten(&defaults.extract::<Dict>().map_err(|e| from_figment("", "", &e))?);
    let layers = Layers::read(sources, &known)?;

    let mut problems = Problems::default();
    let mut good = defaults.clone();
    for (key, (value, origin)) in &layers.given {
        if !known.contains_key(key) {
            problems.0.push(unknown_key(key, origin, &known));
            continue;
        }
        match alone::<T>(&defaults, key, value.clone()) {
            Ok(()) => good = good.merge(Serialized::default(key, value.clone())),
            Err(error) => match in_tables::<T>(&defaults, key, origin, value) {
                Some((of_tables, rest)) => {
                    problems.0.extend(of_tables);
                    good = good.merge(Serialized::default(key, rest));
                }
                None => problems.0.extend(from_figment(key, origin, &error).0),
            },
        }
    }
    let settings = good.extract::<T>().map_err(|e| from_figment("", "", &e))?;
    let mut more = Problems::default();
    settings.validate(&mut more);
    // A value that could not be read is at its default here, and what is wrong with that is nobody's doing.
    more.0.retain(|problem| problems.0.iter().all(|known| known.key != problem.key));
    problems.0.append(&mut more.0);
    problems.into_result(settings, &layers)
}

/// Whether the defaults with this value are settings.
fn alone<T: Settings>(
    defaults: &Figment,
    key: &str,
    value: Value,
) -> Result<(), Box<figment::Error>> {
    let settings = defaults.clone().merge(Serialized::default(key, value));
    settings.extract::<T>().map(drop).map_err(Box::new)
}

/// What is wrong in an array of tables, and the array without it: each key of each table is tried alone, `redis[1].url`. `None` when nothing is found that way.
fn in_tables<T: Settings>(
    defaults: &Figment,
    key: &str,
    origin: &str,
    value: &Value,
) -> Option<(Vec<Problem>, Value)> {
    let Value::Array(_, tables) = value else { return None };
    let (mut problems, mut rest) = (Vec::new(), Vec::new());
    for (index, table) in tables.iter().enumerate() {
        let Value::Dict(_, table) = table else { return None };
        let mut good = Dict::new();
        for (name, value) in table {
            let only = Dict::from([(name.clone(), value.clone())]);
            match alone::<T>(defaults, key, vec![Value::from(only)].into()) {
                Ok(()) => drop(good.insert(name.clone(), value.clone())),
                Err(error) => {
                    let at = format!("{key}[{index}].{name}");
                    problems.extend(from_figment(&at, origin, &error).0);
                }
            }
        }
        rest.push(Value::from(good));
    }
    (!problems.is_empty()).then(|| (problems, rest.into()))
}

/// Given keys, flat, each with its value and where it came from. Tables of the settings are flattened; arrays are one value.
struct Layers {
    given: BTreeMap<String, (Value, String)>,
}

impl Layers {
    fn read(sources: &Sources, known: &BTreeMap<String, Value>) -> Result<Self, Problems> {
        let mut given = BTreeMap::new();
        if let Some(path) = &sources.file {
            let name = path.display().to_string();
            for (key, value) in read_file(path)? {
                given.insert(key, (value, name.clone()));
            }
        }
        let variables = sources.environment.clone().unwrap_or_else(|| {
            let pair = |(k, v): (std::ffi::OsString, std::ffi::OsString)| {
                Some((k.into_string().ok()?, v.into_string().ok()?))
            };
            std::env::vars_os().filter_map(pair).collect()
        });
        for (variable, text) in variables {
            if let Some(key) = known.keys().find(|key| variable_name(key) == variable) {
                // A text stays as it is: `007` is a password, not the number 7.
                let is_text = matches!(known[key], Value::String(..));
                let value = if is_text { Value::from(text) } else { parse(&text) };
                given.insert(key.clone(), (value, variable));
            }
        }
        for (key, value) in &sources.flags {
            given.insert(key.clone(), (value.clone(), "the command line".to_owned()));
        }
        Ok(Self { given })
    }

    fn origin(&self, key: &str) -> String {
        let array = key.split('[').next().unwrap_or(key);
        let given = self.given.get(key).or_else(|| self.given.get(array));
        given.map(|(_, origin)| origin.clone()).unwrap_or_default()
    }
}

/// `agent.data_dir` as `FLYBALL_AGENT_DATA_DIR`.
pub fn variable_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace(['.', '-'], "_").to_ascii_uppercase())
}

fn read_file(path: &Path) -> Result<BTreeMap<String, Value>, Problems> {
    let problem = |reason: String| {
        let mut problems = Problems::default();
        problems.push("--config", format!("{}: {reason}", path.display()));
        problems
    };
    let text = std::fs::read_to_string(path).map_err(|e| problem(e.to_string()))?;
    let dict = Figment::from(Toml::string(&text))
        .extract::<Dict>()
        .map_err(|e| problem(e.to_string().trim_end().to_owned()))?;
    Ok(flatten(&dict))
}

/// Text of a variable as figment reads it: a number, a boolean, an array, or else a string.
fn parse(text: &str) -> Value {
    text.parse().unwrap_or_else(|_| Value::from(text))
}

fn flatten(dict: &Dict) -> BTreeMap<String, Value> {
    fn walk(prefix: &str, dict: &Dict, out: &mut BTreeMap<String, Value>) {
        for (key, value) in dict {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                Value::Dict(_, inner) if !inner.is_empty() => walk(&key, inner, out),
                _ => {
                    out.insert(key, value.clone());
                }
            }
        }
    }
    let mut out = BTreeMap::new();
    walk("", dict, &mut out);
    out
}

fn unknown_key(key: &str, origin: &str, known: &BTreeMap<String, Value>) -> Problem {
    let section = key.rsplit_once('.').map_or("", |(section, _)| section);
    let near: Vec<_> = known
        .keys()
        .filter(|k| k.rsplit_once('.').map_or("", |(s, _)| s) == section)
        .map(String::as_str)
        .collect();
    let reason = if near.is_empty() {
        "unknown section".to_owned()
    } else {
        format!("unknown key; known here: {}", near.join(", "))
    };
    Problem { key: key.to_owned(), origin: origin.to_owned(), reason }
}

fn from_figment(key: &str, origin: &str, error: &figment::Error) -> Problems {
    let problem = |e: figment::Error| Problem {
        key: if key.is_empty() { e.path.join(".") } else { key.to_owned() },
        origin: origin.to_owned(),
        reason: e.kind.to_string(),
    };
    Problems(error.clone().into_iter().map(problem).collect())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Serialize, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Demo {
        http: Http,
        redis: Vec<String>,
        caches: Vec<Cache>,
    }

    #[derive(Debug, Default, Serialize, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Cache {
        name: String,
        port: u16,
    }

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Http {
        listen: String,
        limit: u32,
        name: Option<String>,
    }

    impl Default for Http {
        fn default() -> Self {
            Self { listen: "127.0.0.1:0".into(), limit: 10, name: None }
        }
    }

    impl Settings for Demo {
        fn validate(&self, problems: &mut Problems) {
            if self.http.limit == 0 {
                problems.push("http.limit", "must be at least 1");
            }
        }
    }

    fn sources(toml: &str, environment: &[(&str, &str)]) -> (tempfile::TempDir, Sources) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("demo.toml");
        std::fs::write(&file, toml).unwrap();
        let environment =
            Some(environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        (dir, Sources { file: Some(file), environment, ..Sources::default() })
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let (_dir, mut s) = sources(
            "redis = ['a']\n[http]\nlisten = 'file'\nlimit = 1",
            &[("FLYBALL_HTTP_LIMIT", "2"), ("FLYBALL_HTTP_LISTEN", "env")],
        );
        s.flag("http.listen", Some("flag"));
        let demo: Demo = load(&s).unwrap();
        assert_eq!(demo.http, Http { listen: "flag".into(), limit: 2, name: None });
        assert_eq!(demo.redis, ["a"]);
    }

    #[test]
    fn a_text_from_the_environment_stays_as_it_is() {
        let (_dir, s) = sources("", &[("FLYBALL_HTTP_LISTEN", "007")]);
        assert_eq!(load::<Demo>(&s).unwrap().http.listen, "007");
    }

    #[test]
    fn every_problem_is_listed_with_its_key_and_origin() {
        let (_dir, s) = sources(
            "[http]\nlimit = 'x'\nlimt = 3\n[htp]\na = 1",
            &[("FLYBALL_HTTP_LIMIT", "[1]")],
        );
        let problems = load::<Demo>(&s).unwrap_err();
        let keys: Vec<_> = problems.as_slice().iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["htp.a", "http.limit", "http.limt"]);
        let text = problems.to_string();
        assert!(
            text.contains("known here: limit") || text.contains("http.limit, http.listen"),
            "{text}"
        );
        assert!(text.contains("from FLYBALL_HTTP_LIMIT"), "{text}");
    }

    #[test]
    fn every_problem_of_an_array_of_tables_is_listed_with_its_place() {
        let (_dir, s) = sources(
            "[[caches]]\nname = 'a'\n[[caches]]\nname = 1\nport = 70000\nprot = 1\n[[caches]]\nport = 1",
            &[],
        );
        let problems = load::<Demo>(&s).unwrap_err();
        let keys: Vec<_> = problems.as_slice().iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["caches[1].name", "caches[1].port", "caches[1].prot"]);
        assert!(problems.to_string().contains("demo.toml)"), "{problems}");
        let (_dir, s) = sources("", &[("FLYBALL_CACHES", r#"[{name="a",port=7}]"#)]);
        let cache = Cache { name: "a".into(), port: 7 };
        assert_eq!(load::<Demo>(&s).unwrap().caches, [cache]);
        let (_dir, s) = sources("caches = 'x'", &[]);
        assert_eq!(load::<Demo>(&s).unwrap_err().as_slice()[0].key, "caches");
    }

    #[test]
    fn a_value_out_of_range_names_where_it_came_from() {
        let (_dir, s) = sources("", &[("FLYBALL_HTTP_LIMIT", "0")]);
        let problems = load::<Demo>(&s).unwrap_err();
        assert_eq!(
            problems.to_string(),
            "http.limit: must be at least 1 (from FLYBALL_HTTP_LIMIT)"
        );
    }

    #[test]
    fn a_missing_or_broken_file_is_a_problem_of_its_own() {
        let missing = Sources { file: Some("/nonexistent/x.toml".into()), ..Sources::default() };
        assert!(
            load::<Demo>(&missing).unwrap_err().to_string().starts_with("--config: /nonexistent")
        );
        let (_dir, broken) = sources("[http", &[]);
        assert!(load::<Demo>(&broken).unwrap_err().to_string().starts_with("--config: "));
    }
}
