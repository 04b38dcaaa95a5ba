//! The observations at a real server.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::conntrack::ConntrackTable;
use super::director_routes::{LostDirector, StrayDirector};
use super::finding::Finding;
use super::firewall::Ruleset;
use super::host::HostFault;
use super::tunnels::Tunnelled;
use crate::control::{FastPathState, LastSources};
use crate::wire::encap::Encap;
use crate::wire::protocol;

/// The observations at a real server.
#[derive(Clone, Debug, Default)]
pub struct RealServerFacts {
    /// Whether the daemon answers; if not, why, and its unit.
    pub daemon: Option<(String, String)>,
    /// The problems of the host.
    pub host: Vec<HostFault>,
    /// The TUN's name.
    pub tun: String,
    /// The other interfaces, where packets arrive.
    pub links: Vec<String>,
    /// The virtual IPs.
    pub vips: Vec<IpAddr>,
    /// The hosts that may send tunnelled packets.
    pub directors: Vec<IpNet>,
    /// How they send them, as the configuration says; others are received too.
    pub tunnelled: Tunnelled,
    /// Whether the reverse path filter of the TUN is strict.
    pub strict: bool,
    /// The interfaces on which the kernel answers ARP for addresses of others.
    pub answers_arp: Vec<String>,
    /// The firewall; `None`: its rules could not be read.
    pub ruleset: Option<Ruleset>,
    /// The virtual IPs whose replies have no route to hosts outside of this host's networks.
    pub no_reply_route: Vec<IpAddr>,
    /// The fast path, as the daemon and the kernel report it; `None` if no daemon does.
    pub fast_path: Option<FastPathState>,
    /// Tunnelled packets read, and how many of them came from strangers; `None` without a daemon.
    pub read: Option<(u64, u64)>,
    /// How many packets were delivered in each encapsulation.
    pub delivered: Vec<(Encap, u64)>,
    /// Whether packets were admitted while this program looked.
    pub growing: bool,
    /// Where packets have come from lately.
    pub last: LastSources,
    /// The interface of the route to each director: its packets come by that one.
    pub inputs: BTreeMap<IpNet, String>,
    /// Directors whose packets the reverse path filter drops.
    pub strays: Vec<StrayDirector>,
    /// Directors to which this host has no way.
    pub lost: Vec<LostDirector>,
    /// The programs' sockets that receive packets for the virtual IPs.
    pub listening: Vec<Listening>,
    /// The routes of replies.
    pub reply_routes: Vec<ReplyRoute>,
    /// Clients that this host takes for neighbours and that do not answer as such, each with the
    /// router of other clients.
    pub silent_neighbours: BTreeMap<IpAddr, Option<IpAddr>>,
    /// The table of the routes with the smaller MSS, if replies have one.
    pub reply_table: Option<ReplyTable>,
    /// The configuration file, if the daemon has one.
    pub config: Option<String>,
    /// The table of connection tracking.
    pub conntrack: Option<ConntrackTable>,
    /// Further findings, about things that could not be observed.
    pub unseen: Vec<Finding>,
}

impl RealServerFacts {
    /// Whether the daemon receives GUE: another program may have the port.
    pub(super) fn takes_gue(&self) -> bool {
        self.host.iter().all(|fault| fault.what != "gue")
    }

    /// Whether tunnelled packets may come by this interface. Of directors without a route nothing
    /// is known.
    pub(super) fn arrives_by(&self, link: &str) -> bool {
        self.inputs.is_empty() || self.inputs.values().any(|input| input == link)
    }
}

/// A program's socket that receives packets for a virtual IP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listening {
    /// The virtual IP.
    pub vip: IpAddr,
    /// The protocol's number.
    pub protocol: u8,
    /// The port.
    pub port: u16,
    /// Whether it is bound to the virtual IP, and not to every address.
    pub own: bool,
    /// Whether packets for it come out of the TUN now.
    pub used: bool,
    /// Whether a client has a connection there.
    pub passes: bool,
    /// Whether no socket there has room in its queue for another connection.
    pub full: bool,
}

impl Listening {
    /// Whether it is certain that the virtual IP's clients use it.
    pub(super) fn is_service(&self) -> bool {
        self.own || self.used || self.passes
    }

    pub(super) fn words(&self) -> String {
        let protocol = if self.protocol == protocol::TCP { "tcp" } else { "udp" };
        format!("{}/{protocol}", self.port)
    }

    /// What nft(8) calls packets for it.
    pub(super) fn nft(&self) -> String {
        let protocol = if self.protocol == protocol::TCP { "tcp" } else { "udp" };
        format!("{protocol} dport {} ", self.port)
    }
}

/// A host that gets replies.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ReplyTo {
    /// A client that has not answered this host's SYN-ACK, although it was sent again.
    Waiting,
    /// A client whose packets come out of the TUN now, and which the kernel answers nothing.
    Sending,
    /// A client whose handshake has ended.
    Answering,
    /// No client, but an address on the internet.
    Far,
    /// No client, but an address of a network that a route or a routing rule refuses.
    Possible,
}

/// The kernel's route lookup for a reply.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReplyRoute {
    /// The virtual IP.
    pub vip: IpAddr,
    /// Who gets the reply.
    pub client: IpAddr,
    /// What is known of it.
    pub to: ReplyTo,
    /// The result.
    pub result: RouteResult,
}

/// A result of a route lookup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RouteResult {
    /// It leaves by an interface.
    Link {
        /// The interface's name.
        link: String,
        /// Whether it is an Ethernet, and not the tunnel of a VPN.
        ethernet: bool,
        /// Whether the route has a router, and the client is not on the link.
        router: bool,
        /// The destinations of the route, if the kernel reports them.
        prefix: Option<IpNet>,
        /// The table of the route.
        table: u32,
        /// The priority of the routing rule that leads to this table, if it is a foreign one.
        rule: Option<u32>,
    },
    /// The kernel drops it.
    Refused {
        /// `blackhole`, `unreachable` or `prohibit`.
        kind: &'static str,
        /// The destinations of that route and its table, if there is such a route.
        route: Option<(IpNet, u32)>,
        /// The priority of the routing rule that refuses instead.
        rule: Option<u32>,
    },
}

/// The real server's own table of routes with the smaller MSS.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReplyTable {
    /// The table.
    pub table: u32,
    /// The priority of the rules that lead to it.
    pub priority: u32,
}
