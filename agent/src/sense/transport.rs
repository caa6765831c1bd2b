//! TCP and UDP of the agent's network namespace, from /proc/net/snmp and /proc/net/netstat.
//!
//! Both files hold pairs of lines: names, then values in the same order. The order changes between kernels, so it is looked up in each reading.

use flyball_proto::series::{Kind, Scale};

use super::counters::Counters;
use super::source::Source;
use super::{Handle, HostPaths, Metric, Readings, SampleError, Sampler, parse};

const OPENED: Metric = counter(
    "flyball.tcp.connections.opened",
    "{connection}",
    &["flyball.tcp.side"],
    "TCP connections opened: active ones by this host, passive ones by others.",
);
const ENDED: Metric = counter(
    "flyball.tcp.connections.ended",
    "{connection}",
    &["flyball.reason"],
    "TCP connections that did not end well: attempts that failed, established ones that were reset.",
);
const SEGMENTS: Metric = counter(
    "flyball.tcp.segments",
    "{segment}",
    &["network.io.direction"],
    "TCP segments received and sent, without retransmitted ones.",
);
const RETRANSMITTED: Metric = counter(
    "flyball.tcp.segments.retransmitted",
    "{segment}",
    &[],
    "TCP segments that had to be sent again.",
);
const ERRORS: Metric = counter(
    "flyball.tcp.segments.errors",
    "{segment}",
    &[],
    "TCP segments received with an error.",
);
const TIMEOUTS: Metric = counter(
    "flyball.tcp.timeouts",
    "{timeout}",
    &[],
    "Retransmission timers of TCP connections that ran out.",
);
const LISTEN: Metric = counter(
    "flyball.tcp.listen.dropped",
    "{connection}",
    &["flyball.reason"],
    "Connections that a listening socket did not take: because its queue was full (overflow), or for any reason, overflow included (all).",
);
const DATAGRAMS: Metric = counter(
    "flyball.udp.datagrams",
    "{datagram}",
    &["network.io.direction"],
    "UDP datagrams received and sent.",
);
const DROPPED: Metric = counter(
    "flyball.udp.dropped",
    "{datagram}",
    &["flyball.reason"],
    "UDP datagrams lost here: no socket for them, or an error, a full buffer included.",
);
const ESTABLISHED: Metric = Metric {
    name: "system.network.connection.count",
    unit: "{connection}",
    kind: Kind::Gauge,
    scale: Scale::UNIT,
    attributes: &["network.connection.state", "network.transport"],
    description: "Connections that are established.",
};

const TCP: [&[u8]; 9] = [
    b"CurrEstab",
    b"ActiveOpens",
    b"PassiveOpens",
    b"AttemptFails",
    b"EstabResets",
    b"InSegs",
    b"OutSegs",
    b"RetransSegs",
    b"InErrs",
];
const UDP: [&[u8]; 4] = [b"InDatagrams", b"OutDatagrams", b"NoPorts", b"InErrors"];
const TCP_EXTENDED: [&[u8]; 3] = [b"TCPTimeouts", b"ListenOverflows", b"ListenDrops"];
const COUNTERS: usize = TCP.len() - 1 + UDP.len();

const fn counter(
    name: &'static str,
    unit: &'static str,
    attributes: &'static [&'static str],
    description: &'static str,
) -> Metric {
    Metric { name, unit, kind: Kind::Counter, scale: Scale::UNIT, attributes, description }
}

/// Reads /proc/net/snmp and /proc/net/netstat.
#[derive(Debug)]
pub(super) struct Transport {
    snmp: Source,
    netstat: Source,
    series: Option<Series>,
    extended: Option<Counters<{ TCP_EXTENDED.len() }>>,
}

#[derive(Debug)]
struct Series {
    established: Handle,
    counters: Counters<COUNTERS>,
}

impl Transport {
    pub(super) fn new(paths: &HostPaths) -> Self {
        Self {
            snmp: Source::new(paths.proc.join("net/snmp")),
            netstat: Source::new(paths.proc.join("net/netstat")),
            series: None,
            extended: None,
        }
    }
}

