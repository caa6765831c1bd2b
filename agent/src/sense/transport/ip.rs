//! What the kernel counts of IPv4, and of UDP and ICMP over it.

use super::super::Metric;
use super::super::table::{Wanted, wanted};

const DATAGRAMS: Metric = Metric::counter(
    "flyball.udp.datagrams",
    "{datagram}",
    &["network.io.direction"],
    "UDP datagrams received and sent over IPv4.",
);
const UDP_DROPPED: Metric = Metric::counter(
    "flyball.udp.dropped",
    "{datagram}",
    &["flyball.reason"],
    "UDP datagrams lost here: no socket for them, or an error, a full buffer included.",
);
const UDP_BUFFERS: Metric = Metric::counter(
    "flyball.udp.buffer_errors",
    "{datagram}",
    &["network.io.direction"],
    "UDP datagrams lost because the buffer of their socket was full; received ones are among the errors.",
);
const UDP_CHECKSUMS: Metric = Metric::counter(
    "flyball.udp.checksum_errors",
    "{datagram}",
    &[],
    "UDP datagrams received with a wrong checksum; they are among the errors.",
);
const PACKETS: Metric = Metric::counter(
    "flyball.ip.packets",
    "{packet}",
    &["flyball.ip.path"],
    "IPv4 packets received, delivered to this host, forwarded for others, and sent by this host.",
);
pub(super) const IP_DROPPED: Metric = Metric::counter(
    "flyball.ip.dropped",
    "{packet}",
    &["flyball.reason", "network.io.direction"],
    "IPv4 packets thrown away: for their header, address or protocol, for want of a route, cut short (truncated), by the filter of reverse paths (reverse_path), or for want of memory and the like (discarded).",
);
const FRAGMENTS: Metric = Metric::counter(
    "flyball.ip.fragmentation",
    "{packet}",
    &["flyball.ip.fragmentation.operation", "flyball.ip.fragmentation.outcome"],
    "IPv4 packets that were put together (reassemble) or taken apart (fragment), by outcome.",
);
const IP_IO: Metric = Metric::counter(
    "flyball.ip.io",
    "By",
    &["network.io.direction"],
    "Bytes of IPv4 packets received and sent, loopback included.",
);
const GROUPS: Metric = Metric::counter(
    "flyball.ip.group_packets",
    "{packet}",
    &["flyball.ip.cast", "network.io.direction"],
    "IPv4 packets received from and sent to many: multicast, broadcast.",
);
const CONGESTED: Metric = Metric::counter(
    "flyball.ip.congestion_marks",
    "{packet}",
    &[],
    "IPv4 packets received that a router had marked for congestion.",
);
const ICMP: Metric = Metric::counter(
    "flyball.icmp.messages",
    "{message}",
    &["network.io.direction"],
    "ICMP messages received and sent over IPv4.",
);
const ICMP_ERRORS: Metric = Metric::counter(
    "flyball.icmp.errors",
    "{message}",
    &["network.io.direction"],
    "ICMP messages that had an error or could not be sent.",
);
const ICMP_TYPES: Metric = Metric::counter(
    "flyball.icmp.messages_by_type",
    "{message}",
    &["flyball.icmp.type", "network.io.direction"],
    "ICMP messages of the types that tell of trouble or of pings: unreachable, time_exceeded, redirect, echo, echo_reply.",
);

/// Everything that may be published of these.
pub(super) const METRICS: [Metric; 13] = [
    DATAGRAMS,
    UDP_DROPPED,
    UDP_BUFFERS,
    UDP_CHECKSUMS,
    PACKETS,
    IP_DROPPED,
    FRAGMENTS,
    IP_IO,
    GROUPS,
    CONGESTED,
    ICMP,
    ICMP_ERRORS,
    ICMP_TYPES,
];

const REASON: &str = "flyball.reason";
const DIRECTION: &str = "network.io.direction";
const OPERATION: &str = "flyball.ip.fragmentation.operation";
const OUTCOME: &str = "flyball.ip.fragmentation.outcome";
const TYPE: &str = "flyball.icmp.type";

