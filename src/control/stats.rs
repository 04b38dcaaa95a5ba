//! The answer to `stats`: a daemon's counters, and the number of its system calls.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::balancer::Snapshot;
use crate::health::load::Rotation;

use super::counts::{Counts, Drops, total};
use super::hook::HookCounts;
use super::host::HostStatus;
use super::last_sources::LastSources;
use super::list::Use;
use super::table::{self, Columns};
use super::{FastPathState, Layout};

/// The answer, by role.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum Stats {
    /// A director's.
    Director(DirectorStats),
    /// A real server's.
    RealServer(RealServerStats),
}

/// What happened to the packets read: `read == tunnelled + replied + dropped + held`, always.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Packets {
    /// Packets read; a super-frame is one.
    pub read: u64,
    /// Sent to a real server.
    pub tunnelled: u64,
    /// How many of the tunnelled packets the fast path carried.
    pub carried: u64,
    /// Answered by the director itself.
    pub replied: u64,
    /// Dropped, whatever the reason.
    pub dropped: u64,
    /// Answered by a reset that ended a connection because of its real server's state.
    pub ended: u64,
    /// Fragments that are held until the first fragment of their datagram arrives.
    pub held: u64,
    /// Tunnelled without a connection entry, because the table was full or the service in flood
    /// mode.
    pub without_entry: u64,
    /// New flows of persistent clients placed by hash, because the template table was full.
    pub without_template: u64,
    /// The director's own probes to virtual IPs, which are not in the sum.
    pub probes: u64,
}

/// ICMP errors about the tunnel to one real server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TunnelErrorStats {
    /// The service's name.
    pub service: String,
    /// The real server.
    pub address: IpAddr,
    /// ICMP protocol-unreachable: no vstun-realserver or IPIP tunnel runs there, or (Linux from 6.7
    /// on) the daemon's receive buffer is full.
    pub protocol_unreachable: u64,
    /// Other unreachable and time-exceeded errors.
    pub unreachable: u64,
    /// The smallest MTU that routers report on the path, in bytes; absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u16>,
}

/// Fragmented datagrams.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct FragmentStats {
    /// Datagrams whose first fragment has not arrived.
    pub waiting: u64,
    /// Datagrams whose first fragment has arrived and others have not, and refused ones.
    pub decided: u64,
    /// Bytes of the fragments that are held.
    pub held_bytes: u64,
}

/// The timer wheel.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Timers {
    /// Connections that have expired.
    pub expired: u64,
    /// Timers that fired early and were queued again, mostly because packets had arrived meanwhile.
    pub requeued: u64,
    /// Connections evicted before their timeout, because floods of new flows found the table full.
    pub evicted: u64,
    /// Milliseconds until the next timer is due; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_milliseconds: Option<u64>,
}

/// How long the turns of a packet thread took; other packets wait during a turn.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct TurnStats {
    /// The sum of all turns.
    pub microseconds: u64,
    /// The histogram.
    pub buckets: Vec<TurnBucket>,
}

/// Turns that took longer than the bucket before, and not longer than this one.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct TurnBucket {
    /// The bound; absent in the last bucket, which has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_to_microseconds: Option<u32>,
    /// How many.
    pub count: u64,
}

