//! The balancer's state as values, for listings. Nothing in here is live.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::counters::Counters;
use super::table::Turnover;
use crate::model::{Listen, Protocol, RealState, SavedState, SchedulerKind, Thresholds, Wanted};

/// A real server and its counters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RealSnapshot {
    /// Where tunnelled packets go.
    pub address: IpAddr,
    /// Its weight.
    pub weight: u32,
    /// Whether it is the service's last resort.
    pub last_resort: bool,
    /// Its state.
    pub state: RealState,
    /// What is wanted of it, whatever health says; how long a drain has is `deadline`.
    pub wanted: Wanted,
    /// Whether it was removed, and goes with its last connection.
    pub removed: bool,
    /// How long until the connections that it has are ended; `None`: they are not.
    pub deadline: Option<Duration>,
    /// Its weight so far, in thousandths, while it starts slowly; `None` when it has all of
    /// `weight`.
    pub effective_weight: Option<u32>,
    /// Connections in an active state (IPVS's ActiveConn).
    pub active: u64,
    /// Those of them whose handshake has not been seen to its end.
    pub half_open: u64,
    /// The others (IPVS's InActConn).
    pub inactive: u64,
    /// Connections ever given to it.
    pub connections: u64,
    /// Persistence templates that name it (IPVS's PersistConn).
    pub templates: u64,
    /// How many connections it takes.
    pub thresholds: Thresholds,
    /// Whether it takes no new connection because of its thresholds.
    pub full: bool,
    /// Packets given to it; a super-frame counts as its wire segments.
    pub packets: u64,
    /// Bytes of those packets: inner IP packets, without the outer header.
    pub bytes: u64,
    /// ICMP protocol-unreachable received from it: nobody listens for the tunnel there, or its
    /// socket is full.
    pub protocol_unreachable: u64,
    /// Other unreachable and time-exceeded errors on the way to it.
    pub unreachable: u64,
    /// Smallest path MTU that was signalled on the way to it, in bytes; `None` when none was.
    pub path_mtu: Option<u16>,
}

impl RealSnapshot {
    /// How it stands.
    #[must_use]
    pub fn saved_state(&self) -> SavedState {
        let grown = self.effective_weight.is_none();
        SavedState { wanted: self.wanted, left: self.deadline, grown }
    }
}

/// What a service has seen of floods.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FloodSnapshot {
    /// Whether it is in flood mode.
    pub active: bool,
    /// How often it has entered it.
    pub floods: u64,
    /// Packets that were placed without an entry because of that.
    pub without_entry: u64,
}

/// A service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceSnapshot {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listens: Vec<Listen>,
    /// How it chooses.
    pub scheduler: SchedulerKind,
    /// Its Maglev table, if that is how it chooses.
    pub maglev: Option<MaglevSnapshot>,
    /// What it has seen of floods.
    pub flood: FloodSnapshot,
    /// Among whom, in configuration order.
    pub reals: Vec<RealSnapshot>,
}

/// A Maglev table at a glance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MaglevSnapshot {
    /// How many slots it has.
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
    /// The real server that has it.
    pub real: IpAddr,
    /// The state's name as IPVS has it.
    pub state: &'static str,
    /// Whether it counts as active.
    pub active: bool,
    /// How long it lives if no packet comes.
    pub expires: Duration,
}

/// Datagrams that come in fragments.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FragmentsSnapshot {
    /// Datagrams whose first fragment has not come.
    pub waiting: usize,
    /// Datagrams whose first fragment has come and others have not, and those that are refused.
    pub decided: usize,
    /// Bytes of the fragments that are held.
    pub bytes: usize,
}

/// Everything that `vstun list`, `stats` and `drops` show of the balancer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    /// Connections in the table.
    pub connections: usize,
    /// How many fit.
    pub capacity: usize,
    /// Persistence templates.
    pub templates: usize,
    /// How many of them fit.
    pub templates_capacity: usize,
    /// What has become of the connections' timers.
    pub turnover: Turnover,
    /// What comes in fragments.
    pub fragments: FragmentsSnapshot,
    /// The services, in configuration order.
    pub services: Vec<ServiceSnapshot>,
    /// What became of the packets.
    pub counters: Counters,
}
