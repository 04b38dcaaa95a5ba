//! How a service treats its flows, apart from the choice of a real server for a new one.

use std::time::Duration;

use super::scheduler::SchedulerKind;
use super::setting::{Setting, Settings, Value};

/// A service's policy as configured. An absent key means the default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// For mh and sh: whether ports are hashed too, so that one client's connections may go to
    /// several real servers. `None`: yes with mh, no with sh.
    pub hash_ports: Option<bool>,
    /// For mh, sh and dh: whether a flow whose real server takes no new connection goes to another
    /// one (the default) or is refused.
    pub fallback: bool,
    /// What happens to a TCP packet that is not a SYN and has no entry; `None`: the scheduler's
    /// default, see [`Unknown::suiting`].
    pub unknown: Option<Unknown>,
    /// Whether a client's new flows go to the real server of its previous one.
    pub persistence: Option<Persistence>,
    /// Whether each UDP datagram is scheduled alone and leaves no entry (LVS's one-packet
    /// scheduling).
    pub one_packet: bool,
    /// What happens to the connections of a real server that goes down or is disabled.
    pub existing: Existing,
    /// How long a drained or removed real server keeps its flows; `None`: until they end by
    /// themselves.
    pub drain_deadline: Option<Duration>,
    /// How long the weight of a real server that comes up takes to reach its full value; zero:
    /// none.
    pub slow_start: Duration,
    /// When the rate of new flows or the table's use counts as a flood.
    pub flood: FloodMarks,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            hash_ports: None,
            fallback: true,
            unknown: None,
            persistence: None,
            one_packet: false,
            existing: Existing::default(),
            drain_deadline: None,
            slow_start: Duration::ZERO,
            flood: FloodMarks::default(),
        }
    }
}

impl Policy {
    /// The key of [`Self::hash_ports`].
    pub const HASH_PORTS: &str = "hash_ports";
    /// The key of [`Self::existing`].
    pub const EXISTING: &str = "existing";

    /// Its keys in the configuration.
    pub const KEYS: [&str; 13] = [
        Self::HASH_PORTS,
        "fallback",
        "unknown",
        "persistence",
        "persistence_prefix_v4",
        "persistence_prefix_v6",
        "quiescent",
        "one_packet",
        Self::EXISTING,
        "drain_deadline",
        "slow_start",
        "flood_new_flows",
        "flood_table_use",
    ];

    /// The longest [`Self::slow_start`] that is accepted: 1 day.
    pub const MAX_SLOW_START: Duration = Duration::from_secs(24 * 60 * 60);

    /// Whether, with this scheduler, a TCP packet that is not a SYN and has no entry is adopted as
    /// an existing flow.
    #[must_use]
    pub fn adopts(&self, scheduler: SchedulerKind) -> bool {
        self.unknown.unwrap_or_else(|| Unknown::suiting(scheduler)) == Unknown::Adopt
    }
}

impl Settings for Policy {
    fn settings(&self) -> Vec<Setting> {
        // Without `..`, so that the compiler shows where a new field has to be added.
        let Self {
            hash_ports,
            fallback,
            unknown,
            persistence,
            one_packet,
            existing,
            drain_deadline,
            slow_start,
            flood: FloodMarks { new_flows, table_use },
        } = *self;
        let values: [Value; Self::KEYS.len()] = [
            hash_ports.into(),
            fallback.into(),
            unknown.map(Unknown::name).into(),
            persistence.map(|persistence| persistence.timeout).into(),
            persistence.map(|persistence| persistence.prefix_v4).into(),
            persistence.map(|persistence| persistence.prefix_v6).into(),
            persistence.map(|persistence| persistence.quiescent.name()).into(),
            one_packet.into(),
            existing.name().into(),
            drain_deadline.into(),
            slow_start.into(),
            new_flows.into(),
            if table_use == 0 { "off".into() } else { Value::Percent(table_use.into()) },
        ];
        Self::KEYS.into_iter().zip(values).collect()
    }
}

