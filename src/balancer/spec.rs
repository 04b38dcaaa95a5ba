//! Services and real servers as they are configured.

use std::net::IpAddr;
use std::time::Duration;

use super::change::Listen;
use super::policy::Policy;
use super::thresholds::Thresholds;

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
    /// Shortest expected delay.
    ShortestExpectedDelay,
    /// Never queue.
    NeverQueue,
    /// Source hashing.
    SourceHashing,
    /// Destination hashing.
    DestinationHashing,
    /// Maglev hashing.
    Maglev,
    /// Weighted failover.
    Failover,
    /// Weighted overflow.
    Overflow,
    /// Power of two choices.
    TwoChoices,
}

impl SchedulerKind {
    /// Every scheduler, in the order in which help texts list them.
    pub const ALL: [Self; 12] = [
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::LeastConnections,
        Self::WeightedLeastConnections,
        Self::ShortestExpectedDelay,
        Self::NeverQueue,
        Self::SourceHashing,
        Self::DestinationHashing,
        Self::Maglev,
        Self::Failover,
        Self::Overflow,
        Self::TwoChoices,
    ];

    /// The name in configuration and listings, as LVS has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "rr",
            Self::WeightedRoundRobin => "wrr",
            Self::LeastConnections => "lc",
            Self::WeightedLeastConnections => "wlc",
            Self::ShortestExpectedDelay => "sed",
            Self::NeverQueue => "nq",
            Self::SourceHashing => "sh",
            Self::DestinationHashing => "dh",
            Self::Maglev => "mh",
            Self::Failover => "fo",
            Self::Overflow => "ovf",
            Self::TwoChoices => "twos",
        }
    }

    /// Whether it goes by how many connections each real server has.
    #[must_use]
    pub fn counts_connections(self) -> bool {
        match self {
            Self::RoundRobin
            | Self::WeightedRoundRobin
            | Self::SourceHashing
            | Self::DestinationHashing
            | Self::Maglev
            | Self::Failover => false,
            Self::LeastConnections
            | Self::WeightedLeastConnections
            | Self::ShortestExpectedDelay
            | Self::NeverQueue
            | Self::Overflow
            | Self::TwoChoices => true,
        }
    }

    /// The scheduler of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether the flow and the real servers alone say who is chosen, nothing that came before.
    #[must_use]
    pub fn by_hash(self) -> bool {
        matches!(self, Self::SourceHashing | Self::DestinationHashing | Self::Maglev)
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
    /// How many connections it takes.
    pub thresholds: Thresholds,
    /// The state it begins in.
    pub state: Wanted,
}

impl RealSpec {
    /// One that is up, with that weight and the defaults.
    #[must_use]
    pub const fn new(address: IpAddr, weight: u32) -> Self {
        let thresholds = Thresholds { upper: 0, lower: 0 };
        Self { address, weight, thresholds, state: Wanted::Up }
    }
}

/// What is wanted of a real server, by its configuration or its operator.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Wanted {
    /// Takes new flows (unless its weight is 0).
    #[default]
    Up,
    /// Takes no new flow; those it has go on.
    Draining {
        /// After this long those that are left are ended; `None`: the service's own deadline, if it has one.
        deadline: Option<Duration>,
    },
    /// Dead: takes no new flow, and nothing that is sent there arrives.
    Down,
    /// Out of service by the operator's own word, which no health check undoes.
    Disabled,
}

impl Wanted {
    /// The name in configuration, requests and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining { .. } => "draining",
            Self::Down => "down",
            Self::Disabled => "disabled",
        }
    }
}

/// How a real server stood at a moment, for the way back to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SavedState {
    /// What was wanted of it.
    pub wanted: Wanted,
    /// How long its flows had, whatever the deadline of its service is; `None`: for as long as they go on.
    pub left: Option<Duration>,
    /// Whether it had all of its weight, and need not start slowly again.
    pub grown: bool,
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

/// What health checks say of a real server: a word of its own beside what is [`Wanted`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Health {
    /// It answers, or nobody has asked.
    #[default]
    Up,
    /// It does not answer.
    Down,
}
