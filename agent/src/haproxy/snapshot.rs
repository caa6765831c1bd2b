//! What one reading of a HAProxy says: the process, its proxies and their servers.

use std::collections::{BTreeMap, HashMap};

use super::config::{HaproxyConfig, Place};
use super::error::HaproxyError;
use super::socket::ask;
use super::table::{Row, Table};
use crate::balance::Counts;

/// Bits of a server's administrative state, of HAProxy's `SRV_ADMF_*`.
const FORCED_MAINT: i64 = 0x01;
const FORCED_DRAIN: i64 = 0x08;
/// In maintenance for whatever reason: by hand, by a tracked server, by DNS. Not by the configuration's `disabled` alone, whose bit stays when the server is made ready.
const ANY_MAINT: i64 = 0x63;
const ANY_DRAIN: i64 = 0x18;
/// What makes up a table that is understood.
const NEEDED: [&str; 5] = ["pxname", "svname", "type", "scur", "status"];

/// Columns of `show stat` that are kept of each line.
pub(crate) const COLUMNS: [&str; 47] = [
    "qcur",
    "scur",
    "slim",
    "stot",
    "bin",
    "bout",
    "dreq",
    "dresp",
    "ereq",
    "econ",
    "eresp",
    "wretr",
    "wredis",
    "weight",
    "act",
    "bck",
    "chkfail",
    "chkdown",
    "downtime",
    "pid",
    "lbtot",
    "rate",
    "hrsp_1xx",
    "hrsp_2xx",
    "hrsp_3xx",
    "hrsp_4xx",
    "hrsp_5xx",
    "hrsp_other",
    "req_rate",
    "req_tot",
    "cli_abrt",
    "srv_abrt",
    "comp_in",
    "comp_out",
    "comp_byp",
    "comp_rsp",
    "qtime",
    "ctime",
    "rtime",
    "ttime",
    "conn_rate",
    "conn_tot",
    "connect",
    "reuse",
    "uweight",
    "used_conn_cur",
    "idle_conn_cur",
];
/// Fields of `show info` that are kept.
pub(crate) const INFO: [&str; 14] = [
    "Pid",
    "Start_time_sec",
    "Uptime_sec",
    "Nbthread",
    "Maxconn",
    "CurrConns",
    "CumConns",
    "CumReq",
    "ConnRate",
    "SessRate",
    "Run_queue",
    "Idle_pct",
    "CurrSslConns",
    "PoolAlloc_bytes",
];

/// What a line is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Frontend,
    Backend,
    Server,
}

/// A frontend, a backend or a server.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) proxy: String,
    /// Of a server; else `FRONTEND` or `BACKEND`.
    pub(crate) service: String,
    pub(crate) address: String,
    pub(crate) algorithm: String,
    pub(crate) mode: String,
    pub(crate) status: String,
    numbers: [Option<i64>; COLUMNS.len()],
    /// What `show servers state` says of a server.
    pub(crate) server: Option<ServerState>,
}

/// What may be set of a server, and what its configuration says of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerState {
    pub(crate) weight: u32,
    pub(crate) weight_configured: u32,
    pub(crate) is_running: bool,
    admin: i64,
}

/// All of a reading.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) version: String,
    info: [Option<i64>; INFO.len()],
    /// Names the process.
    pub(crate) identity: String,
    pub(crate) lines: Vec<Line>,
    /// There are proxies, none of those that are wanted.
    pub(crate) missing: Vec<String>,
}

impl Line {
    /// A column of [`COLUMNS`].
    pub(crate) fn get(&self, column: &str) -> Option<i64> {
        self.numbers[COLUMNS.iter().position(|name| *name == column)?]
    }

    fn count(&self, column: &str) -> u64 {
        self.get(column).and_then(|number| number.try_into().ok()).unwrap_or(0)
    }

    /// Counters of a server. HAProxy counts an answer that came under its status, one that did not come under `eresp`, and a connection that could not be made under `econ`.
    /// Interim answers are none; 4xx are the client's doing.
    pub(crate) fn counts(&self) -> Counts {
        let (connect_errors, no_answer) = (self.count("econ"), self.count("eresp"));
        let failed = connect_errors + no_answer;
        if self.mode != "http" {
            return Counts { requests: self.count("stot"), errors: failed, connect_errors };
        }
        let finals = ["hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other"];
        let answered: u64 = finals.iter().map(|column| self.count(column)).sum();
        let errors = self.count("hrsp_5xx") + failed;
        Counts { requests: answered + failed, errors, connect_errors }
    }

    /// Requests that it may be given at once.
    pub(crate) fn limit(&self) -> Option<u32> {
        self.get("slim").and_then(|limit| limit.try_into().ok()).filter(|limit| *limit > 0)
    }
}

impl ServerState {
    fn of(row: Row<'_, '_>) -> Option<Self> {
        let weight = |column| row.number(column).and_then(|weight| weight.try_into().ok());
        Some(Self {
            weight: weight("srv_uweight")?,
            weight_configured: weight("srv_iweight")?,
            // Starting and running; one that is stopping is given no new requests.
            is_running: matches!(row.number("srv_op_state")?, 1 | 2),
            admin: row.number("srv_admin_state")?,
        })
    }

