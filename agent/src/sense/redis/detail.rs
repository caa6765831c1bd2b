//! What changes slowly or costs more than INFO: statistics of commands, slow log, latencies, the cluster.

use crate::redis::{Connection, Error, Info, Number, Reply};
use crate::sense::table::Table;

/// Entries of the slow log that are looked at.
const SLOW_ENTRIES: &str = "16";
/// Upper bounds in microseconds of the buckets that `LATENCY HISTOGRAM` has.
pub(super) const BOUNDS_US: [u32; 21] = [
    1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1_056, 2_113, 4_227, 8_454, 16_908, 33_816, 67_633,
    135_266, 270_532, 541_065, 1_082_130,
];
/// The agent's own commands, whose time is nobody's wait.
const OWN: [&str; 12] = [
    "auth",
    "client|no-touch",
    "client|setname",
    "cluster|info",
    "config|get",
    "info",
    "latency|histogram",
    "latency|latest",
    "memory|usage",
    "object|freq",
    "object|idletime",
    "slowlog|get",
];
/// Fields of `CLUSTER INFO`.
const CLUSTER: [&[&str]; 6] = [
    &["cluster_slots_assigned"],
    &["cluster_slots_ok"],
    &["cluster_slots_pfail"],
    &["cluster_slots_fail"],
    &["cluster_known_nodes"],
    &["cluster_size"],
];

/// See the module. Unknown is what was not asked for or refused.
#[derive(Debug, Default)]
pub(super) struct Detail {
    /// It was asked for.
    pub(super) is_there: bool,
    /// Entries of the slow log, newest first.
    pub(super) slow: Option<Vec<Slow>>,
    /// Events of the latency monitor with their last spike in milliseconds.
    pub(super) events: Vec<(String, i64)>,
    /// Calls by bucket of [`BOUNDS_US`].
    pub(super) durations: Option<[i64; BOUNDS_US.len()]>,
    /// The cluster serves, and the numbers of [`CLUSTER`].
    pub(super) cluster: Option<(bool, [Option<i64>; CLUSTER.len()])>,
}

/// An entry of the slow log. What the command was is not kept: it holds keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slow {
    /// Its number, ascending since the server's start.
    pub(super) id: i64,
    /// How long it took, in microseconds.
    pub(super) usec: i64,
}

