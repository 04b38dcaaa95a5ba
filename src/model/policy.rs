//! How a service treats its flows, beside who is chosen for a new one.

use std::time::Duration;

use super::scheduler::SchedulerKind;

/// A service's policy as configured. What a configuration does not say is the default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// For mh and sh: whether ports are part of what is hashed, so that one client's connections
    /// may go to several real servers. `None`: with mh they are, with sh they are not.
    pub hash_ports: Option<bool>,
    /// For mh, sh and dh: whether a flow whose real server takes no new connection goes to another
    /// (the default), or is refused.
    pub fallback: bool,
    /// What becomes of TCP that opens nothing and has no entry; `None`: what suits the scheduler,
    /// see [`Unknown::suiting`].
    pub unknown: Option<Unknown>,
    /// Whether a client's new flows go where its last one went.
    pub persistence: Option<Persistence>,
    /// Whether each UDP datagram is scheduled alone and leaves no entry (LVS's one-packet
    /// scheduling).
    pub one_packet: bool,
    /// What becomes of the connections of a real server that goes down or is disabled.
    pub existing: Existing,
    /// How long a real server that drains, or was removed, keeps its flows; `None`: until they end
    /// by themselves.
    pub drain_deadline: Option<Duration>,
    /// Over how long the weight of a real server that comes up grows to what it is; zero: at once.
    pub slow_start: Duration,
    /// From where on its new flows are a flood.
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
    /// The longest [`Self::slow_start`] that is accepted: 1 day.
    pub const MAX_SLOW_START: Duration = Duration::from_secs(24 * 60 * 60);

    /// Whether TCP that opens nothing and has no entry is taken for a flow of before, in a service
    /// of this scheduler.
    #[must_use]
    pub fn adopts(&self, scheduler: SchedulerKind) -> bool {
        self.unknown.unwrap_or_else(|| Unknown::suiting(scheduler)) == Unknown::Adopt
    }
}

/// What becomes of TCP that opens nothing and belongs to no connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unknown {
    /// It is reset, as by a host that knows nothing of it.
    Reset,
    /// It is placed by hash and has an entry from then on, on probation at first: IPVS's
    /// `sloppy_tcp`. Where all flows are placed by hash, connections outlive a restart of the
    /// director, or go on through another one.
    Adopt,
}

impl Unknown {
    /// Both, in the order in which messages list them.
    pub const ALL: [Self; 2] = [Self::Reset, Self::Adopt];

    /// What suits a scheduler: only where the scheduler itself places by hash does the hash find a
    /// flow's real server.
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

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unknown| unknown.name() == name)
    }
}

/// What becomes of the connections of a real server that goes down or is disabled.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Existing {
    /// They stay where they are: a check may have erred, and who is disabled still answers.
    #[default]
    Keep,
    /// TCP is reset with its next packet, UDP goes elsewhere with its next packet.
    Reset,
}

impl Existing {
    /// Both, in the order in which help texts list them.
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
    /// How long after its last new flow a client is remembered, at least: as long as a flow lives
    /// it is not forgotten. Within the bounds of [`Timeouts`](super::time::Timeouts).
    pub timeout: Duration,
    /// The bits of an IPv4 address that tell clients apart, 1 to 32.
    pub prefix_v4: u8,
    /// The bits of an IPv6 address that tell clients apart, 1 to 128.
    pub prefix_v6: u8,
    /// What becomes of clients whose real server is to take nothing new.
    pub quiescent: Quiescent,
}

impl Persistence {
    /// IPVS's mask of IPv4: each address is a client.
    pub const PREFIX_V4: u8 = 32;
    /// IPVS's mask of IPv6.
    pub const PREFIX_V6: u8 = 128;
}

/// What becomes of a persistent client's new flow when its real server takes nothing new: its
/// weight is 0, or it is being drained. From one that is down, disabled, removed or past its
/// deadline the client moves in any case.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Quiescent {
    /// It goes there all the same, IPVS's default.
    #[default]
    Keep,
    /// It is scheduled anew, and the client is remembered where it went: IPVS's
    /// `expire_quiescent_template`.
    Move,
}

impl Quiescent {
    /// Both, in the order in which messages list them.
    pub const ALL: [Self; 2] = [Self::Keep, Self::Move];

    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Move => "move",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quiescent| quiescent.name() == name)
    }
}

/// From where on new flows are a flood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FloodMarks {
    /// More new flows than this in one second, at most [`Self::MAX_NEW_FLOWS`]; 0: whatever their
    /// number.
    pub new_flows: u32,
    /// So many hundredths of the connection table in use, by any service, at most 100; 0: however
    /// full it is.
    pub table_use: u8,
}

impl FloodMarks {
    /// No flood is ever seen.
    pub const OFF: Self = Self { new_flows: 0, table_use: 0 };
    /// The highest mark for new flows a second: more than one thread takes.
    pub const MAX_NEW_FLOWS: u32 = 10_000_000;
}

/// The last tenth of the table is for those who finish their handshakes.
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
