//! The numbered SQL files of `collector/migrations`, part of the binary, and the templating of their statements.
//!
//! A statement ends with `;` at the end of a line. One whose first line is `-- only: cluster` runs on a cluster only, `-- only: replicated` on a replicated one only,
//! `-- only: plain` everywhere else. Replicated tables are created with `CREATE TABLE IF NOT EXISTS`, which names the table that the path is made of. Placeholders:
//!
//! | placeholder | one server | shards of plain tables | replicated cluster |
//! |---|---|---|---|
//! | `{database}` | the name | the name | the name |
//! | `{on_cluster}` | - | -, since the statement runs on each server | ` ON CLUSTER name` |
//! | `{cluster}` | - | the name | the name |
//! | `{local}`: suffix of tables that a Distributed one stands before | - | `_local` | `_local` |
//! | `{replicated}XMergeTree(a)` | `XMergeTree(a)` | `XMergeTree(a)` | `ReplicatedXMergeTree(path, replica, a)`, and the deduplication settings |
//! | `{replicated_everywhere}XMergeTree` | `XMergeTree` | `XMergeTree` | the same with one path for all shards |
//! | `{retention_days}`, `{decisions_retention_days}`, `{rollup_10s_days}`, `{rollup_1m_days}`, `{rollup_1h_days}` | days | days | days |
//!
//! The path in Keeper names shard, database and table. ClickHouse's default path has the table's UUID instead, which a server that is added later would not have,
//! so that its replica would be one of nothing.

use sha2::{Digest as _, Sha256};

use crate::store::config::{ClickHouseSettings, Layout};
use crate::store::hex;

/// Setting of plain tables, as the migrations write it, before which those of replicated ones are added.
const PLAIN_WINDOW: &str = "non_replicated_deduplication_window = 1000";
/// As many tokens as plain tables remember, and long enough for an outage over a week-end; ClickHouse's default is an hour.
const REPLICATED_WINDOW: &str =
    "replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800";

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
pub const ALL: &[Migration] = migrations![
    1 "0001" "measurements",
    2 "0002" "cache_stats",
    3 "0003" "optimization_logs",
    4 "0004" "hours",
    5 "0005" "rollups",
    6 "0006" "decisions",
    7 "0007" "balancer_stats",
    8 "0008" "merges",
];

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

/// Creates the database.
pub(in crate::store) const DATABASE: &str = "CREATE DATABASE IF NOT EXISTS {database}{on_cluster}";
/// Creates the log of what was applied; not a migration itself, since those are recorded in it.
pub(super) const LOG: &str = "\
CREATE TABLE IF NOT EXISTS {database}.migrations{on_cluster}
(
    sequence UInt64,
    version UInt32,
    name String,
    checksum String,
    direction Enum8('up' = 1, 'down' = 2),
    at DateTime64(3, 'UTC')
)
ENGINE = {replicated_everywhere}MergeTree
ORDER BY sequence";

/// All that is created for these settings, as statements to read.
pub fn up_sql(settings: &ClickHouseSettings) -> String {
    let template = Template::new(settings);
    let head = [DATABASE, LOG].map(|statement| template.fill(statement));
    let mut text = section("before the first migration", &head);
    for migration in ALL {
        let title = format!("{:04} {}", migration.version, migration.name);
        text += &section(&title, &migration.up_statements(&template));
    }
    text
}

/// All that undoes the migrations, newest first, as statements to read.
pub fn down_sql(settings: &ClickHouseSettings) -> String {
    let template = Template::new(settings);
    let section = |migration: &Migration| {
        let title = format!("{:04} {} undone", migration.version, migration.name);
        section(&title, &migration.down_statements(&template))
    };
    ALL.iter().rev().map(section).collect()
}

fn section(title: &str, statements: &[String]) -> String {
    format!("-- {title}\n\n{};\n\n", statements.join(";\n\n"))
}

