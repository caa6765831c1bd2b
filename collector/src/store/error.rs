//! What can go wrong in the store, each message with what mends it, and which failures are worth trying again.

use std::io;
use std::path::PathBuf;

use super::catalog::CatalogFull;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Neither the library nor a program.
    #[error(
        "the embedded ClickHouse engine is not at {path}: fetch it with `flyball-collector engine fetch`, or name a server with --clickhouse URL"
    )]
    EngineNotFound {
        /// Where the library was looked for.
        path: PathBuf,
    },
    /// No engine is published for this machine.
    #[error(
        "there is no embedded ClickHouse engine for {target}: install a `clickhouse` program of version 26 or later, or name a server with --clickhouse URL"
    )]
    EngineUnsupported {
        /// Architecture and operating system.
        target: String,
    },
    /// Another collector works in the same data directory.
    #[error(
        "the data directory {path} is in use by another collector{holder}: stop it, or choose another one with --data-dir"
    )]
    DataDirInUse {
        /// The engine's directory.
        path: PathBuf,
        /// ` (pid N)` when known.
        holder: String,
    },
    /// The engine started and ended, or did not answer in time.
    #[error("the embedded ClickHouse engine did not start: {reason}")]
    EngineStart {
        /// What its log says.
        reason: String,
    },
    /// Fetching the engine failed.
    #[error("the engine could not be fetched: {reason}")]
    Fetch {
        /// Which step, and what mends it.
        reason: String,
    },
    /// A file or directory cannot be used.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A migration that was applied has another text now.
    #[error(
        "migration {version:04} ({name}) was changed after it had been applied: restore its files, or undo it first with the version that applied it"
    )]
    MigrationChanged {
        /// Its number.
        version: u32,
        /// Its name.
        name: String,
    },
    /// The database was migrated by a newer version.
    #[error(
        "the database has migration {version:04} ({name}), which this version does not know: use the newer version, or `migrate down` with it first"
    )]
    MigrationUnknown {
        /// Its number.
        version: u32,
        /// Its name.
        name: String,
    },
    /// Migrations are missing and may not be applied by themselves.
    #[error("the database lacks {missing} migrations: run `flyball-collector migrate up`")]
    MigrationsMissing {
        /// How many.
        missing: usize,
    },
    /// Somebody else migrates.
    #[error("the database is being migrated by {holder}: try again when it is done")]
    MigrationLocked {
        /// Who holds the lock.
        holder: String,
    },
    /// A statement of a migration failed.
    #[error("migration {version:04} ({name}) failed: {source}")]
    MigrationFailed {
        /// Its number.
        version: u32,
        /// Its name.
        name: String,
        /// What ClickHouse said.
        source: Box<StoreError>,
    },
    /// `--to` names a migration that does not exist.
    #[error("there is no migration {version:04}")]
    NoSuchMigration {
        /// Its number.
        version: u32,
    },
    /// A setting that the store depends on is not in force on the server.
    #[error(
        "{table} has {setting} = {found} in force, not {expected}: it was changed outside Flyball"
    )]
    SettingNotInForce {
        /// The table.
        table: &'static str,
        /// The setting.
        setting: &'static str,
        /// What is wanted.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Samples of several hours in one insert.
    #[error(
        "an insert holds samples of more than one hour: {first} and {other} hours after the epoch"
    )]
    MixedHours {
        /// Hour of the first row.
        first: i64,
        /// Another row's hour.
        other: i64,
    },
    /// A decision that this version cannot read.
    #[error("decision {sequence} has a word in {column} that this version does not know")]
    UnknownWord {
        /// The column.
        column: &'static str,
        /// Number of the row.
        sequence: u64,
    },
    /// No more series are taken.
    #[error(transparent)]
    CatalogFull(#[from] CatalogFull),
    /// The URL, user or database cannot be used as given.
    #[error("clickhouse.{key}: {reason}")]
    Config {
        /// Key in the section.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A request took too long.
    #[error("ClickHouse did not answer within {timeout_ms} ms")]
    Timeout {
        /// The bound.
        timeout_ms: u64,
    },
    /// ClickHouse refused a request, or could not be reached.
    #[error("{}", describe(.0))]
    ClickHouse(#[from] clickhouse::error::Error),
}

/// Whose fault a failure is, and so whether another server may do better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The server cannot be reached, does not answer, or cannot work at present.
    Server,
    /// The server answers, and cannot reach what it needs for the answer.
    Cluster,
    /// The request, or what it asks for: any server would say the same.
    Request,
}

/// What to do after a failed insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The same rows may be accepted later.
    Retryable,
    /// The server asks for fewer inserts: wait longer than for others, its merges have to catch up.
    TooManyParts,
    /// The same rows will never be accepted.
    Permanent,
}

