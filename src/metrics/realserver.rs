//! The real server's page.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::director::{host, kernel, named, program};
use super::families::Families;
use super::{Page, turns};
use crate::control::{AgentCounts, RealServerStats};

/// The values of a real server's page.
#[derive(Clone, Debug)]
pub struct RealServerPage {
    /// The program's version.
    pub version: String,
    /// The packet thread's counters.
    pub stats: RealServerStats,
}

impl Collector for RealServerPage {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut families, stats) = (Families(encoder), &self.stats);
        program(&mut families, "realserver", &self.version, stats.uptime_seconds)?;
        for (name, help, value) in [
            ("packets_received", "Tunnelled packets; a super-packet is one", stats.read),
            ("packets_delivered", "Packets written to the TUN", stats.delivered),
            ("fast_path_packets", "Packets delivered by the fast path", stats.carried),
            ("ipip_packets", "Packets delivered that came in IP in IP", stats.ipip),
            ("ipip_bytes", "Bytes of the packets that came in IP in IP", stats.ipip_bytes),
            ("gue_packets", "Packets delivered that came in GUE", stats.gue),
            ("gue_bytes", "Bytes of the packets that came in GUE", stats.gue_bytes),
            ("gue_merged_packets", "Packets in GUE that UDP_GRO had merged", stats.gue_merged),
            ("gre_packets", "Packets delivered that came in GRE", stats.gre),
            ("gre_bytes", "Bytes of the packets that came in GRE", stats.gre_bytes),
            ("super_packets", "Packets that the kernel had merged", stats.super_packets),
            (
                "partial_checksums",
                "Packets whose sender left the checksum unfinished",
                stats.partial_checksums,
            ),
            (
                "delivered_bytes",
                "Bytes of the packets that the TUN accepted",
                stats.bytes_delivered,
            ),
            ("coalesced_packets", "Packets that vstun merged with others", stats.coalesced_packets),
            ("coalesced_frames", "Frames made of merged packets", stats.coalesced_frames),
            ("receive_batches", "Calls of recvmmsg that returned packets", stats.batches),
            (
                "socket_dropped_packets",
                "Packets lost before they were read: receive buffer full",
                stats.socket_dropped,
            ),
            (
                "filtered_packets",
                "Strangers' packets that the kernel refused in a flood, estimated",
                stats.filtered,
            ),
            (
                "tun_dropped_packets",
                "Packets that the kernel dropped behind the TUN: queue full",
                stats.tun_dropped,
            ),
        ] {
            families.counter(name, help, value)?;
        }
        let drops = stats.dropped.iter().map(|drop| ([("reason", drop.name.as_str())], drop.count));
        families.counters("packets_dropped", "Packets dropped, by reason", drops)?;
        let errors = named("error", &stats.write_errors.0);
        families.counters("write_errors", "Writes that the TUN refused, by error", errors)?;
        let offload = u32::from(stats.offload);
        families.gauge("tun_offload", "Whether super-frames are written to the TUN", offload)?;
        kernel(&mut families, stats.offload_refused, stats.fast_path)?;
        clients(&mut families, stats)?;
        turns::write(&mut families, &stats.turns)?;
        host(&mut families, &stats.host)
    }
}

impl Page for RealServerPage {}

/// Strangers, and those who ask the load agent.
fn clients(families: &mut Families<'_>, stats: &RealServerStats) -> fmt::Result {
    let help = "Whether the kernel refuses strangers' packets now";
    families.gauge("filtering", help, u32::from(stats.filtering))?;
    let clients = stats.agent.iter().flat_map(|agent| {
        let AgentCounts { asked, refused, busy, state: _ } = *agent;
        [("accepted", asked), ("refused", refused), ("busy", busy)]
    });
    let clients = clients.map(|(result, count)| ([("result", result)], count));
    families.counters("agent_clients", "Clients of its load agent, by result", clients)
}
