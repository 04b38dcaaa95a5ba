//! The schedulers by name.

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
    /// All schedulers, in the order used in help texts.
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

    /// The name in configuration and listings: LVS's.
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

    /// Whether it compares the real servers' connection counts.
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

    /// Whether the choice depends only on the flow and the real servers, not on earlier choices.
    #[must_use]
    pub fn by_hash(self) -> bool {
        matches!(self, Self::SourceHashing | Self::DestinationHashing | Self::Maglev)
    }
}
