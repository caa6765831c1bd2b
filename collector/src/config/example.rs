//! The example configuration, written from the defaults and the words below, so that neither a key nor a default can be missing or out of date.

mod steering;

use std::fmt::Write as _;

use flyball_model::rollout::BalancerLimits;
use serde_json::Value;

use super::Config;

/// The section that is part of another one.
const BALANCER: &str = "rollout.balancer";

/// A key, what it is for, and for keys without a default an example.
type Key = (&'static str, &'static str, &'static str);

const HEAD: &str = "\
# Settings of flyball-collector. Every key is shown with its default; delete what you do not change.
# Each is also an environment variable, FLYBALL_<SECTION>_<KEY>. Flags win over the environment, the environment over this file.
# flyball-collector --config FILE --check-config lists everything that is wrong with a file.
";

const SECTIONS: &[(&str, &[Key])] = &[
    (
        "server",
        &[
            ("http", "Address of the dashboard and the HTTP API; port 0 takes a free one.", ""),
            (
                "grpc",
                "Address that agents and programs reach by gRPC; port 0 takes a free one.",
                "",
            ),
            (
                "insecure",
                "Allow addresses that other hosts reach, without encryption and authentication.",
                "",
            ),
            (
                "data_dir",
                "Where the collector keeps its files; one collector for each directory.\nEmpty: /var/lib/flyball/collector as root, else ~/.local/state/flyball/collector.",
                "",
            ),
            ("name", "Name of this collector in the agents' logs; empty: the host's name.", ""),
            (
                "grace_ms",
                "Longest time from SIGTERM to the end of the process, in milliseconds.",
                "",
            ),
            ("log_format", "How log lines look: text or json.", ""),
        ],
    ),
    (
        "http",
        &[
            (
                "max_connections",
                "Most connections. A few more are accepted for health checks and to be told so.",
                "",
            ),
            (
                "max_in_flight",
                "Most requests that are worked on at once, without readers of events; further ones are refused with 503.",
                "",
            ),
            ("event_readers", "Most readers of /api/performance/events; further ones get 429.", ""),
            (
                "requests_per_second",
                "Requests per second of one caller in the long run, over HTTP and gRPC together; more get 429. 0: no bound.\nA caller is an IPv4 address or a /64 of IPv6.",
                "",
            ),
            ("burst", "Requests that one caller may ask at once after a pause.", ""),
            (
                "limit_loopback",
                "Callers on this host are bounded too. They are not by default: a proxy there stands for many callers, and a program there needs no requests to slow this host down.",
                "",
            ),
            (
                "max_callers",
                "Most callers that are told apart. Idle ones are forgotten; when all are busy, new ones share one bound.",
                "",
            ),
            (
                "delay_target_ms",
                "Time that requests may wait for a processor, in milliseconds. When all wait longer, a growing share is refused with 503.",
                "",
            ),
            ("url_bytes", "Longest path and query string, in bytes.", ""),
            ("body_bytes", "Largest body of a request, in bytes.", ""),
            ("timeout_ms", "Longest time until an answer begins, in milliseconds.", ""),
            (
                "header_timeout_ms",
                "Longest time that the headers of a request may take, and a new connection without any, in milliseconds.",
                "",
            ),
            (
                "body_timeout_ms",
                "Longest time that the body of a request may take, in milliseconds.",
                "",
            ),
            (
                "idle_timeout_ms",
                "Longest time that a connection may stay without a request, in milliseconds.",
                "",
            ),
            (
                "stall_timeout_ms",
                "Longest time that a client may take nothing of what is sent to it, in milliseconds; readers of events too.",
                "",
            ),
            ("compress_bytes", "Smallest answer that is compressed, in bytes.", ""),
            (
                "hosts",
                "Names under which browsers may call what changes something, besides addresses and localhost; without ports.",
                "",
            ),
        ],
    ),
    (
        "clickhouse",
        &[
            (
                "url",
                "ClickHouse servers that are already there: one, or several of a cluster, as a list or separated by commas. None: the embedded engine.",
                "http://127.0.0.1:8123",
            ),
            ("user", "User on that server.", ""),
            ("password", "Password on that server; better in a file of its own.", "secret"),
            (
                "password_file",
                "File whose first line is the password; wins over password.",
                "/etc/flyball/clickhouse.password",
            ),
            ("database", "Database; created when it is missing.", ""),
            (
                "cluster",
                "Name of the cluster that the servers belong to: its shards hold the series, with Distributed tables on top. See docs/clickhouse-cluster.md.",
                "main",
            ),
            (
                "replicated",
                "On a cluster: tables are Replicated, created ON CLUSTER. false: each shard is one server with plain tables, and url names all of them.",
                "",
            ),
            (
                "insert_quorum",
                "On a cluster: replicas of a shard that must have a block before it counts as stored; 0: most of them.",
                "",
            ),
            (
                "migrate",
                "Apply missing migrations at start. The embedded engine is always migrated.",
                "",
            ),
            ("retention_days", "Days that samples and cache statistics are kept.", ""),
            (
                "rollup_10s_days",
                "Days that rollups of 10 s are kept. Series with less than one sample every 5 s have none: their samples are read instead.",
                "",
            ),
            ("rollup_1m_days", "Days that rollups of 1 min are kept.", ""),
            (
                "rollup_1h_days",
                "Days that rollups of 1 h are kept. No tier is kept shorter than a finer one, whatever is set.",
                "",
            ),
            ("decisions_retention_days", "Days that decisions are kept; they are small.", ""),
            (
                "fsync",
                "An insert waits until the disk has it. false: a power cut loses what was acknowledged in the seconds before it; a killed process loses nothing.",
                "",
            ),
            ("timeout_ms", "Longest time that one request may take, in milliseconds.", ""),
            (
                "max_series",
                "Most series that are stored. Samples of further ones add up in one series for each node and metric, with the attribute otel.metric.overflow.",
                "",
            ),
        ],
    ),
    (
        "engine",
        &[
            ("memory_bytes", "Memory that the embedded engine may use, in bytes.", ""),
            ("port", "Port on 127.0.0.1 that the engine serves HTTP on; 0 takes a free one.", ""),
            (
                "cache_dir",
                "Directory with fetched engines. None: $FLYBALL_CACHE_DIR, else $XDG_CACHE_HOME/flyball, else ~/.cache/flyball.",
                "/var/cache/flyball",
            ),
            (
                "prefer_installed",
                "Use a clickhouse program on the PATH, when there is one that is new enough, rather than the fetched library.",
                "",
            ),
        ],
    ),
    (
        "ingest",
        &[
            (
                "period_ms",
                "Longest time that samples are gathered before an insert, in milliseconds.",
                "",
            ),
            (
                "batch_rows",
                "Rows after which an insert is not held back any longer; ClickHouse works best with 100,000 and more.",
                "",
            ),
            ("batch_bytes", "Encoded bytes after which an insert is not held back any longer.", ""),
            (
                "max_rows_in_flight",
                "Most rows that are received and not yet stored, 32 bytes each. Agents pause at three quarters of it.",
                "",
            ),
            ("credits", "Frames that one agent may have sent and not acknowledged.", ""),
            (
                "backlog_credits",
                "Frames that one agent may have sent and not acknowledged while it catches up after an outage.",
                "",
            ),
            ("max_streams", "Most agents that are connected.", ""),
            (
                "max_backlog_streams",
                "Most agents that catch up at the same time; others wait for their turn.",
                "",
            ),
            ("frame_bytes", "Most bytes of one frame.", ""),
            ("slots", "Most series that one agent may define; above it its stream ends.", ""),
            (
                "max_series_per_agent",
                "Most series of one agent that are stored as such, not counting idle ones.\nSamples of further ones add up in one series for each metric, with the attribute otel.metric.overflow.",
                "",
            ),
            (
                "max_future_ms",
                "How far ahead of this host's clock a sample may be, in milliseconds. Others are refused for good.",
                "",
            ),
        ],
    ),
    (
        "rollup",
        &[
            (
                "enabled",
                "Take part in computing rollups; of several collectors one does at a time. Without any, queries read the samples themselves.",
                "",
            ),
            (
                "delay_ms",
                "Time from the end of ten minutes to their rollups, in milliseconds. What comes later has them computed again.",
                "",
            ),
            (
                "memory_bytes",
                "Most memory that ClickHouse may use for it, in bytes; the engine has engine.memory_bytes for all.",
                "",
            ),
        ],
    ),
    (
        "live",
        &[
            (
                "max_nodes",
                "Most nodes whose last values are kept; above it those that are not connected are forgotten.",
                "",
            ),
            (
                "window_ms",
                "Time of which all samples are kept in memory, in milliseconds: questions about it never reach ClickHouse. 0: none.",
                "",
            ),
            (
                "window_bytes",
                "Most memory for them, in bytes; when it does not hold the time above, all nodes keep less of it.",
                "",
            ),
        ],
    ),
    (
        "query",
        &[
            (
                "running",
                "Questions that are asked of ClickHouse at once, each with one query or two.",
                "",
            ),
            ("waiting", "Questions that wait for their turn; further ones are refused.", ""),
            ("time_ms", "Longest time that ClickHouse may work on one query, in milliseconds.", ""),
            ("rows", "Most rows that one query may read.", ""),
            ("read_bytes", "Most bytes that one query may read.", ""),
            (
                "memory_bytes",
                "Most memory that ClickHouse may use for one query, in bytes; the engine has engine.memory_bytes for all.",
                "",
            ),
            ("slow_ms", "Time from which on a query counts as slow, in milliseconds.", ""),
        ],
    ),
    (
        "cache",
        &[
            (
                "l1_bytes",
                "Most memory for answers, in bytes; half of it for whole answers, half for parts of them.",
                "",
            ),
            (
                "closed_ms",
                "Longest time that values of closed buckets are served without asking again, in milliseconds. Late samples end it at once.",
                "",
            ),
            (
                "unheard_ms",
                "The same while late samples that other collectors store may not be heard of, in milliseconds.",
                "",
            ),
            (
                "on_error_ms",
                "How much longer an answer is served when ClickHouse fails, in milliseconds.",
                "",
            ),
        ],
    ),
    (
        "redis",
        &[
            (
                "url",
                "A Redis server that collectors share answers through: redis://[user@]HOST[:PORT][/DB], rediss:// with TLS, unix://PATH. Empty: none.",
                "",
            ),
            ("password", "Password on it; better given as password_file.", ""),
            (
                "password_file",
                "File whose first line is the password.",
                "/etc/flyball/redis-password",
            ),
            (
                "ca_file",
                "Certificates that the server's is signed by, in PEM; without: those of the system.",
                "/etc/flyball/redis-ca.pem",
            ),
            (
                "cert_file",
                "Certificate that this collector shows, in PEM; with key_file.",
                "/etc/flyball/redis-cert.pem",
            ),
            ("key_file", "Private key of cert_file, in PEM.", "/etc/flyball/redis-key.pem"),
            (
                "prefix",
                "What all names in Redis begin with; collectors on one database have the same, others another.",
                "",
            ),
            (
                "secret_file",
                "File with a secret of 16 bytes and more, the same for all collectors, that values are authenticated with.\nWithout: one is derived from the name of the database and its password.",
                "/etc/flyball/cache-secret",
            ),
            ("timeout_ms", "Longest time that a request waits for Redis, in milliseconds.", ""),
        ],
    ),
    ("suggest", steering::SUGGEST),
    ("balance", steering::BALANCE),
    ("rollout", steering::ROLLOUT),
    (BALANCER, steering::ROLLOUT_BALANCER),
    ("judge", steering::JUDGE),
];

/// The text of `flyball-collector.example.toml`.
pub fn example() -> String {
    let defaults = serde_json::to_value(Config::default()).expect("settings are plain data");
    // A journal says only what of this differs from the defaults, so the section's are not among all defaults.
    let balancer = serde_json::to_value(BalancerLimits::default()).expect("limits are plain data");
    let of = |section: &str| match section {
        BALANCER => Some(&balancer),
        _ => defaults.get(section),
    };
    let mut text = HEAD.to_owned();
    for (section, keys) in SECTIONS {
        writeln!(text, "\n[{section}]").expect(INFALLIBLE);
        for (key, words, instead) in *keys {
            for line in words.lines() {
                writeln!(text, "# {line}").expect(INFALLIBLE);
            }
            let line = match of(section).and_then(|of| of.get(key)).unwrap_or(&Value::Null) {
                _ if !instead.is_empty() => format!("# {key} = {}", Value::from(*instead)),
                value => format!("{key} = {value}"),
            };
            writeln!(text, "{line}").expect(INFALLIBLE);
        }
    }
    text
}

const INFALLIBLE: &str = "a String takes any text";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use flyball_service::config::{Sources, load};

    use super::*;

    #[test]
    fn every_key_is_shown_and_no_other() {
        let defaults = serde_json::to_value(Config::default()).unwrap();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let balancer = serde_json::to_value(BalancerLimits::default()).unwrap();
        let balancer = keys(&balancer).into_iter().map(|key| (BALANCER.to_owned(), key));
        let known: BTreeSet<_> = keys(&defaults)
            .into_iter()
            .flat_map(|s| keys(&defaults[&s]).into_iter().map(move |key| (s.clone(), key)))
            .filter(|(section, key)| format!("{section}.{key}") != BALANCER)
            .chain(balancer)
            .collect();
        let shown: BTreeSet<_> = SECTIONS
            .iter()
            .flat_map(|(s, keys)| keys.iter().map(|(key, ..)| ((*s).to_owned(), (*key).to_owned())))
            .collect();
        assert_eq!(shown, known);
    }

    #[test]
    fn the_example_file_is_up_to_date_and_means_the_defaults() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("flyball-collector.example.toml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, example()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), example(), "run with UPDATE_GOLDEN=1");
        let sources =
            Sources { file: Some(file), environment: Some(Vec::new()), ..Sources::default() };
        assert_eq!(load::<Config>(&sources).unwrap(), Config::default());
    }
}
