//! The numbered SQL files of `collector/migrations`, part of the binary, and the templating of their statements.
//!
//! A statement ends with `;` at the end of a line. One whose first line is `-- only: cluster` runs on a cluster only. Placeholders: `{database}`;
//! `{on_cluster}`, ` ON CLUSTER name` or nothing; `{cluster}`, the name; `{replicated}`, `Replicated` or nothing; `{local}`, `_local` or
//! nothing: the suffix of tables that a Distributed one stands before; `{retention_days}`, `{decisions_retention_days}`.

use sha2::{Digest as _, Sha256};

use crate::store::config::ClickHouseSettings;
use crate::store::hex;

/// One step of the schema and the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its number, from 1, without gaps.
    pub version: u32,
    /// Its name.
    pub name: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
}

macro_rules! migrations {
    ($($version:literal $number:literal $name:literal),* $(,)?) => {
        &[$(Migration {
            version: $version,
            name: $name,
            up: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/migrations/", $number, "_", $name, ".up.sql"
            )),
            down: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/migrations/", $number, "_", $name, ".down.sql"
            )),
        }),*]
    };
}

/// All migrations in order.
pub const ALL: &[Migration] =
    migrations![1 "0001" "measurements", 2 "0002" "cache_stats", 3 "0003" "optimization_logs"];

impl Migration {
    /// SHA-256 of both files, in hexadecimal.
    pub fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        hash.update((self.up.len() as u64).to_le_bytes());
        hash.update(self.up);
        hash.update(self.down);
        hex::encode(&hash.finalize())
    }

    pub(super) fn up_statements(&self, template: &Template) -> Vec<String> {
        template.statements(self.up)
    }

    pub(super) fn down_statements(&self, template: &Template) -> Vec<String> {
        template.statements(self.down)
    }
}

/// What the placeholders stand for.
#[derive(Debug, Clone)]
pub(in crate::store) struct Template {
    values: Vec<(&'static str, String)>,
    on_cluster: bool,
}

impl Template {
    pub(in crate::store) fn new(settings: &ClickHouseSettings) -> Self {
        let cluster = settings.cluster.clone();
        let when_cluster =
            |text: &str| if cluster.is_some() { text.to_owned() } else { String::new() };
        let values = vec![
            ("{database}", settings.database.clone()),
            (
                "{on_cluster}",
                cluster.as_ref().map_or(String::new(), |c| format!(" ON CLUSTER {c}")),
            ),
            ("{cluster}", cluster.clone().unwrap_or_default()),
            ("{replicated}", when_cluster("Replicated")),
            ("{local}", when_cluster("_local")),
            ("{retention_days}", settings.retention_days.to_string()),
            ("{decisions_retention_days}", settings.decisions_retention_days.to_string()),
        ];
        Self { values, on_cluster: cluster.is_some() }
    }

    /// The text with every placeholder replaced.
    pub(in crate::store) fn fill(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    fn statements(&self, file: &str) -> Vec<String> {
        file.split(";\n")
            .map(str::trim)
            .filter(|text| {
                text.lines().any(|line| !line.trim().is_empty() && !line.starts_with("--"))
            })
            .filter(|text| self.on_cluster || !text.starts_with("-- only: cluster"))
            .map(|text| {
                let code: Vec<_> = text.lines().filter(|line| !line.starts_with("--")).collect();
                self.fill(code.join("\n").trim())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(cluster: Option<&str>) -> Template {
        let cluster = cluster.map(str::to_owned);
        Template::new(&ClickHouseSettings { cluster, ..ClickHouseSettings::default() })
    }

    #[test]
    fn every_file_of_the_folder_is_part_of_the_binary() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let known: Vec<_> = ALL
            .iter()
            .flat_map(|m| {
                ["down", "up"].map(|way| format!("{:04}_{}.{way}.sql", m.version, m.name))
            })
            .collect();
        assert_eq!(files, known);
        assert!(ALL.iter().zip(1..).all(|(m, number)| m.version == number));
    }

    #[test]
    fn no_placeholder_is_left_and_no_statement_is_lost() {
        for (cluster, creates) in [(None, 4), (Some("main"), 8)] {
            let template = template(cluster);
            let up: Vec<_> = ALL.iter().flat_map(|m| m.up_statements(&template)).collect();
            let down: Vec<_> = ALL.iter().flat_map(|m| m.down_statements(&template)).collect();
            assert_eq!((up.len(), down.len()), (creates, creates));
            for text in up.iter().chain(&down) {
                assert!(!text.contains(['{', '}']) && !text.contains(';'), "{text}");
                assert_eq!(text.contains("ON CLUSTER main"), cluster.is_some(), "{text}");
            }
            assert!(up.iter().all(|text| text.starts_with("CREATE TABLE IF NOT EXISTS flyball.")));
            assert!(down.iter().all(|text| text.starts_with("DROP TABLE IF EXISTS flyball.")));
        }
    }

    #[test]
    fn the_checksum_covers_both_files() {
        let migration = Migration { version: 1, name: "x", up: "ab", down: "c" };
        let moved = Migration { up: "a", down: "bc", ..migration };
        assert_ne!(migration.checksum(), moved.checksum());
        assert_eq!(migration.checksum().len(), 64);
    }
}