impl Detail {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Asks for all of it. What is refused is noted in `refused` and not asked for again.
    pub(super) fn read(
        &mut self,
        connection: &mut Connection,
        info: &mut Info,
        refused: &mut Vec<&'static str>,
    ) -> Result<(), Error> {
        self.is_there = true;
        let mut ask = |words: &[&[u8]], name: &'static str| {
            if refused.contains(&name) {
                return Ok(None);
            }
            match connection.call(words) {
                Ok(reply) => Ok(Some(reply)),
                Err(Error::Refused(refusal)) => {
                    // What an older server does not have is nobody's fault.
                    refused.push(name);
                    tracing::debug!(command = name, %refusal, "refused");
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        };
        for section in ["commandstats", "latencystats"] {
            let reply = ask(&[b"INFO", section.as_bytes()], "info")?;
            info.read(reply.as_ref().and_then(Reply::text).unwrap_or_default());
        }
        let reply = ask(&[b"SLOWLOG", b"GET", SLOW_ENTRIES.as_bytes()], "slowlog|get")?;
        self.slow = reply.map(|reply| reply.parts().iter().filter_map(slow).collect());
        if let Some(reply) = ask(&[b"LATENCY", b"LATEST"], "latency|latest")? {
            self.events = reply.parts().iter().filter_map(event).collect();
        }
        let reply = ask(&[b"LATENCY", b"HISTOGRAM"], "latency|histogram")?;
        self.durations = reply.map(|reply| durations(&reply));
        if info.get(Number::ClusterEnabled) == Some(1) {
            let reply = ask(&[b"CLUSTER", b"INFO"], "cluster|info")?;
            self.cluster = reply.as_ref().and_then(Reply::text).map(cluster);
        }
        Ok(())
    }
}

fn slow(entry: &Reply) -> Option<Slow> {
    let [id, _, usec, ..] = entry.parts() else { return None };
    Some(Slow { id: id.integer()?, usec: usec.integer()? })
}

fn event(event: &Reply) -> Option<(String, i64)> {
    let [name, _, latest_ms, ..] = event.parts() else { return None };
    Some((String::from_utf8(name.text()?.to_vec()).ok()?, latest_ms.integer()?))
}

/// Sums over commands. Each has pairs of an upper bound and the number of calls up to it.
fn durations(reply: &Reply) -> [i64; BOUNDS_US.len()] {
    let mut sums = [0; BOUNDS_US.len()];
    for pair in reply.parts().chunks_exact(2) {
        let is_own =
            pair[0].text().is_some_and(|name| OWN.iter().any(|own| own.as_bytes() == name));
        let fields = pair[1].parts();
        let at = fields.iter().position(|field| field.text() == Some(b"histogram_usec"));
        let Some(buckets) = at.and_then(|at| fields.get(at + 1)).filter(|_| !is_own) else {
            continue;
        };
        let mut before = 0;
        for bucket in buckets.parts().chunks_exact(2) {
            let (Some(bound), Some(up_to)) = (bucket[0].integer(), bucket[1].integer()) else {
                continue;
            };
            let place = BOUNDS_US.partition_point(|known| i64::from(*known) < bound);
            sums[place.min(BOUNDS_US.len() - 1)] += up_to - before;
            before = up_to;
        }
    }
    sums
}

fn cluster(text: &[u8]) -> (bool, [Option<i64>; CLUSTER.len()]) {
    let text: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\r').collect();
    let serves = memchr::memmem::find(&text, b"cluster_state:ok").is_some();
    (serves, Table::of(CLUSTER).lines(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Reply {
        Reply::Text(text.as_bytes().to_vec())
    }

    fn numbers(numbers: &[i64]) -> Reply {
        Reply::Array(numbers.iter().copied().map(Reply::Integer).collect())
    }

    #[test]
    fn buckets_are_summed_over_all_commands_but_our_own() {
        let command = |buckets: &[i64]| {
            Reply::Array(vec![
                text("calls"),
                Reply::Integer(9),
                text("histogram_usec"),
                numbers(buckets),
            ])
        };
        let reply = Reply::Array(vec![
            text("get"),
            command(&[1, 5, 4, 7, 1_082_130, 8]),
            text("info"),
            command(&[1, 100]),
            text("set"),
            command(&[4, 1, 9_999_999, 3]),
        ]);
        let sums = durations(&reply);
        assert_eq!((sums[0], sums[1], sums[2]), (5, 0, 3));
        assert_eq!((sums[20], sums.iter().sum::<i64>()), (3, 11));
        assert_eq!(durations(&Reply::Nil), [0; 21]);
    }

    #[test]
    fn what_a_cluster_says_is_read() {
        let text = b"cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16000\r\n\
            cluster_slots_pfail:300\r\ncluster_slots_fail:84\r\ncluster_known_nodes:6\r\ncluster_size:3\r\n";
        let numbers = [16_384, 16_000, 300, 84, 6, 3].map(Some);
        assert_eq!(cluster(text), (true, numbers));
        assert_eq!(cluster(b"cluster_state:fail\r\n"), (false, [None; 6]));
    }

    #[test]
    fn entries_that_are_none_are_left_out() {
        let entry =
            Reply::Array(vec![Reply::Integer(7), Reply::Integer(1), Reply::Integer(12_345)]);
        assert_eq!(slow(&entry), Some(Slow { id: 7, usec: 12_345 }));
        assert_eq!(slow(&Reply::Nil), None);
        let entry = Reply::Array(vec![text("fork"), Reply::Integer(1), Reply::Integer(12)]);
        assert_eq!(event(&entry), Some(("fork".to_owned(), 12)));
        assert_eq!(event(&Reply::Array(Vec::new())), None);
    }
}
