//! What the kernel counts of TCP, over IPv4 and IPv6.

use flyball_proto::series::{Kind, Scale};

use super::super::Metric;
use super::super::table::{Wanted, wanted};
use super::ip::IP_DROPPED;

const OPENED: Metric = Metric::counter(
    "flyball.tcp.connections.opened",
    "{connection}",
    &["flyball.tcp.side"],
    "TCP connections opened: active ones by this host, passive ones by others.",
);
const ENDED: Metric = Metric::counter(
    "flyball.tcp.connections.ended",
    "{connection}",
    &["flyball.reason"],
    "TCP connections that did not end well: attempts that failed, established ones that were reset.",
);
const ABORTED: Metric = Metric::counter(
    "flyball.tcp.connections.aborted",
    "{connection}",
    &["flyball.reason"],
    "TCP connections that this host broke off: closed with data unread (close) or still coming (data, linger), for want of memory, or because the other side no longer answered (timeout); failed ones could not even be told.",
);
const TIME_WAIT: Metric = Metric::counter(
    "flyball.tcp.connections.time_wait",
    "{connection}",
    &["flyball.tcp.time_wait.outcome"],
    "TCP connections that waited out their end (finished) or for which there was no room to do so (overflow).",
);
const SEGMENTS: Metric = Metric::counter(
    "flyball.tcp.segments",
    "{segment}",
    &["network.io.direction"],
    "TCP segments received and sent, without retransmitted ones.",
);
const DATA: Metric = Metric::counter(
    "flyball.tcp.segments.data",
    "{segment}",
    &["flyball.tcp.delivery.step"],
    "TCP segments with data: sent for the first time, delivered by word of the other side (openings included), and of these with a mark of congestion (congested).",
);
const RETRANSMITTED: Metric = Metric::counter(
    "flyball.tcp.segments.retransmitted",
    "{segment}",
    &[],
    "TCP segments that had to be sent again.",
);
const RETRANSMISSIONS: Metric = Metric::counter(
    "flyball.tcp.retransmissions",
    "{segment}",
    &["flyball.tcp.retransmission.kind"],
    "Retransmissions by kind: fast, slow_start (after a timeout), syn (opening), lost (one that was lost again), failed (this host could not send it).",
);
const ERRORS: Metric = Metric::counter(
    "flyball.tcp.segments.errors",
    "{segment}",
    &[],
    "TCP segments received with an error.",
);
const CHECKSUMS: Metric = Metric::counter(
    "flyball.tcp.segments.checksum_errors",
    "{segment}",
    &[],
    "TCP segments received with a wrong checksum; they are among the errors.",
);
const RESETS: Metric =
    Metric::counter("flyball.tcp.resets.sent", "{segment}", &[], "TCP resets that this host sent.");
const DROPPED: Metric = Metric::counter(
    "flyball.tcp.segments.dropped",
    "{segment}",
    &["flyball.reason"],
    "TCP segments that arrived and were thrown away: the reader's backlog, receive_queue or receive_buffer was full, the window was closed (zero_window), they were too far ahead (out_of_order), too old (timestamp), or memory was kept for others (memory).",
);
const PRUNED: Metric = Metric::counter(
    "flyball.tcp.receive_buffer.prunes",
    "{prune}",
    &[],
    "Times that the buffer of a TCP connection overflowed and was compacted.",
);
const OUT_OF_ORDER: Metric = Metric::counter(
    "flyball.tcp.segments.out_of_order",
    "{segment}",
    &[],
    "TCP segments that arrived before their turn and were kept.",
);
const REORDERED: Metric = Metric::counter(
    "flyball.tcp.reorderings",
    "{event}",
    &[],
    "Times that the other side was seen to receive segments in another order than they were sent.",
);
const TIMEOUTS: Metric = Metric::counter(
    "flyball.tcp.timeouts",
    "{timeout}",
    &[],
    "Retransmission timers of TCP connections that ran out.",
);
const PROBES: Metric = Metric::counter(
    "flyball.tcp.probes",
    "{segment}",
    &["flyball.tcp.probe.kind"],
    "Segments sent to provoke an answer: of lost ends of a burst (loss), of closed windows (window), of silent connections (keep_alive).",
);
const RECOVERIES: Metric = Metric::counter(
    "flyball.tcp.recoveries",
    "{event}",
    &[],
    "Times that loss was repaired without waiting for a timeout.",
);
const SPURIOUS: Metric = Metric::counter(
    "flyball.tcp.spurious",
    "{event}",
    &["flyball.tcp.spurious.kind"],
    "Needless work: timeouts that loss had not caused, segments that the other side had twice (duplicate).",
);
const WINDOW: Metric = Metric::counter(
    "flyball.tcp.windows.closed",
    "{event}",
    &[],
    "Times that this host told the other side to stop because its reader was too slow.",
);
const DELAYED: Metric = Metric::counter(
    "flyball.tcp.delayed_acks",
    "{segment}",
    &["flyball.tcp.delayed_ack.outcome"],
    "Acknowledgements that were delayed: sent, or so late that the other side repeated itself (lost).",
);
const LISTEN: Metric = Metric::counter(
    "flyball.tcp.listen.dropped",
    "{connection}",
    &["flyball.reason"],
    "Connections that a listening socket did not take: because its queue was full (overflow), or for any reason, overflow included (all).",
);
const REQUESTS: Metric = Metric::counter(
    "flyball.tcp.listen.queue_full",
    "{connection}",
    &["flyball.tcp.listen.answer"],
    "Connection requests that met a full queue: dropped, or answered with a cookie.",
);
const COOKIES: Metric = Metric::counter(
    "flyball.tcp.syn_cookies",
    "{segment}",
    &["flyball.tcp.syn_cookie.outcome"],
    "SYN cookies, the defence against floods: sent, received, failed (not of ours).",
);
const PRESSURE: Metric = Metric::counter(
    "flyball.tcp.memory_pressures",
    "{event}",
    &[],
    "Times that TCP as a whole came to be short of memory.",
);
const PRESSURE_TIME: Metric = Metric {
    name: "flyball.tcp.memory_pressure_time",
    unit: "s",
    kind: Kind::Counter,
    scale: Scale::decimal(3),
    attributes: &[],
    description: "Time during which TCP as a whole was short of memory; counted when it ends.",
};

