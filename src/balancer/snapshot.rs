//! The balancer's state as plain values, for listings.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::counters::Counters;
use super::latency::LatencySnapshot;
use super::outage::Outage;
use super::table::Turnover;
use crate::model::{
    AdminState, Listen, Protocol, RealState, RealValues, SavedState, SchedulerKind,
};

/// A real server and its counters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RealSnapshot {
    /// The outer destination of its tunnelled packets.
    pub address: IpAddr,
    /// Its configured values.
    pub values: RealValues,
    /// Whether it is the service's last resort.
    pub last_resort: bool,
    /// Its state.
    pub state: RealState,
    /// Its wanted state, regardless of its health; the deadline of a drain is in `deadline`.
    pub wanted: AdminState,
    /// How long ago its wanted state last changed; `None`: it has not.
    pub changed: Option<Duration>,
    /// Whether it was removed, and disappears with its last connection.
    pub removed: bool,
    /// How long until its connections are ended; `None`: no deadline.
    pub deadline: Option<Duration>,
    /// Its effective weight in thousandths during slow start; `None` otherwise.
    pub effective_weight: Option<u32>,
    /// Whether it starts slowly.
    pub starting: bool,
    /// Connections that it reports and those given to it since; `None`: it reports none.
    pub reported: Option<u64>,
    /// Connections in an active state (IPVS's ActiveConn).
    pub active: u64,
    /// Active connections whose handshake has not been seen completely.
    pub half_open: u64,
    /// The other connections (IPVS's InActConn).
    pub inactive: u64,
    /// Connections ever opened to it.
    pub connections: u64,
    /// Persistence templates that name it (IPVS's PersistConn).
    pub templates: u64,
    /// Whether it takes no new connection because of its upper threshold.
    pub full: bool,
    /// Packets sent to it; a super-frame counts as its wire segments.
    pub packets: u64,
    /// Bytes of those packets: inner IP packets, without the outer header.
    pub bytes: u64,
    /// How many of those packets were carried ([`Carrier`](super::carrier::Carrier)).
    pub carried_packets: u64,
    /// Bytes of the carried packets.
    pub carried_bytes: u64,
    /// ICMP protocol-unreachable received from it: no vstun-realserver or IPIP tunnel runs there,
    /// or its socket is full.
    pub protocol_unreachable: u64,
    /// Other unreachable and time-exceeded errors from the path to it.
    pub unreachable: u64,
    /// The smallest MTU that routers report on the path to it, in bytes; `None` if none did.
    pub path_mtu: Option<u16>,
    /// The MTU of the director's link or route to it, in bytes; `None` if it never had one.
    pub link_mtu: Option<u32>,
    /// Its latencies; `None`: none was measured.
    pub latency: Option<Box<LatencySnapshot>>,
}

impl RealSnapshot {
    /// The state to save for a later restore.
    #[must_use]
    pub fn saved_state(&self) -> SavedState {
        let grown = !self.starting;
        SavedState { wanted: self.wanted, left: self.deadline, grown, changed: self.changed }
    }
}

/// A service's flood counters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FloodSnapshot {
    /// Whether it is in flood mode.
    pub active: bool,
    /// How often it has entered it.
    pub floods: u64,
    /// Packets placed without an entry because of floods.
    pub without_entry: u64,
}

/// A service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceSnapshot {
    /// Its name, shared with the balancer: a listing copies no texts.
    pub name: Arc<str>,
    /// Where it listens; shared too.
    pub listens: Arc<[Listen]>,
    /// Its scheduler.
    pub scheduler: SchedulerKind,
    /// Its Maglev table, if its scheduler is mh.
    pub maglev: Option<MaglevSnapshot>,
    /// Why none of its real servers takes new connections; `None` while one is in service.
    pub outage: Option<Outage>,
    /// Its flood counters.
    pub flood: FloodSnapshot,
    /// Its real servers, in configuration order.
    pub reals: Vec<RealSnapshot>,
}

/// A summary of a Maglev table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MaglevSnapshot {
    /// The number of slots.
    pub slots: usize,
    /// The same in all directors that place flows alike.
    pub checksum: u64,
}

/// One connection, for `vstun connections`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectionSnapshot {
    /// The transport.
    pub protocol: Protocol,
    /// The client.
    pub client: SocketAddr,
    /// The virtual IP and port.
    pub virtual_address: SocketAddr,
    /// Its real server.
    pub real: IpAddr,
    /// The state's name in IPVS.
    pub state: &'static str,
    /// Whether it counts as active.
    pub active: bool,
    /// Whether the fast path carries it.
    pub carried: bool,
    /// How long it lives without a further packet.
    pub expires: Duration,
}

/// Fragmented datagrams.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FragmentsSnapshot {
    /// Datagrams whose first fragment has not arrived.
    pub waiting: usize,
    /// Datagrams whose first fragment has arrived and others have not, and refused ones.
    pub decided: usize,
    /// Bytes of the fragments that are held.
    pub bytes: usize,
}

/// Everything that `vstun list`, `stats` and `drops` show of the balancer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    /// Connections in the table.
    pub connections: usize,
    /// The table's capacity.
    pub capacity: usize,
    /// Persistence templates.
    pub templates: usize,
    /// The capacity for templates.
    pub templates_capacity: usize,
    /// The counters of the connections' timers.
    pub turnover: Turnover,
    /// Fragmented datagrams.
    pub fragments: FragmentsSnapshot,
    /// The services, in configuration order.
    pub services: Vec<ServiceSnapshot>,
    /// Counters of the packets.
    pub counters: Counters,
}
