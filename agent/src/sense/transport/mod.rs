//! TCP, UDP, IP and ICMP of the agent's network namespace, from /proc/net/snmp and /proc/net/netstat.

use flyball_proto::series::{Kind, Scale};

use super::counters::Counters;
use super::source::Source;
use super::table::{self, Table, Wanted};
use super::{Handle, HostPaths, Metric, Readings, SampleError, Sampler};

mod ip;
mod tcp;

const ESTABLISHED: Metric = Metric {
    name: "system.network.connection.count",
    unit: "{connection}",
    kind: Kind::Gauge,
    scale: Scale::UNIT,
    attributes: &["network.connection.state", "network.transport"],
    description: "Connections that are established.",
};
const METRICS: [Metric; 1 + tcp::METRICS.len() + ip::METRICS.len()] = {
    let mut all = [ESTABLISHED; 1 + tcp::METRICS.len() + ip::METRICS.len()];
    let mut at = 0;
    while at + 1 < all.len() {
        let in_ip = at.checked_sub(tcp::METRICS.len());
        all[at + 1] = match in_ip {
            Some(at) => ip::METRICS[at],
            None => tcp::METRICS[at],
        };
        at += 1;
    }
    all
};

/// Reads /proc/net/snmp and /proc/net/netstat.
#[derive(Debug)]
pub(super) struct Transport {
    snmp: Source,
    netstat: Source,
    established: (Table<1>, Option<Handle>),
    tcp: Group<{ tcp::TCP.len() }>,
    udp: Group<{ ip::UDP.len() }>,
    ip: Group<{ ip::IP.len() }>,
    icmp: Group<{ ip::ICMP_COUNTERS.len() }>,
    tcp_extended: Group<{ tcp::EXTENDED.len() }>,
    ip_extended: Group<{ ip::IP_EXTENDED.len() }>,
}

/// The counters of one pair of lines; its series are defined when the lines are there.
#[derive(Debug)]
struct Group<const N: usize> {
    prefix: &'static [u8],
    wanted: &'static [Wanted; N],
    table: Table<N>,
    now: [Option<i64>; N],
    counters: Option<Counters<N>>,
}

/// A group of any size.
trait Lines {
    /// Takes the values of this reading; false when none is known.
    fn read(&mut self, text: &[u8]) -> bool;
    fn went_back(&self) -> bool;
    fn set(&mut self, restarted: bool, readings: &mut Readings);
}

impl<const N: usize> Group<N> {
    fn new(prefix: &'static [u8], wanted: &'static [Wanted; N]) -> Self {
        Self { prefix, wanted, table: Table::new(wanted), now: [None; N], counters: None }
    }
}

impl<const N: usize> Lines for Group<N> {
    fn read(&mut self, text: &[u8]) -> bool {
        self.now = self.table.columns(text, self.prefix);
        self.now != [None; N]
    }

    fn went_back(&self) -> bool {
        self.counters.as_ref().is_some_and(|counters| counters.went_back(&self.now))
    }

    fn set(&mut self, restarted: bool, readings: &mut Readings) {
        let now = std::mem::replace(&mut self.now, [None; N]);
        if self.counters.is_none() && now == [None; N] {
            return;
        }
        let define = || Counters::new(table::define(self.wanted, readings), false);
        let counters = self.counters.get_or_insert_with(define);
        if restarted {
            counters.restart();
        }
        counters.set(now, readings);
    }
}

impl Transport {
    pub(super) fn new(paths: &HostPaths) -> Self {
        Self {
            snmp: Source::new(paths.proc.join("net/snmp")),
            netstat: Source::new(paths.proc.join("net/netstat")),
            established: (Table::of([&["CurrEstab"]]), None),
            tcp: Group::new(b"Tcp:", &tcp::TCP),
            udp: Group::new(b"Udp:", &ip::UDP),
            ip: Group::new(b"Ip:", &ip::IP),
            icmp: Group::new(b"Icmp:", &ip::ICMP_COUNTERS),
            tcp_extended: Group::new(b"TcpExt:", &tcp::EXTENDED),
            ip_extended: Group::new(b"IpExt:", &ip::IP_EXTENDED),
        }
    }
}

impl Sampler for Transport {
    fn name(&self) -> &'static str {
        "transport"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn cost_rank(&self) -> u8 {
        45
    }

    /// Without /proc/net/netstat, what it tells is unknown.
    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let text = self.snmp.read()?;
        let (table, handle) = &mut self.established;
        let [established] = table.columns(text, b"Tcp:");
        if let Some(established) = established {
            let handle = handle.get_or_insert_with(|| define_established(readings));
            readings.set(*handle, established);
        }
        let groups: [&mut dyn Lines; 4] =
            [&mut self.tcp, &mut self.udp, &mut self.ip, &mut self.icmp];
        let known = groups.map(|group| group.read(text));
        if established.is_none() && known == [false; 4] {
            return Err(self.snmp.garbled("no protocol that is known"));
        }
        if let Ok(text) = self.netstat.read() {
            self.tcp_extended.read(text);
            self.ip_extended.read(text);
        }
        let groups: [&mut dyn Lines; 6] = [
            &mut self.tcp,
            &mut self.udp,
            &mut self.ip,
            &mut self.icmp,
            &mut self.tcp_extended,
            &mut self.ip_extended,
        ];
        // They are all of one network namespace.
        let restarted = groups.iter().any(|group| group.went_back());
        for group in groups {
            group.set(restarted, readings);
        }
        Ok(())
    }
}

fn define_established(readings: &mut Readings) -> Handle {
    readings.define(
        &ESTABLISHED,
        &[("network.connection.state", "established"), ("network.transport", "tcp")],
    )
}
