//! Services and real servers as they are configured.

use std::net::IpAddr;

use super::change::Listen;

/// The schedulers, by the names of LVS.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SchedulerKind {
    /// Round robin.
    RoundRobin,
    /// Weighted round robin.
    WeightedRoundRobin,
    /// Least connections.
    LeastConnections,
    /// Weighted least connections, the default.
    WeightedLeastConnections,
}

impl SchedulerKind {
    /// Every scheduler, in the order in which help texts list them.
    pub const ALL: [Self; 4] = [
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::LeastConnections,
        Self::WeightedLeastConnections,
    ];

    /// The name in configuration and listings, as LVS has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "rr",
            Self::WeightedRoundRobin => "wrr",
            Self::LeastConnections => "lc",
            Self::WeightedLeastConnections => "wlc",
        }
    }

    /// The scheduler of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The largest weight of a real server (keepalived's bound).
pub const MAX_WEIGHT: u32 = 65_535;

/// A real server as configured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RealSpec {
    /// Where tunnelled packets go.
    pub address: IpAddr,
    /// Share of new connections, 0 to [`MAX_WEIGHT`]; 0 takes no new connection.
    pub weight: u32,
}

/// A service as configured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceSpec {
    /// Its name, unique.
    pub name: String,
    /// Where it listens.
    pub listens: Vec<Listen>,
    /// How it chooses.
    pub scheduler: SchedulerKind,
    /// How it treats its flows.
    pub policy: Policy,
    /// Among whom it chooses.
    pub reals: Vec<RealSpec>,
}

/// How a service treats its flows, beside who is chosen for a new one. What a configuration does not say is the default.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Policy {}