/// Of the lines `Udp:` in /proc/net/snmp.
pub(super) static UDP: [Wanted; 7] = [
    wanted(&["InDatagrams"], &DATAGRAMS, &[(DIRECTION, "receive")]),
    wanted(&["OutDatagrams"], &DATAGRAMS, &[(DIRECTION, "transmit")]),
    wanted(&["NoPorts"], &UDP_DROPPED, &[(REASON, "no_socket")]),
    wanted(&["InErrors"], &UDP_DROPPED, &[(REASON, "error")]),
    wanted(&["RcvbufErrors"], &UDP_BUFFERS, &[(DIRECTION, "receive")]),
    wanted(&["SndbufErrors"], &UDP_BUFFERS, &[(DIRECTION, "transmit")]),
    wanted(&["InCsumErrors"], &UDP_CHECKSUMS, &[]),
];
/// Of the lines `Ip:` in /proc/net/snmp.
pub(super) static IP: [Wanted; 14] = [
    wanted(&["InReceives"], &PACKETS, &[("flyball.ip.path", "received")]),
    wanted(&["InDelivers"], &PACKETS, &[("flyball.ip.path", "delivered")]),
    wanted(&["ForwDatagrams"], &PACKETS, &[("flyball.ip.path", "forwarded")]),
    wanted(&["OutRequests"], &PACKETS, &[("flyball.ip.path", "sent")]),
    wanted(&["InHdrErrors"], &IP_DROPPED, &[(REASON, "header"), (DIRECTION, "receive")]),
    wanted(&["InAddrErrors"], &IP_DROPPED, &[(REASON, "address"), (DIRECTION, "receive")]),
    wanted(&["InUnknownProtos"], &IP_DROPPED, &[(REASON, "protocol"), (DIRECTION, "receive")]),
    wanted(&["InDiscards"], &IP_DROPPED, &[(REASON, "discarded"), (DIRECTION, "receive")]),
    wanted(&["OutDiscards"], &IP_DROPPED, &[(REASON, "discarded"), (DIRECTION, "transmit")]),
    wanted(&["OutNoRoutes"], &IP_DROPPED, &[(REASON, "route"), (DIRECTION, "transmit")]),
    wanted(&["ReasmOKs"], &FRAGMENTS, &[(OPERATION, "reassemble"), (OUTCOME, "success")]),
    wanted(&["ReasmFails"], &FRAGMENTS, &[(OPERATION, "reassemble"), (OUTCOME, "failure")]),
    wanted(&["FragOKs"], &FRAGMENTS, &[(OPERATION, "fragment"), (OUTCOME, "success")]),
    wanted(&["FragFails"], &FRAGMENTS, &[(OPERATION, "fragment"), (OUTCOME, "failure")]),
];
/// Of the lines `Icmp:` in /proc/net/snmp.
pub(super) static ICMP_COUNTERS: [Wanted; 14] = [
    wanted(&["InMsgs"], &ICMP, &[(DIRECTION, "receive")]),
    wanted(&["OutMsgs"], &ICMP, &[(DIRECTION, "transmit")]),
    wanted(&["InErrors"], &ICMP_ERRORS, &[(DIRECTION, "receive")]),
    wanted(&["OutErrors"], &ICMP_ERRORS, &[(DIRECTION, "transmit")]),
    wanted(&["InDestUnreachs"], &ICMP_TYPES, &[(TYPE, "unreachable"), (DIRECTION, "receive")]),
    wanted(&["OutDestUnreachs"], &ICMP_TYPES, &[(TYPE, "unreachable"), (DIRECTION, "transmit")]),
    wanted(&["InTimeExcds"], &ICMP_TYPES, &[(TYPE, "time_exceeded"), (DIRECTION, "receive")]),
    wanted(&["OutTimeExcds"], &ICMP_TYPES, &[(TYPE, "time_exceeded"), (DIRECTION, "transmit")]),
    wanted(&["InRedirects"], &ICMP_TYPES, &[(TYPE, "redirect"), (DIRECTION, "receive")]),
    wanted(&["OutRedirects"], &ICMP_TYPES, &[(TYPE, "redirect"), (DIRECTION, "transmit")]),
    wanted(&["InEchos"], &ICMP_TYPES, &[(TYPE, "echo"), (DIRECTION, "receive")]),
    wanted(&["OutEchos"], &ICMP_TYPES, &[(TYPE, "echo"), (DIRECTION, "transmit")]),
    wanted(&["InEchoReps"], &ICMP_TYPES, &[(TYPE, "echo_reply"), (DIRECTION, "receive")]),
    wanted(&["OutEchoReps"], &ICMP_TYPES, &[(TYPE, "echo_reply"), (DIRECTION, "transmit")]),
];
/// Of the lines `IpExt:` in /proc/net/netstat.
pub(super) static IP_EXTENDED: [Wanted; 9] = [
    wanted(&["InOctets"], &IP_IO, &[(DIRECTION, "receive")]),
    wanted(&["OutOctets"], &IP_IO, &[(DIRECTION, "transmit")]),
    wanted(&["InMcastPkts"], &GROUPS, &[("flyball.ip.cast", "multicast"), (DIRECTION, "receive")]),
    wanted(
        &["OutMcastPkts"],
        &GROUPS,
        &[("flyball.ip.cast", "multicast"), (DIRECTION, "transmit")],
    ),
    wanted(&["InBcastPkts"], &GROUPS, &[("flyball.ip.cast", "broadcast"), (DIRECTION, "receive")]),
    wanted(
        &["OutBcastPkts"],
        &GROUPS,
        &[("flyball.ip.cast", "broadcast"), (DIRECTION, "transmit")],
    ),
    wanted(&["InNoRoutes"], &IP_DROPPED, &[(REASON, "route"), (DIRECTION, "receive")]),
    wanted(&["InTruncatedPkts"], &IP_DROPPED, &[(REASON, "truncated"), (DIRECTION, "receive")]),
    wanted(&["InCEPkts"], &CONGESTED, &[]),
];
