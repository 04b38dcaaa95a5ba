//! How a service treats its flows, beside who is chosen for a new one.

use std::net::IpAddr;
use std::time::Duration;

use super::flood::FloodMarks;
use super::flow::Key;
use super::spec::SchedulerKind;

/// A service's policy as configured. What a configuration does not say is the default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// For mh and sh: whether ports are part of what is hashed, so that one client's connections may go to several real
    /// servers. `None`: with mh they are, with sh they are not.
    pub hash_ports: Option<bool>,
    /// For mh, sh and dh: whether a flow whose real server takes no new connection goes to another (the default), or is
    /// refused.
    pub fallback: bool,
    /// What becomes of TCP that opens nothing and has no entry; `None`: what suits the scheduler, see
    /// [`Unknown::suiting`].
    pub unknown: Option<Unknown>,
    /// Whether a client's new flows go where its last one went.
    pub persistence: Option<Persistence>,
    /// Whether each UDP datagram is scheduled alone and leaves no entry (LVS's one-packet scheduling).
    pub one_packet: bool,
    /// What becomes of the connections of a real server that goes down or is disabled.
    pub existing: Existing,
    /// How long a real server that drains, or was removed, keeps its flows; `None`: until they end by themselves.
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

    /// Whether TCP that opens nothing and has no entry is taken for a flow of before, in a service of this scheduler.
    pub(super) fn adopts(&self, scheduler: SchedulerKind) -> bool {
        self.unknown.unwrap_or_else(|| Unknown::suiting(scheduler)) == Unknown::Adopt
    }
}

/// What becomes of TCP that opens nothing and belongs to no connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unknown {
    /// It is reset, as by a host that knows nothing of it.
    Reset,
    /// It is placed by hash and has an entry from then on, on probation at first: IPVS's `sloppy_tcp`. Where all flows are placed by hash,
    /// connections outlive a restart of the director, or go on through another one.
    Adopt,
}

impl Unknown {
    /// Both, in the order in which messages list them.
    pub const ALL: [Self; 2] = [Self::Reset, Self::Adopt];

    /// What suits a scheduler: only where the scheduler itself places by hash does the hash find a flow's real server.
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
    /// How long after its last new flow a client is remembered, at least: as long as a flow lives it is not forgotten.
    /// Within the bounds of [`Timeouts`](super::time::Timeouts).
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

    /// The client that a flow is of, as one key for all flows of one service.
    pub(super) fn client(&self, flow: &Key, service: u32) -> Key {
        let client = flow.client();
        Key::of_client(
            masked(client, if client.is_ipv4() { self.prefix_v4 } else { self.prefix_v6 }),
            service,
        )
    }
}

/// The address with all bits past the first `prefix` zero.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(u32::from(32_u8.saturating_sub(prefix))).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(u32::from(128_u8.saturating_sub(prefix))).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

/// What becomes of a persistent client's new flow when its real server takes nothing new: its weight is 0, or it is being
/// drained. From one that is down, disabled, removed or past its deadline the client moves in any case.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Quiescent {
    /// It goes there all the same, IPVS's default.
    #[default]
    Keep,
    /// It is scheduled anew, and the client is remembered where it went: IPVS's `expire_quiescent_template`.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn masks_keep_the_first_bits() {
        for (address, prefix, expected) in [
            ("198.51.100.255", 32, "198.51.100.255"),
            ("198.51.100.255", 31, "198.51.100.254"),
            ("198.51.100.255", 24, "198.51.100.0"),
            ("198.51.100.255", 1, "128.0.0.0"),
            ("198.51.100.255", 0, "0.0.0.0"),
            ("2001:db8::ffff", 128, "2001:db8::ffff"),
            ("2001:db8::ffff", 127, "2001:db8::fffe"),
            ("2001:db8:1:2:3::", 64, "2001:db8:1:2::"),
            ("ffff::1", 1, "8000::"),
            ("ffff::1", 0, "::"),
        ] {
            let masked = masked(address.parse().unwrap(), prefix);
            assert_eq!(masked.to_string(), expected, "{address}/{prefix}");
        }
    }

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