/// What the placeholders stand for.
#[derive(Debug, Clone)]
pub(in crate::store) struct Template {
    values: Vec<(&'static str, String)>,
    database: String,
    is_cluster: bool,
    is_replicated: bool,
}

impl Template {
    pub(in crate::store) fn new(settings: &ClickHouseSettings) -> Self {
        let layout = settings.layout();
        let is_replicated = matches!(layout, Layout::Replicated { .. });
        let cluster = layout.cluster().unwrap_or_default();
        let is_cluster = layout != Layout::Single;
        let on_cluster = format!(" ON CLUSTER {cluster}");
        let values = vec![
            ("{database}", settings.database.clone()),
            ("{on_cluster}", if is_replicated { on_cluster } else { String::new() }),
            ("{cluster}", cluster.to_owned()),
            ("{local}", if is_cluster { "_local" } else { "" }.to_owned()),
            ("{retention_days}", settings.retention_days.to_string()),
            ("{decisions_retention_days}", settings.decisions_retention_days.to_string()),
            ("{rollup_10s_days}", settings.rollup_days()[0].to_string()),
            ("{rollup_1m_days}", settings.rollup_days()[1].to_string()),
            ("{rollup_1h_days}", settings.rollup_days()[2].to_string()),
        ];
        Self { values, database: settings.database.clone(), is_cluster, is_replicated }
    }

    /// The text with every placeholder replaced.
    pub(in crate::store) fn fill(&self, text: &str) -> String {
        let values = self.values.iter();
        let text = values.fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
        if self.is_replicated {
            self.replicate(&text)
        } else {
            text.replace("{replicated}", "").replace("{replicated_everywhere}", "")
        }
    }

    fn statements(&self, file: &str) -> Vec<String> {
        file.split(";\n")
            .map(str::trim)
            .filter(|text| {
                text.lines().any(|line| !line.trim().is_empty() && !line.starts_with("--"))
            })
            .filter(|text| self.is_for_us(text))
            .map(|text| {
                let code: Vec<_> = text.lines().filter(|line| !line.starts_with("--")).collect();
                self.fill(code.join("\n").trim())
            })
            .collect()
    }

    /// Whether the first line lets a statement run in this layout.
    fn is_for_us(&self, statement: &str) -> bool {
        match statement.lines().next().and_then(|line| line.strip_prefix("-- only: ")) {
            Some("cluster") => self.is_cluster,
            Some("replicated") => self.is_replicated,
            Some("plain") => !self.is_replicated,
            _ => true,
        }
    }

    /// Gives the engine behind `{replicated}` its path and its name in Keeper, before its own arguments.
    fn replicate(&self, text: &str) -> String {
        // A table that all shards have in common: their replicas are told apart by both macros.
        let (mark, shard, replica) = if text.contains("{replicated_everywhere}") {
            ("{replicated_everywhere}", "", "{shard}-{replica}")
        } else {
            ("{replicated}", "{shard}/", "{replica}")
        };
        let Some((head, tail)) = text.split_once(mark) else { return text.to_owned() };
        let end = tail.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tail.len());
        let (engine, tail) = tail.split_at(end);
        let (arguments, tail) = match tail.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            Some((own, rest)) => (format!(", {own}"), rest),
            None => (String::new(), tail),
        };
        let path = format!("/clickhouse/tables/{shard}{}/{}", self.database, table_of(head));
        let tail = tail.replace(PLAIN_WINDOW, &format!("{REPLICATED_WINDOW}, {PLAIN_WINDOW}"));
        format!("{head}Replicated{engine}('{path}', '{replica}'{arguments}){tail}")
    }
}