/// A director's figures. The packet loop fills what [`From<&Snapshot>`] leaves at zero.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct DirectorStats {
    /// Seconds since the daemon was ready.
    pub uptime_seconds: u64,
    /// What happened to the packets.
    pub packets: Packets,
    /// The answered packets by reason: the sum is `packets.replied`.
    pub answered: Counts,
    /// The connection table.
    pub connections: Use,
    /// Fragmented datagrams.
    pub fragments: FragmentStats,
    /// Packets lost before they were read, because the TUN's queue was full.
    pub tun_dropped: u64,
    /// Read calls on the TUN that returned a frame.
    pub reads: u64,
    /// Frames that were super-frames.
    pub super_frames: u64,
    /// Times that the packet loop slept and woke.
    pub wakeups: u64,
    /// Wire segments and replies that the kernel took; one in several outer fragments counts once.
    pub segments_sent: u64,
    /// Wire segments that were longer than the path and were sent in several outer fragments.
    pub segments_fragmented: u64,
    /// Outer fragments of these that the kernel took.
    pub outer_fragments: u64,
    /// Bytes of them, with the outer headers.
    pub bytes_sent: u64,
    /// Calls of `sendmmsg`, and of `sendmsg` for GUE.
    pub batches: u64,
    /// Segments and replies in GUE that the kernel took from UDP sockets, many in a call.
    pub gue_joined: u64,
    /// The calls for these.
    pub gue_sends: u64,
    /// Bytes of zeros behind those that were shorter than others of their call.
    pub gue_padding: u64,
    /// Source ports of GUE that another program has: their flows' packets go one by one.
    pub gue_ports_taken: u64,
    /// Segments that the kernel refused, by errno's name.
    pub send_errors: Counts,
    /// Errors from the tunnels, whether or not their real server is known.
    pub tunnel_errors_received: u64,
    /// Tunnel errors, by real server; real servers without errors are left out.
    pub tunnel_errors: Vec<TunnelErrorStats>,
    /// The timer wheel.
    pub timers: Timers,
    /// How long the packet thread's turns took.
    pub turns: TurnStats,
    /// Runs of the hook program.
    pub hooks: HookCounts,
    /// Whether the TUN delivers super-frames.
    pub offload: bool,
    /// How often the kernel refused a TUN with offload, so that the daemon works without.
    pub offload_refused: u64,
    /// Whether the fast path is in use.
    pub fast_path: bool,
    /// Where it is, and why not elsewhere; absent in answers of earlier releases.
    pub fast_path_state: Option<FastPathState>,
    /// Packets at the uplinks that the fast path did not carry, by reason; none without it.
    pub not_carried: Counts,
    /// The problems of the host.
    pub host: HostStatus,
}

impl From<&Snapshot> for DirectorStats {
    fn from(snapshot: &Snapshot) -> Self {
        let counters = &snapshot.counters;
        Self {
            packets: Packets {
                read: counters.read,
                tunnelled: counters.tunnelled,
                carried: counters.carried,
                probes: counters.probes,
                replied: counters.replied(),
                dropped: counters.dropped_total(),
                ended: counters.ended,
                held: counters.held,
                without_entry: counters.without_entry,
                without_template: counters.without_template,
            },
            connections: Use {
                current: snapshot.connections as u64,
                capacity: snapshot.capacity as u64,
            },
            fragments: FragmentStats {
                waiting: snapshot.fragments.waiting as u64,
                decided: snapshot.fragments.decided as u64,
                held_bytes: snapshot.fragments.bytes as u64,
            },
            timers: Timers {
                expired: snapshot.turnover.expired,
                requeued: snapshot.turnover.requeued,
                evicted: snapshot.turnover.evicted,
                next_milliseconds: None,
            },
            answered: Counts::answered(counters),
            tunnel_errors_received: counters.tunnel_errors,
            tunnel_errors: tunnel_errors(snapshot),
            ..Self::default()
        }
    }
}

fn tunnel_errors(snapshot: &Snapshot) -> Vec<TunnelErrorStats> {
    let reals = snapshot
        .services
        .iter()
        .flat_map(|service| service.reals.iter().map(move |real| (service, real)));
    reals
        .filter(|(_, real)| {
            real.protocol_unreachable > 0 || real.unreachable > 0 || real.path_mtu.is_some()
        })
        .map(|(service, real)| TunnelErrorStats {
            service: service.name.as_ref().to_owned(),
            address: real.address,
            protocol_unreachable: real.protocol_unreachable,
            unreachable: real.unreachable,
            path_mtu: real.path_mtu,
        })
        .collect()
}

/// The counters of the load agent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct AgentCounts {
    /// The state that the owner has set by `vstun drain`, `disable` or `enable`.
    pub state: Rotation,
    /// Accepted clients, answered or about to be.
    pub asked: u64,
    /// Clients that were refused because they are not a director.
    pub refused: u64,
    /// Clients that were refused because too many were connected.
    pub busy: u64,
}

/// One reason for dropped packets at a real server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RealServerDrop {
    /// The counter's name.
    pub name: String,
    /// What it means, for operators.
    pub meaning: String,
    /// What to do about it.
    #[serde(default)]
    pub remedy: String,
    /// How many packets.
    pub count: u64,
}

