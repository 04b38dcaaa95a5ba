//! The observations at a director.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::conntrack::ConntrackTable;
use super::duplicates::DuplicateAddress;
use super::ends::EndFacts;
use super::finding::Finding;
use super::firewall::{CtState, JudgedPacket, Ruleset};
use super::host::HostFault;
use super::marked::MarkedClient;
use super::refused_clients::RefusedClient;
use super::tunnels::Tunnelled;
use crate::control::{EventText, FastPathState, ListedService, Probed, VirtualIp};
use crate::model::Listen;
use crate::wire::encap::SourcePorts;

/// A virtual IP's port on an uplink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listened {
    /// Where a service listens.
    pub listen: Listen,
    /// The interface where clients' packets arrive.
    pub uplink: String,
}

/// The route to a real server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteToReal {
    /// The real server.
    pub real: IpAddr,
    /// The tunnel's source, if the route has one.
    pub source: Option<IpAddr>,
    /// The source that a masquerading rule would give to its packets.
    pub masqueraded: Option<IpAddr>,
    /// The interface, if there is a route.
    pub link: Option<String>,
    /// How packets to it are encapsulated, by its services.
    pub tunnelled: Vec<Tunnelled>,
    /// The next host on the way: a router, or the real server itself.
    pub next: Option<IpAddr>,
    /// What the kernel knows about it.
    pub neighbour: NeighbourEntry,
}

impl RouteToReal {
    /// A tunnelled packet to it, of this protocol and UDP port. `user`: the one that the director
    /// runs as.
    pub(super) fn tunnelled_packet(
        &self,
        user: Option<u32>,
        (protocol, port): (u8, Option<u16>),
    ) -> JudgedPacket {
        JudgedPacket {
            version: if self.real.is_ipv4() { 4 } else { 6 },
            input: Some(String::new()),
            output: self.link.clone(),
            user,
            source: self.source,
            destination: Some(self.real),
            protocol,
            port,
            state: CtState::New,
            ..JudgedPacket::default()
        }
    }
}

/// An entry of the kernel's neighbour table.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum NeighbourEntry {
    /// There is none, or the link needs none.
    #[default]
    Unknown,
    /// The host answers.
    Answers,
    /// The host was asked, and does not answer.
    Silent,
    /// Someone has set this link-layer address.
    Fixed(String),
}

/// The observations at a director.
#[derive(Clone, Debug, Default)]
pub struct DirectorFacts {
    /// Whether the daemon answers; if not, why, and its unit.
    pub daemon: Option<(String, String)>,
    /// The problems of the host.
    pub host: Vec<HostFault>,
    /// The services as they run.
    pub services: Vec<ListedService>,
    /// The virtual IPs as they run.
    pub vips: Vec<VirtualIp>,
    /// The TUN's name.
    pub tun: String,
    /// The ports on each uplink.
    pub listened: Vec<Listened>,
    /// The routes to the real servers.
    pub routes: Vec<RouteToReal>,
    /// Addresses of real servers that several hosts have.
    pub duplicates: Vec<DuplicateAddress>,
    /// The firewall; `None`: its rules could not be read.
    pub ruleset: Option<Ruleset>,
    /// What became of marked packets that were sent like clients' packets.
    pub marked: Vec<MarkedClient>,
    /// Why none could be sent.
    pub unmarked: Option<String>,
    /// The answers of the real servers' ports; `None` without a daemon.
    pub probed: Option<Probed>,
    /// How many packets of probes through the tunnel the director has read meanwhile.
    pub probe_packets: u64,
    /// The answers of the real servers' daemons; `None`: no inquiry could be sent.
    pub ends: Option<Vec<EndFacts>>,
    /// The program's version.
    pub program: String,
    /// The user that the daemon runs as, if that is known.
    pub user: Option<u32>,
    /// The configured checks that fail: real server, check, result.
    pub failing: Vec<(IpAddr, String, String)>,
    /// The configuration file, and how it differs from what runs, if it does.
    pub differs: Option<(PathBuf, String)>,
    /// The interfaces that are bridges.
    pub bridges: Vec<String>,
    /// What the director has observed lately, the latest last.
    pub events: Vec<EventText>,
    /// A client of an open handshake, by real server.
    pub handshakes: BTreeMap<IpAddr, IpAddr>,
    /// Clients whose packets this host drops for their source.
    pub refused_clients: Vec<RefusedClient>,
    /// Interfaces that are down, each with its addresses.
    pub down: Vec<(String, Vec<IpAddr>)>,
    /// The interfaces where the kernel carries established connections; `None`: nowhere.
    pub carried_at: Option<Vec<String>>,
    /// How many of these source ports of GUE another program has.
    pub gue_ports_taken: Option<(u64, SourcePorts)>,
    /// The fast path as the daemon says; `None` without a daemon that says it.
    pub fast_path: Option<FastPathState>,
    /// The table of connection tracking.
    pub conntrack: Option<ConntrackTable>,
    /// Further findings, about things that could not be observed.
    pub unseen: Vec<Finding>,
}