/// What happens to a TCP packet that is not a SYN and belongs to no connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unknown {
    /// It is answered with a reset, as by a host without such a connection.
    Reset,
    /// It is placed by hash and gets an entry, at first on probation: IPVS's `sloppy_tcp`. Where
    /// all flows are placed by hash, connections outlive a restart of the director, or go on
    /// through another one.
    Adopt,
}

impl Unknown {
    /// Both, in the order used in messages.
    pub const ALL: [Self; 2] = [Self::Reset, Self::Adopt];

    /// A scheduler's default: adopting finds a flow's real server only if the scheduler places by
    /// hash.
    #[must_use]
    pub fn suiting(scheduler: SchedulerKind) -> Self {
        if scheduler == SchedulerKind::Maglev { Self::Adopt } else { Self::Reset }
    }

    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Adopt => "adopt",
        }
    }

    /// The value of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unknown| unknown.name() == name)
    }
}

/// What happens to the connections of a real server that goes down or is disabled.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Existing {
    /// They go on: a check may be wrong, and a disabled real server still answers.
    #[default]
    Keep,
    /// The next packet of a TCP connection is answered with a reset; the next of a UDP flow is
    /// scheduled anew.
    Reset,
}

impl Existing {
    /// Both, in the order used in help texts.
    pub const ALL: [Self; 2] = [Self::Keep, Self::Reset];

    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Reset => "reset",
        }
    }
}

/// How a service remembers its clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Persistence {
    /// How long a client is remembered after its last new flow. It is not forgotten while it has a
    /// flow. Within the bounds of [`Timeouts`](super::time::Timeouts).
    pub timeout: Duration,
    /// The prefix length that identifies an IPv4 client, 1 to 32.
    pub prefix_v4: u8,
    /// The prefix length that identifies an IPv6 client, 1 to 128.
    pub prefix_v6: u8,
    /// What happens to clients whose real server takes no new flows.
    pub quiescent: Quiescent,
}

impl Persistence {
    /// IPVS's default for IPv4: each address is a client.
    pub const PREFIX_V4: u8 = 32;
    /// IPVS's default for IPv6: each address is a client.
    pub const PREFIX_V6: u8 = 128;
}

/// What happens to a persistent client's new flow while its real server has weight 0 or is
/// draining. If the real server is down, disabled, removed or past its deadline, the client moves
/// in any case.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Quiescent {
    /// The new flow still goes there: IPVS's default.
    #[default]
    Keep,
    /// It is scheduled anew, and the client stays with the new real server: IPVS's
    /// `expire_quiescent_template`.
    Move,
}

impl Quiescent {
    /// Both, in the order used in messages.
    pub const ALL: [Self; 2] = [Self::Keep, Self::Move];

    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Move => "move",
        }
    }

    /// The value of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quiescent| quiescent.name() == name)
    }
}

/// When new flows count as a flood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FloodMarks {
    /// New flows above this rate per second are a flood. At most [`Self::MAX_NEW_FLOWS`]; 0: no
    /// limit.
    pub new_flows: u32,
    /// The per cent of the connection table in use by all services from which on it is a flood. At
    /// most 100; 0: no limit.
    pub table_use: u8,
}

impl FloodMarks {
    /// Nothing counts as a flood.
    pub const OFF: Self = Self { new_flows: 0, table_use: 0 };
    /// The highest mark for new flows a second: more than one thread can open.
    pub const MAX_NEW_FLOWS: u32 = 10_000_000;
}

/// The last tenth of the table is kept for clients that complete their handshakes.
impl Default for FloodMarks {
    fn default() -> Self {
        Self { new_flows: 0, table_use: 90 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for unknown in Unknown::ALL {
            assert_eq!(Unknown::from_name(unknown.name()), Some(unknown));
        }
        for quiescent in Quiescent::ALL {
            assert_eq!(Quiescent::from_name(quiescent.name()), Some(quiescent));
        }
        assert_eq!(Unknown::from_name("Reset"), None);
        assert_eq!(Quiescent::from_name(""), None);
    }
}