/// A real server's figures: `read == delivered + dropped`, always.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct RealServerStats {
    /// Seconds since the daemon was ready.
    pub uptime_seconds: u64,
    /// Tunnelled packets received, `filtered` ones included; a super-packet is one.
    pub read: u64,
    /// Packets written to the TUN.
    pub delivered: u64,
    /// How many of the delivered packets came in IP in IP.
    pub ipip: u64,
    /// Bytes of the packets in them, without the tunnel's headers.
    pub ipip_bytes: u64,
    /// How many of the delivered packets came in GUE.
    pub gue: u64,
    /// Bytes of the packets in them.
    pub gue_bytes: u64,
    /// Tunnelled packets in GUE that the kernel had merged on the way here (`UDP_GRO`) and that
    /// were separated again, dropped ones too.
    pub gue_merged: u64,
    /// How many of the delivered packets came in GRE.
    pub gre: u64,
    /// Bytes of the packets in them.
    pub gre_bytes: u64,
    /// Packets that the kernel had merged (GRO).
    pub super_packets: u64,
    /// Whole packets whose checksum their sender on the same machine left unfinished.
    pub partial_checksums: u64,
    /// Bytes of the packets that the TUN accepted.
    pub bytes_delivered: u64,
    /// Packets that vstun merged with others of their stream, because the NIC had not merged them.
    pub coalesced_packets: u64,
    /// The frames that they were merged into.
    pub coalesced_frames: u64,
    /// `recvmmsg` calls that received packets.
    pub batches: u64,
    /// Whether the kernel takes packets out of the tunnel itself.
    pub fast_path: bool,
    /// Where it does, and why not elsewhere; absent in answers of earlier releases.
    pub fast_path_state: Option<FastPathState>,
    /// How many of the delivered packets the kernel has taken out of the tunnel.
    pub carried: u64,
    /// Writes the TUN refused, by errno's name.
    pub write_errors: Counts,
    /// Packets dropped, by reason.
    pub dropped: Vec<RealServerDrop>,
    /// Strangers' packets that the kernel refused in floods, estimated; part of `read`, `dropped`.
    pub filtered: u64,
    /// Whether the kernel refuses strangers' packets now.
    pub filtering: bool,
    /// Where packets have come from lately.
    #[serde(flatten)]
    pub last: LastSources,
    /// Tunnelled packets lost before they were read: a raw socket's receive buffer was full.
    pub socket_dropped: u64,
    /// Packets that the TUN accepted and the kernel then dropped, because its queue was full.
    pub tun_dropped: u64,
    /// How long the packet thread's turns took.
    pub turns: TurnStats,
    /// Whether super-frames are written to the TUN.
    pub offload: bool,
    /// How often the kernel refused a TUN with offload, so that the daemon works without.
    pub offload_refused: u64,
    /// Whether packets are merged into super-frames.
    pub coalesce: bool,
    /// The load agent; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentCounts>,
    /// The problems of the host.
    pub host: HostStatus,
}

/// What the kernel loses beside a real server's daemon: name, meaning, and what to do about it in
/// the words of `docs/drops.md`.
const BESIDE: [(&str, &str, &str); 2] = [
    (
        "socket_dropped",
        "Lost before it was read: a raw socket's buffer was full, so the daemon does not keep up.",
        "more real servers, or a lower weight for this one",
    ),
    (
        "tun_dropped",
        "Lost behind the TUN: the kernel's queue was full.",
        "a larger `sysctl net.core.netdev_max_backlog` for bursts; otherwise more real servers, or \
         a lower weight for this one",
    ),
];

impl From<&RealServerStats> for Drops {
    fn from(stats: &RealServerStats) -> Self {
        let text = |of: fn(&RealServerDrop) -> &String| {
            stats.dropped.iter().map(move |drop| (drop.name.clone(), of(drop).clone()))
        };
        let drops = stats.dropped.iter().map(|drop| (drop.name.clone(), drop.count));
        // The kernel's, before the daemon has read a packet or after it has handed one over.
        let counts = [stats.socket_dropped, stats.tun_dropped];
        let counts = BESIDE.iter().map(|lost| lost.0.to_owned()).zip(counts);
        let meanings = BESIDE.map(|(name, meaning, _)| (name.to_owned(), meaning.to_owned()));
        let remedies = BESIDE.map(|(name, _, remedy)| (name.to_owned(), remedy.to_owned()));
        Self {
            drops: drops.chain(counts).collect(),
            answered: Counts::default(),
            meanings: text(|drop| &drop.meaning).chain(meanings).collect(),
            remedies: text(|drop| &drop.remedy).chain(remedies).collect(),
        }
    }
}

impl Stats {
    /// The text output.
    #[must_use]
    pub fn human(&self, layout: Layout) -> String {
        match self {
            Self::Director(stats) => stats.human(layout) + &stats.host.human(layout),
            Self::RealServer(stats) => stats.human() + &stats.host.human(layout),
        }
    }
}

