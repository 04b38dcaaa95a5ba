//! A real server: its configuration, its wanted state, its health, and the state that results.

use std::net::IpAddr;
use std::time::Duration;

use super::real_value::RealValues;
use super::time::Millis;
use crate::wire::encap::Encap;

/// A real server as configured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RealSpec {
    /// The outer destination address of its tunnelled packets.
    pub address: IpAddr,
    /// The values that can change while it runs.
    pub values: RealValues,
    /// Its state at the start.
    pub state: AdminState,
    /// Whether it takes new connections only while no other real server of its service does.
    pub last_resort: bool,
}

impl RealSpec {
    /// A real server that is up, with this weight and otherwise the defaults.
    #[must_use]
    pub const fn new(address: IpAddr, weight: u32) -> Self {
        let values = RealValues::of_weight(weight);
        Self { address, values, state: AdminState::Up, last_resort: false }
    }

    /// The same, with that encapsulation.
    #[must_use]
    pub const fn encapsulated(mut self, encap: Encap) -> Self {
        self.values.encap = encap;
        self
    }

    /// A service's `fallback_real`.
    #[must_use]
    pub const fn last_resort(address: IpAddr) -> Self {
        Self { last_resort: true, ..Self::new(address, 1) }
    }
}

/// What checks report about a real server: the share of its weight, its connections, and its
/// weight.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Load {
    /// Thousandths of its weight, up to [`Self::MOST`]; 0 takes no new connection.
    pub thousandths: u32,
    /// Established connections; `None`: nothing is known.
    pub connections: Option<Established>,
    /// The weight in place of a configured one that is not 0; 0 takes no new connection. `None`:
    /// the configured one.
    pub weight: Option<u32>,
}

/// The established connections of one report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Established {
    /// Their number.
    pub count: u64,
    /// When they were reported, by the clock of the checks. Connections placed after this moment
    /// are added to `count`. A repeated report keeps its moment.
    pub at: Millis,
}

impl Load {
    /// The largest share of a weight, in thousandths.
    pub const MOST: u32 = 2_000;
}

impl Default for Load {
    /// The whole weight, and no report.
    fn default() -> Self {
        Self { thousandths: 1_000, connections: None, weight: None }
    }
}

/// The wanted state of a real server, from the configuration or an operator.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AdminState {
    /// Takes new flows (unless its weight is 0).
    #[default]
    Up,
    /// Takes no new flow; its flows go on.
    Draining {
        /// After this time its remaining flows are ended. `None`: after the service's own deadline,
        /// if it has one.
        deadline: Option<Duration>,
    },
    /// Dead: takes no new flow, and packets sent there are lost.
    Down,
    /// Taken out of service by an operator; no health check changes that.
    Disabled,
}

impl AdminState {
    /// The state without its deadline.
    #[must_use]
    pub fn plain(self) -> RealState {
        match self {
            Self::Up => RealState::Up,
            Self::Draining { .. } => RealState::Draining,
            Self::Down => RealState::Down,
            Self::Disabled => RealState::Disabled,
        }
    }

    /// The name in configuration, requests and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.plain().name()
    }
}

/// The saved state of a real server, to restore it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SavedState {
    /// The wanted state.
    pub wanted: AdminState,
    /// The time after which its flows end, regardless of the service's deadline; `None`: no limit.
    pub left: Option<Duration>,
    /// Whether its slow start was over, so that it is not repeated.
    pub grown: bool,
    /// How long ago the wanted state last changed; `None`: it has not.
    pub changed: Option<Duration>,
}

/// The health of a real server according to its checks; independent of [`AdminState`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Health {
    /// It answers, or it has no check.
    #[default]
    Up,
    /// It does not answer.
    Down,
}

impl Health {
    /// The name in events and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// The state of a real server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RealState {
    /// Takes new connections (unless its weight is 0).
    Up,
    /// Takes no new connection and keeps those it has, up to a deadline where there is one.
    Draining,
    /// It does not answer.
    Down,
    /// Taken out of service by an operator.
    Disabled,
}

impl RealState {
    /// The state's name in listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
            Self::Disabled => "disabled",
        }
    }
}