/// Everything that may be published of these.
pub(super) const METRICS: [Metric; 26] = [
    OPENED,
    ENDED,
    ABORTED,
    TIME_WAIT,
    SEGMENTS,
    DATA,
    RETRANSMITTED,
    RETRANSMISSIONS,
    ERRORS,
    CHECKSUMS,
    RESETS,
    DROPPED,
    PRUNED,
    OUT_OF_ORDER,
    REORDERED,
    TIMEOUTS,
    PROBES,
    RECOVERIES,
    SPURIOUS,
    WINDOW,
    DELAYED,
    LISTEN,
    REQUESTS,
    COOKIES,
    PRESSURE,
    PRESSURE_TIME,
];

const SIDE: &str = "flyball.tcp.side";
const REASON: &str = "flyball.reason";
const DIRECTION: &str = "network.io.direction";

/// Of the lines `Tcp:` in /proc/net/snmp.
pub(super) static TCP: [Wanted; 10] = [
    wanted(&["ActiveOpens"], &OPENED, &[(SIDE, "active")]),
    wanted(&["PassiveOpens"], &OPENED, &[(SIDE, "passive")]),
    wanted(&["AttemptFails"], &ENDED, &[(REASON, "failed")]),
    wanted(&["EstabResets"], &ENDED, &[(REASON, "reset")]),
    wanted(&["InSegs"], &SEGMENTS, &[(DIRECTION, "receive")]),
    wanted(&["OutSegs"], &SEGMENTS, &[(DIRECTION, "transmit")]),
    wanted(&["RetransSegs"], &RETRANSMITTED, &[]),
    wanted(&["InErrs"], &ERRORS, &[]),
    wanted(&["InCsumErrors"], &CHECKSUMS, &[]),
    wanted(&["OutRsts"], &RESETS, &[]),
];
/// Of the lines `TcpExt:` in /proc/net/netstat.
pub(super) static EXTENDED: [Wanted; 46] = [
    wanted(&["TCPAbortOnData"], &ABORTED, &[(REASON, "data")]),
    wanted(&["TCPAbortOnClose"], &ABORTED, &[(REASON, "close")]),
    wanted(&["TCPAbortOnMemory"], &ABORTED, &[(REASON, "memory")]),
    wanted(&["TCPAbortOnTimeout"], &ABORTED, &[(REASON, "timeout")]),
    wanted(&["TCPAbortOnLinger"], &ABORTED, &[(REASON, "linger")]),
    wanted(&["TCPAbortFailed"], &ABORTED, &[(REASON, "failed")]),
    wanted(&["TW"], &TIME_WAIT, &[("flyball.tcp.time_wait.outcome", "finished")]),
    wanted(&["TCPTimeWaitOverflow"], &TIME_WAIT, &[("flyball.tcp.time_wait.outcome", "overflow")]),
    wanted(&["TCPOrigDataSent"], &DATA, &[("flyball.tcp.delivery.step", "sent")]),
    wanted(&["TCPDelivered"], &DATA, &[("flyball.tcp.delivery.step", "delivered")]),
    wanted(&["TCPDeliveredCE"], &DATA, &[("flyball.tcp.delivery.step", "congested")]),
    wanted(&["TCPFastRetrans"], &RETRANSMISSIONS, &[("flyball.tcp.retransmission.kind", "fast")]),
    wanted(
        &["TCPSlowStartRetrans"],
        &RETRANSMISSIONS,
        &[("flyball.tcp.retransmission.kind", "slow_start")],
    ),
    wanted(&["TCPSynRetrans"], &RETRANSMISSIONS, &[("flyball.tcp.retransmission.kind", "syn")]),
    wanted(
        &["TCPLostRetransmit"],
        &RETRANSMISSIONS,
        &[("flyball.tcp.retransmission.kind", "lost")],
    ),
    wanted(&["TCPRetransFail"], &RETRANSMISSIONS, &[("flyball.tcp.retransmission.kind", "failed")]),
    wanted(&["TCPBacklogDrop"], &DROPPED, &[(REASON, "backlog")]),
    wanted(&["TCPRcvQDrop"], &DROPPED, &[(REASON, "receive_queue")]),
    wanted(&["RcvPruned"], &DROPPED, &[(REASON, "receive_buffer")]),
    wanted(&["TCPZeroWindowDrop"], &DROPPED, &[(REASON, "zero_window")]),
    wanted(&["TCPOFODrop"], &DROPPED, &[(REASON, "out_of_order")]),
    wanted(&["PAWSEstab"], &DROPPED, &[(REASON, "timestamp")]),
    wanted(&["PFMemallocDrop"], &DROPPED, &[(REASON, "memory")]),
    wanted(&["PruneCalled"], &PRUNED, &[]),
    wanted(&["TCPOFOQueue"], &OUT_OF_ORDER, &[]),
    wanted(
        &["TCPFACKReorder", "TCPSACKReorder", "TCPRenoReorder", "TCPTSReorder"],
        &REORDERED,
        &[],
    ),
    wanted(&["TCPTimeouts"], &TIMEOUTS, &[]),
    wanted(&["TCPLossProbes"], &PROBES, &[("flyball.tcp.probe.kind", "loss")]),
    wanted(&["TCPWinProbe"], &PROBES, &[("flyball.tcp.probe.kind", "window")]),
    wanted(&["TCPKeepAlive"], &PROBES, &[("flyball.tcp.probe.kind", "keep_alive")]),
    wanted(&["TCPRenoRecovery", "TCPSackRecovery"], &RECOVERIES, &[]),
    wanted(&["TCPSpuriousRTOs"], &SPURIOUS, &[("flyball.tcp.spurious.kind", "timeout")]),
    wanted(&["TCPDSACKRecv"], &SPURIOUS, &[("flyball.tcp.spurious.kind", "duplicate")]),
    wanted(&["TCPToZeroWindowAdv"], &WINDOW, &[]),
    wanted(&["DelayedACKs"], &DELAYED, &[("flyball.tcp.delayed_ack.outcome", "sent")]),
    wanted(&["DelayedACKLost"], &DELAYED, &[("flyball.tcp.delayed_ack.outcome", "lost")]),
    wanted(&["ListenOverflows"], &LISTEN, &[(REASON, "overflow")]),
    wanted(&["ListenDrops"], &LISTEN, &[(REASON, "all")]),
    wanted(&["TCPReqQFullDrop"], &REQUESTS, &[("flyball.tcp.listen.answer", "dropped")]),
    wanted(&["TCPReqQFullDoCookies"], &REQUESTS, &[("flyball.tcp.listen.answer", "cookie")]),
    wanted(&["SyncookiesSent"], &COOKIES, &[("flyball.tcp.syn_cookie.outcome", "sent")]),
    wanted(&["SyncookiesRecv"], &COOKIES, &[("flyball.tcp.syn_cookie.outcome", "received")]),
    wanted(&["SyncookiesFailed"], &COOKIES, &[("flyball.tcp.syn_cookie.outcome", "failed")]),
    wanted(&["TCPMemoryPressures"], &PRESSURE, &[]),
    wanted(&["TCPMemoryPressuresChrono"], &PRESSURE_TIME, &[]),
    // Of IP, though it is counted here.
    wanted(
        &["IPReversePathFilter"],
        &IP_DROPPED,
        &[(REASON, "reverse_path"), (DIRECTION, "receive")],
    ),
];