    /// What was set by hand or by Flyball: what may be set again.
    pub(crate) const fn set(self) -> &'static str {
        if self.admin & FORCED_MAINT != 0 {
            super::MAINT
        } else if self.admin & FORCED_DRAIN != 0 {
            super::DRAIN
        } else {
            super::READY
        }
    }

    /// In maintenance, for whatever reason.
    pub(crate) const fn is_maint(self) -> bool {
        self.admin & ANY_MAINT != 0
    }

    /// Given no new requests, for whatever reason.
    pub(crate) const fn is_drained(self) -> bool {
        self.admin & ANY_DRAIN != 0
    }
}

impl Snapshot {
    /// Reads all.
    ///
    /// # Errors
    /// When there is no answer, or not one that is understood.
    pub(crate) fn read(place: &Place, config: &HaproxyConfig) -> Result<Self, HaproxyError> {
        let answers = ask(place, &["show info", "show stat -1 7 -1", "show servers state"])?;
        Self::parse(&answers[0], &answers[1], &answers[2], &config.groups)
    }

    /// From the answers to `show info`, `show stat` and `show servers state`.
    pub(crate) fn parse(
        info: &str,
        stat: &str,
        state: &str,
        groups: &[String],
    ) -> Result<Self, HaproxyError> {
        let table = |table: Option<_>, text| table.ok_or_else(|| HaproxyError::said(text));
        let stat_table: Table<'_> = table(Table::stat(stat), stat)?;
        let states: Table<'_> = table(Table::state(state), state)?;
        if !stat_table.has(&NEEDED) {
            return Err(HaproxyError::Protocol("statistics without the usual columns"));
        }
        let fields: HashMap<&str, &str> =
            info.lines().filter_map(|line| line.split_once(": ")).collect();
        if !fields.contains_key("Pid") {
            return Err(HaproxyError::said(info));
        }
        // A socket of level user is told addresses here and not in the statistics.
        let known = states.rows().filter_map(|row| {
            let address = match row.text("srv_addr") {
                host if host.contains(':') => format!("[{host}]:{}", row.text("srv_port")),
                host => format!("{host}:{}", row.text("srv_port")),
            };
            let place = (row.text("be_name"), row.text("srv_name"));
            Some((place, (ServerState::of(row)?, address)))
        });
        let known: BTreeMap<_, _> = known.collect();
        let is_wanted = |row: &Row<'_, '_>| {
            groups.is_empty()
                || row.text("type") == "0"
                || groups.iter().any(|group| group == row.text("pxname"))
        };
        let line = |row| line(row, |place| known.get(&place));
        let lines: Vec<Line> = stat_table.rows().filter(is_wanted).filter_map(line).collect();
        let has = |group: &&String| lines.iter().any(|line| line.proxy == **group);
        let missing = groups.iter().filter(|group| !has(group)).cloned().collect();
        let number = |name: &str| fields.get(name).and_then(|text| text.parse().ok());
        Ok(Self {
            version: (*fields.get("Version").unwrap_or(&"")).to_owned(),
            info: INFO.map(number),
            identity: identity(&fields),
            lines,
            missing,
        })
    }

    /// A field of [`INFO`].
    pub(crate) fn info(&self, field: &str) -> Option<i64> {
        self.info[INFO.iter().position(|name| *name == field)?]
    }

    /// The lines of backends, in order, each with those of its servers.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Line, Vec<&Line>)> {
        let backends = self.lines.iter().filter(|line| line.kind == Kind::Backend);
        backends.map(|backend| {
            let is_its = |line: &&Line| line.kind == Kind::Server && line.proxy == backend.proxy;
            (backend, self.lines.iter().filter(is_its).collect())
        })
    }
}

/// Requests under way at each server just now, by backend and server.
///
/// # Errors
/// As for [`Snapshot::read`].
pub(crate) fn in_flight(place: &Place) -> Result<Vec<(String, String, u32)>, HaproxyError> {
    let answers = ask(place, &["show stat -1 4 -1"])?;
    let table = Table::stat(&answers[0]).ok_or_else(|| HaproxyError::said(&answers[0]))?;
    let one = |row: Row<'_, '_>| {
        let now = row.number("scur")?.try_into().ok()?;
        Some((row.text("pxname").to_owned(), row.text("svname").to_owned(), now))
    };
    Ok(table.rows().filter_map(one).collect())
}

fn line<'a, 'k>(
    row: Row<'_, 'a>,
    known: impl FnOnce((&'a str, &'a str)) -> Option<&'k (ServerState, String)>,
) -> Option<Line> {
    let kind = match row.text("type") {
        "0" => Kind::Frontend,
        "1" => Kind::Backend,
        "2" => Kind::Server,
        _ => return None,
    };
    let (proxy, service) = (row.text("pxname"), row.text("svname"));
    let known = if kind == Kind::Server { known((proxy, service)) } else { None };
    let address = match row.text("addr") {
        "" => known.map_or("", |(_, address)| address.as_str()),
        address => address,
    };
    Some(Line {
        kind,
        proxy: proxy.to_owned(),
        service: service.to_owned(),
        address: address.to_owned(),
        algorithm: row.text("algo").to_owned(),
        mode: row.text("mode").to_owned(),
        status: row.text("status").to_owned(),
        numbers: COLUMNS.map(|column| row.number(column)),
        server: known.map(|(state, _)| *state),
    })
}

/// The number of a process may be that of the one before, as it always is in a container; with the time of its start it is its own.
fn identity(info: &HashMap<&str, &str>) -> String {
    let field = |name: &str| *info.get(name).unwrap_or(&"");
    format!("{}@{}", field("Pid"), field("Start_time_sec"))
}