impl DirectorStats {
    fn human(&self, layout: Layout) -> String {
        let (packets, table) = (&self.packets, &self.connections);
        let mut text = table::figures([
            ("packets read", packets.read),
            ("  of them super-frames", self.super_frames),
            ("packets tunnelled", packets.tunnelled),
            ("  of them carried by the fast path", packets.carried),
            ("  of them without an entry", packets.without_entry),
            ("  of them without a template", packets.without_template),
            ("packets replied to", packets.replied),
            ("  of them ending a connection", packets.ended),
            ("packets dropped", packets.dropped),
            ("fragments held", packets.held),
            ("packets of health checks", packets.probes),
            ("  bytes of them", self.fragments.held_bytes),
            ("  datagrams of them", self.fragments.waiting),
            ("fragmented datagrams followed", self.fragments.decided),
            ("segments sent", self.segments_sent),
            ("  of them fragmented", self.segments_fragmented),
            ("  into outer fragments", self.outer_fragments),
            ("bytes sent", self.bytes_sent),
            ("segments refused by the kernel", self.send_errors.total()),
            ("packets lost before the TUN", self.tun_dropped),
            ("reads", self.reads),
            ("wake-ups", self.wakeups),
            ("send batches", self.batches),
            ("sent in GUE by UDP sockets", self.gue_joined),
            ("  in calls", self.gue_sends),
            ("  bytes of padding", self.gue_padding),
            ("source ports of GUE that are taken", self.gue_ports_taken),
            ("connections", table.current),
            ("connections that fit", table.capacity),
            ("connections expired", self.timers.expired),
            ("timers queued again", self.timers.requeued),
            ("connections evicted in floods", self.timers.evicted),
            ("tunnel errors received", self.tunnel_errors_received),
            ("runs of hooks", self.hooks.run),
            ("  of them failed", self.hooks.failed),
            ("  of them killed", self.hooks.killed),
            ("changes without a run of the hook", self.hooks.dropped),
            ("changes that wait for the hook", self.hooks.queued),
            ("uptime in seconds", self.uptime_seconds),
        ]);
        text += &errors("packets replied to, by reason", &self.answered);
        text += &errors("segments refused, by error", &self.send_errors);
        text += &errors("not carried by the fast path, by reason", &self.not_carried);
        if !self.tunnel_errors.is_empty() {
            let header =
                vec!["SERVICE", "REAL SERVER", "PROTOCOL UNREACHABLE", "OTHER ERRORS", "PATH MTU"];
            let rows = self.tunnel_errors.iter().map(TunnelErrorStats::cells).collect();
            let columns = Columns { header, numbers: &[2, 3, 4], prose: false };
            text = text + "\n" + &columns.text(rows, layout.width);
        }
        text
    }
}

impl TunnelErrorStats {
    fn cells(&self) -> Vec<String> {
        vec![
            self.service.clone(),
            self.address.to_string(),
            self.protocol_unreachable.to_string(),
            self.unreachable.to_string(),
            self.path_mtu.map_or_else(|| "-".to_owned(), |mtu| mtu.to_string()),
        ]
    }
}

impl RealServerStats {
    fn human(&self) -> String {
        let figures = table::figures([
            ("packets read", self.read),
            ("  of them super-packets", self.super_packets),
            ("  of them partial checksums", self.partial_checksums),
            ("packets delivered", self.delivered),
            ("  of them by the fast path", self.carried),
            ("  of them in IP in IP", self.ipip),
            ("    bytes", self.ipip_bytes),
            ("  of them in GUE", self.gue),
            ("    bytes", self.gue_bytes),
            ("    merged by the kernel", self.gue_merged),
            ("  of them in GRE", self.gre),
            ("    bytes", self.gre_bytes),
            ("  of them coalesced", self.coalesced_packets),
            ("  into frames", self.coalesced_frames),
            ("bytes delivered", self.bytes_delivered),
            ("packets dropped", total(self.dropped.iter().map(|drop| drop.count))),
            ("  of them refused in the kernel", self.filtered),
            ("lost before they were read", self.socket_dropped),
            ("lost behind the TUN", self.tun_dropped),
            ("writes refused by the kernel", self.write_errors.total()),
            ("receive batches", self.batches),
            ("uptime in seconds", self.uptime_seconds),
        ]);
        figures + &errors("writes refused, by error", &self.write_errors)
    }
}

/// What occurred, by name.
fn errors(what: &str, counts: &Counts) -> String {
    let named: Vec<_> = counts.0.iter().filter(|(_, count)| *count > 0).collect();
    if named.is_empty() {
        return String::new();
    }
    let rows = named.into_iter().map(|(name, count)| (name.as_str(), *count));
    format!("\n{what}\n{}", table::figures(rows))
}