impl ErrorClass {
    /// As label of a metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retryable => "retryable",
            Self::TooManyParts => "too_many_parts",
            Self::Permanent => "permanent",
        }
    }
}

/// Codes of ClickHouse that speak of the rows themselves. Not 32, 33 (a body cut off on its way) and 49 (a fault of the server). Whatever is not listed is tried again: a wait costs less than a loss.
const ABOUT_THE_ROWS: [u16; 7] = [
    6,   // CANNOT_PARSE_TEXT
    27,  // CANNOT_PARSE_INPUT_ASSERTION_FAILED
    53,  // TYPE_MISMATCH
    69,  // ARGUMENT_OUT_OF_BOUND
    117, // INCORRECT_DATA
    321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    469, // VIOLATED_CONSTRAINT
];
/// Codes of a server that cannot work at present, whatever it is asked.
const OF_THE_SERVER: [u16; 7] = [
    202, // TOO_MANY_SIMULTANEOUS_QUERIES
    225, // NO_ZOOKEEPER
    236, // ABORTED: it shuts down
    242, // TABLE_IS_READ_ONLY: it has lost Keeper
    243, // NOT_ENOUGH_SPACE
    745, // SERVER_OVERLOADED
    999, // KEEPER_EXCEPTION
];
/// Codes of a server that did not get what it needs from other servers of its cluster.
const OF_THE_CLUSTER: [u16; 10] = [
    3,   // UNEXPECTED_END_OF_FILE
    32,  // ATTEMPT_TO_READ_AFTER_EOF
    101, // UNEXPECTED_PACKET_FROM_SERVER
    209, // SOCKET_TIMEOUT
    210, // NETWORK_ERROR
    ALL_CONNECTION_TRIES_FAILED,
    285, // TOO_FEW_LIVE_REPLICAS
    286, // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
    319, // UNKNOWN_STATUS_OF_INSERT
    369, // ALL_REPLICAS_ARE_STALE
];
const ALL_CONNECTION_TRIES_FAILED: u16 = 279;
const TOO_MANY_PARTS: u16 = 252;
const NOT_ENOUGH_SPACE: u16 = 243;
const AUTHENTICATION_FAILED: u16 = 516;

impl StoreError {
    /// Whether and how a failed insert is to be tried again.
    pub fn class(&self) -> ErrorClass {
        match (self, self.code()) {
            (Self::MixedHours { .. } | Self::CatalogFull(_), _) => ErrorClass::Permanent,
            // The same code for a block that spans too many partitions, which waiting does not mend.
            (_, Some(TOO_MANY_PARTS)) if self.to_string().contains("single INSERT block") => {
                ErrorClass::Permanent
            }
            (_, Some(TOO_MANY_PARTS)) => ErrorClass::TooManyParts,
            (_, Some(code)) if ABOUT_THE_ROWS.contains(&code) => ErrorClass::Permanent,
            _ => ErrorClass::Retryable,
        }
    }

    /// Whether another server may do better.
    pub fn blame(&self) -> Blame {
        use clickhouse::error::Error;
        match (self, self.code()) {
            (Self::MigrationFailed { source, .. }, _) => source.blame(),
            (Self::Timeout { .. } | Self::ClickHouse(Error::Network(_) | Error::TimedOut), _) => {
                Blame::Server
            }
            // An answer without a code is not the server's: something before it answers in its place.
            (Self::ClickHouse(Error::BadResponse(_)), None) => Blame::Server,
            (_, Some(code)) if OF_THE_SERVER.contains(&code) => Blame::Server,
            (_, Some(code)) if OF_THE_CLUSTER.contains(&code) => Blame::Cluster,
            _ => Blame::Request,
        }
    }

    /// Whether the store may open later with the same settings: the servers are away, or somebody else migrates.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::MigrationLocked { .. }) || self.blame() != Blame::Request
    }

    /// ClickHouse's error code, when it answered with one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::ClickHouse(clickhouse::error::Error::BadResponse(text)) => code_of(text),
            Self::MigrationFailed { source, .. } => source.code(),
            _ => None,
        }
    }
}