impl Sampler for Transport {
    fn name(&self) -> &'static str {
        "transport"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            ESTABLISHED,
            OPENED,
            ENDED,
            SEGMENTS,
            RETRANSMITTED,
            ERRORS,
            TIMEOUTS,
            LISTEN,
            DATAGRAMS,
            DROPPED,
        ]
    }

    fn cost_rank(&self) -> u8 {
        45
    }

    /// Without /proc/net/netstat, what it tells is unknown.
    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let text = self.snmp.read()?;
        let tcp = table(text, b"Tcp:", &TCP);
        let udp = table(text, b"Udp:", &UDP);
        if tcp == [None; TCP.len()] && udp == [None; UDP.len()] {
            return Err(self.snmp.garbled("neither Tcp nor Udp"));
        }
        let series = self.series.get_or_insert_with(|| Series::define(readings));
        let [established, tcp @ ..] = tcp;
        if let Some(established) = established {
            readings.set(series.established, established);
        }
        let mut now = [None; COUNTERS];
        now[..tcp.len()].copy_from_slice(&tcp);
        now[tcp.len()..].copy_from_slice(&udp);
        series.counters.set(now, readings);
        if let Ok(text) = self.netstat.read() {
            let now = table(text, b"TcpExt:", &TCP_EXTENDED);
            let define = || Counters::new(define_extended(readings), false);
            self.extended.get_or_insert_with(define).set(now, readings);
        }
        Ok(())
    }
}

impl Series {
    fn define(readings: &mut Readings) -> Self {
        let established = readings.define(
            &ESTABLISHED,
            &[("network.connection.state", "established"), ("network.transport", "tcp")],
        );
        let mut one = |metric: &Metric, key, value| readings.define(metric, &[(key, value)]);
        let (side, reason, direction) =
            ("flyball.tcp.side", "flyball.reason", "network.io.direction");
        let handles = [
            one(&OPENED, side, "active"),
            one(&OPENED, side, "passive"),
            one(&ENDED, reason, "failed"),
            one(&ENDED, reason, "reset"),
            one(&SEGMENTS, direction, "receive"),
            one(&SEGMENTS, direction, "transmit"),
            readings.define(&RETRANSMITTED, &[]),
            readings.define(&ERRORS, &[]),
            readings.define(&DATAGRAMS, &[(direction, "receive")]),
            readings.define(&DATAGRAMS, &[(direction, "transmit")]),
            readings.define(&DROPPED, &[(reason, "no_socket")]),
            readings.define(&DROPPED, &[(reason, "error")]),
        ];
        Self { established, counters: Counters::new(handles, false) }
    }
}

fn define_extended(readings: &mut Readings) -> [Handle; TCP_EXTENDED.len()] {
    [
        readings.define(&TIMEOUTS, &[]),
        readings.define(&LISTEN, &[("flyball.reason", "overflow")]),
        readings.define(&LISTEN, &[("flyball.reason", "all")]),
    ]
}

/// The values under these names of the pair of lines that starts with `prefix`.
fn table<const N: usize>(text: &[u8], prefix: &[u8], names: &[&[u8]; N]) -> [Option<i64>; N] {
    let mut values = [None; N];
    let mut pair = parse::lines(text).filter_map(|line| line.strip_prefix(prefix));
    if let (Some(heads), Some(cells)) = (pair.next(), pair.next()) {
        for (head, cell) in parse::fields(heads).zip(parse::fields(cells)) {
            if let Some(index) = names.iter().position(|name| *name == head) {
                values[index] = parse::integer(cell);
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let text = b"Tcp: MaxConn InSegs CurrEstab\nTcp: -1 7 3\nUdp: InSegs\nUdp: 9\n";
        assert_eq!(
            table(text, b"Tcp:", &[b"CurrEstab", b"InSegs", b"MaxConn", b"none"]),
            [Some(3), Some(7), None, None]
        );
        assert_eq!(table(b"Tcp: InSegs\n", b"Tcp:", &[b"InSegs"]), [None]);
    }
}