/// The table that a statement creates, without its database.
fn table_of(statement: &str) -> &str {
    let (_, rest) = statement.split_once("CREATE TABLE IF NOT EXISTS ").unwrap_or(("", statement));
    let name = rest.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    name.rsplit_once('.').map_or(name, |(_, table)| table)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn template(cluster: Option<&str>, replicated: bool) -> Template {
        let cluster = cluster.map(str::to_owned);
        Template::new(&ClickHouseSettings { cluster, replicated, ..ClickHouseSettings::default() })
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

    /// What a statement leaves of the tables that are there, and of what was set on them: `table.setting`.
    fn run(statement: &str, tables: &mut BTreeSet<String>) {
        let table = |words: &str| {
            let rest = statement.strip_prefix(words)?;
            Some(rest.split_whitespace().next().unwrap().to_owned())
        };
        if let Some(name) = table("CREATE TABLE IF NOT EXISTS flyball.") {
            tables.insert(name);
        } else if let Some(name) = table("CREATE OR REPLACE TABLE flyball.") {
            assert!(!statement.contains("Replicated"), "the path would be there: {statement}");
            assert!(tables.contains(&name), "{statement}");
        } else if let Some(name) = table("DROP TABLE IF EXISTS flyball.") {
            assert!(tables.remove(&name), "{statement}");
        } else if let Some(name) = table("ALTER TABLE flyball.") {
            assert!(tables.contains(&name), "{statement}");
            let (_, what) = statement.split_once('\n').unwrap();
            if let Some(settings) = what.strip_prefix("MODIFY SETTING ") {
                let named = settings.split(", ").map(|one| one.split_once(" = ").unwrap().0);
                assert!(named.map(|one| format!("{name}.{one}")).all(|one| tables.insert(one)));
            } else {
                let settings = what.strip_prefix("RESET SETTING ").unwrap();
                let named = settings.split(", ").map(|one| format!("{name}.{one}"));
                assert!(named.into_iter().all(|one| tables.remove(&one)), "{statement}");
            }
        } else {
            panic!("neither creates, alters nor drops a table: {statement}");
        }
    }

    #[test]
    fn no_placeholder_is_left_and_what_is_created_is_dropped() {
        for (cluster, replicated) in [(None, true), (Some("main"), false), (Some("main"), true)] {
            let template = template(cluster, replicated);
            let up = ALL.iter().flat_map(|m| m.up_statements(&template));
            let down = ALL.iter().rev().flat_map(|m| m.down_statements(&template));
            let mut tables = BTreeSet::new();
            for (way, statement) in up.map(|s| ("up", s)).chain(down.map(|s| ("down", s))) {
                let text = statement.replace("{shard}", "").replace("{replica}", "");
                assert!(!text.contains(['{', '}']) && !text.contains(';'), "{way}: {text}");
                let on_cluster = cluster.is_some() && replicated;
                assert_eq!(text.contains(" ON CLUSTER main"), on_cluster, "{text}");
                run(&statement, &mut tables);
            }
            assert_eq!(tables, BTreeSet::new());
        }
    }

    #[test]
    fn an_engine_gets_its_path_before_its_own_arguments() {
        let template = template(Some("main"), true);
        let text = "CREATE TABLE IF NOT EXISTS {database}.t{local}{on_cluster} (a UInt8) ENGINE = {replicated}";
        let path = "'/clickhouse/tables/{shard}/flyball/t_local', '{replica}'";
        let filled = template.fill(&format!("{text}ReplacingMergeTree(a, b)\nORDER BY a"));
        let end = format!("ENGINE = ReplicatedReplacingMergeTree({path}, a, b)\nORDER BY a");
        assert!(filled.ends_with(&end), "{filled}");
        let filled = template.fill(&format!("{text}MergeTree ORDER BY (a)"));
        assert!(filled.ends_with(&format!("ReplicatedMergeTree({path}) ORDER BY (a)")), "{filled}");
    }

    #[test]
    fn the_checksum_covers_both_files() {
        let migration = Migration { version: 1, name: "x", up: "ab", down: "c" };
        let moved = Migration { up: "a", down: "bc", ..migration };
        assert_ne!(migration.checksum(), moved.checksum());
        assert_eq!(migration.checksum().len(), 64);
    }
}