fn code_of(text: &str) -> Option<u16> {
    let rest = text.split_once("Code: ")?.1;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// One line for each failure, with the remedy where there is one.
fn describe(error: &clickhouse::error::Error) -> String {
    use clickhouse::error::Error;
    match error {
        Error::BadResponse(text) => {
            let line = text.trim().lines().next().unwrap_or_default();
            match code_of(text) {
                Some(NOT_ENOUGH_SPACE) => {
                    format!(
                        "the disk of ClickHouse is full: free some space, or keep less with clickhouse.retention_days ({line})"
                    )
                }
                Some(AUTHENTICATION_FAILED) => {
                    format!(
                        "ClickHouse refused the user or password: see clickhouse.user and clickhouse.password_file ({line})"
                    )
                }
                // The lines that follow tell which server and why, once for each try.
                Some(ALL_CONNECTION_TRIES_FAILED) => {
                    let cause = text.lines().skip(1).find(|line| line.starts_with("Code: "));
                    let cause = cause.unwrap_or(line);
                    format!("a server of the ClickHouse cluster cannot be reached: {cause}")
                }
                _ => format!("ClickHouse: {line}"),
            }
        }
        Error::Network(source) => {
            format!("ClickHouse cannot be reached: {}", chain(source.as_ref()))
        }
        Error::TimedOut => "ClickHouse did not answer in time".to_owned(),
        other => format!("ClickHouse: {}", chain(other)),
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> StoreError {
        clickhouse::error::Error::BadResponse(text.to_owned()).into()
    }

    #[test]
    fn failures_are_classified_by_the_code_of_the_answer() {
        let class = |text| answered(text).class();
        let parts = "Code: 252. DB::Exception: Too many parts (3000). (TOO_MANY_PARTS)";
        assert_eq!(class(parts), ErrorClass::TooManyParts);
        let partitions = "Code: 252. DB::Exception: Too many partitions for single INSERT block";
        assert_eq!(class(partitions), ErrorClass::Permanent);
        assert_eq!(class("Code: 117. DB::Exception: Incorrect data"), ErrorClass::Permanent);
        assert_eq!(class("Code: 241. DB::Exception: memory limit"), ErrorClass::Retryable);
        assert_eq!(class("Code: 60. DB::Exception: no such table"), ErrorClass::Retryable);
        assert_eq!(class("502 Bad Gateway"), ErrorClass::Retryable);
        let mixed = StoreError::MixedHours { first: 1, other: 2 };
        assert_eq!(mixed.class(), ErrorClass::Permanent);
        assert_eq!(StoreError::Timeout { timeout_ms: 1 }.class(), ErrorClass::Retryable);
    }

    #[test]
    fn a_failure_is_the_servers_the_clusters_or_the_requests() {
        let blame = |text| answered(text).blame();
        assert_eq!(StoreError::Timeout { timeout_ms: 1 }.blame(), Blame::Server);
        assert_eq!(blame("502 Bad Gateway"), Blame::Server);
        assert_eq!(blame("Code: 242. DB::Exception: Table is in readonly mode"), Blame::Server);
        assert_eq!(blame("Code: 279. DB::Exception: All connection tries"), Blame::Cluster);
        assert_eq!(blame("Code: 117. DB::Exception: Incorrect data"), Blame::Request);
        assert_eq!(blame("Code: 516. DB::Exception: default: failed"), Blame::Request);
        assert!(StoreError::MigrationLocked { holder: String::new() }.is_passing());
        assert!(!StoreError::MigrationsMissing { missing: 1 }.is_passing());
        let failed = StoreError::MigrationFailed {
            version: 1,
            name: "x".to_owned(),
            source: Box::new(StoreError::Timeout { timeout_ms: 1 }),
        };
        assert!(failed.is_passing());
    }

    #[test]
    fn messages_are_one_line_with_the_remedy() {
        let full = answered("Code: 243. DB::Exception: Cannot reserve 1.00 MiB\nstack").to_string();
        assert!(full.contains("free some space") && !full.contains('\n'), "{full}");
        let refused = answered("Code: 516. DB::Exception: default: failed\n\nIf you").to_string();
        assert!(refused.contains("clickhouse.password_file"), "{refused}");
        let tries = "Code: 279. DB::NetException: All connection tries failed. Log: \n\nCode: 210. DB::NetException: Connection refused (h:9)\nCode: 210.";
        let expected = "a server of the ClickHouse cluster cannot be reached: Code: 210. DB::NetException: Connection refused (h:9)";
        assert_eq!(answered(tries).to_string(), expected);
    }
}
